"""Find the elements of a leaf whose gradient is wrong, and guess why.

A directional derivative is linear in the direction, so one evaluation tells the error of a half
and, by subtraction, that of the other half: bisection needs log2(n) numeric derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tf_einsum_grad.gradcheck.directions import Array

Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Element:
    """One entry of a gradient, both ways."""

    index: Index
    analytic: float
    numeric: float

    @property
    def error(self) -> float:
        """How far apart the two are."""
        return abs(self.analytic - self.numeric)


def bisect(
    u: Array,
    analytic: Callable[[Array], float],
    numeric: Callable[[Array], float],
    *,
    tolerance: float,
    count: int = 3,
) -> list[Element]:
    """Return up to `count` elements with the largest errors, found greedily.

    Args:
        u: the direction in which the leaf failed.
        analytic: directional derivative by the gradient.
        numeric: the same by finite differences.
        tolerance: below this error of what remains, stop.
    """
    found: list[Element] = []
    rest = u.copy()
    for _ in range(min(count, u.size)):
        total = analytic(rest) - numeric(rest)
        if not np.isfinite(total) or (found and abs(total) <= tolerance):
            break
        index = _descend(rest, total, lambda w: analytic(w) - numeric(w))
        single = _masked(rest, np.array([np.ravel_multi_index(index, u.shape)] if index else [0]))
        scale = float(np.real(u[index])) if np.isrealobj(u) else abs(u[index])
        if scale == 0:
            break
        found.append(Element(index, analytic(single) / scale, numeric(single) / scale))
        rest = rest - single
    return sorted(found, key=lambda e: -e.error)


def _descend(u: Array, total: float, error: Callable[[Array], float]) -> Index:
    where = np.flatnonzero(u)
    if where.size == 0:
        where = np.arange(1)
    while where.size > 1:
        left, right = np.array_split(where, 2)
        error_left = error(_masked(u, left))
        if abs(error_left) >= abs(total - error_left):
            where, total = left, error_left
        else:
            where, total = right, total - error_left
    return tuple(int(i) for i in np.unravel_index(int(where[0]), u.shape))


def _masked(u: Array, where: Array) -> Array:
    masked = np.zeros_like(u).ravel()
    masked[where] = u.ravel()[where]
    return np.asarray(masked.reshape(u.shape))


def constant_ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Return analytic / numeric if it is the same (to 1%) for all pairs, and there are two.

    >>> constant_ratio([(2.0, 1.0), (-6.0, -3.0)])
    2.0
    """
    ratios = [a / n for a, n in pairs if n != 0]
    if len(ratios) < 2:
        return None
    middle = float(np.median(ratios))
    close = max(abs(r - middle) for r in ratios) <= 0.01 * abs(middle)
    return middle if close and middle != 0 else None


def describe_ratio(ratio: float, sizes: Sequence[int]) -> str:
    """Say in words what a constant ratio of analytic to numeric means.

    >>> describe_ratio(-1.0, [])
    'the sign is wrong'
    >>> describe_ratio(0.25, [4])
    'off by a factor of 0.25 = 1/4: a mean where a sum belongs?'
    """

    def close(a: float, b: float) -> bool:
        return abs(a - b) <= 0.01 * abs(b)

    if close(ratio, -1):
        return "the sign is wrong"
    text = f"off by a factor of {_short(ratio)}"
    for size in sizes:
        if size > 1 and close(ratio, 1 / size):
            return f"{text} = 1/{size}: a mean where a sum belongs?"
        if size > 2 and close(ratio, size):
            return f"{text}, the size of a dimension: a sum where a mean belongs?"
    if ratio < 0:
        text += ", and the sign is wrong"
    return text


def _short(x: float) -> str:
    for digits in range(2, 5):
        text = f"{x:.{digits}g}"
        if abs(float(text) - x) <= 1e-3 * abs(x):
            return text
    return f"{x:.4g}"


def looks_transposed(gradient: Array, u: Array, numeric: float, tolerance: float) -> bool:
    """Whether the transposed gradient would be right for a square matrix."""
    if gradient.ndim != 2 or gradient.shape[0] != gradient.shape[1] or gradient.shape[0] < 2:
        return False
    return abs(float(np.real(np.vdot(gradient.T, u))) - numeric) <= tolerance


def looks_conjugated(gradient: Array, u: Array, numeric: float, tolerance: float) -> bool:
    """Whether the complex conjugate of the gradient would be right."""
    if not np.iscomplexobj(gradient):
        return False
    return abs(float(np.real(np.vdot(gradient.conj(), u))) - numeric) <= tolerance
