"""Where to look: points, directions, cotangents and steps. No TensorFlow.

Entries of a direction are Rademacher signs times U[0.5, 1.5]: no entry is small, so that no element
of a gradient can hide, and the signs are random, so that errors do not need tolerances that grow
with the number of elements (all-positive directions, as in torch's fast mode, do).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from tf_einsum_grad.gradcheck.numeric import Array, adjoint, rms, symmetric, wide

ZERO_LEAF = 0.1  # how far to move a leaf that is zero everywhere
_LARGEST_EXPONENT = 60  # keeps 1/RMS(y) and its products inside float32
_JITTER = 2.0**-5  # how far away a point nearby is
_NUDGE = 2.0**-7  # ... relative to each element
_NEARLY = 1e-3  # ... as float16 has it
_SMALLEST = 2.0**-20  # elements further below the largest are not looked for


def signs(rng: np.random.Generator, shape: tuple[int, ...], complex_: bool) -> Array:
    """Draws Rademacher times U[0.5, 1.5], in the real and the imaginary part."""

    def real() -> Array:
        return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape))

    return real() + 1j * real() if complex_ else real()


def representable(array: Array, dtype: DTypeLike) -> Array:
    """Rounds to a NumPy dtype (ml_dtypes' bfloat16 too) and comes back."""
    return wide(array.astype(dtype))


def direction(rng: np.random.Generator, x: Array, dtype: DTypeLike) -> Array:
    """Draws a direction for leaf ``x``, of its shape and size; zero where x is not finite."""
    u = signs(rng, x.shape, np.iscomplexobj(x)) * (rms(x) or ZERO_LEAF)
    return representable(np.where(np.isfinite(x), u, 0), dtype)


def cotangent(
    rng: np.random.Generator, y: Array, dtype: DTypeLike, size: float, half: bool = False
) -> Array:
    """Draws a cotangent for output ``y``, of its shape; zero where y is not finite.

    It is scaled by about 1/size: by a power of two, and by a small one for float16, whose largest
    number is 65504.
    """
    limit = 8 if half else _LARGEST_EXPONENT
    exponent = int(np.clip(-np.round(np.log2(size)), -limit, limit)) if size > 0 else 0
    v = signs(rng, y.shape, np.iscomplexobj(y)) * 2.0**exponent
    return representable(np.where(np.isfinite(y), v, 0), dtype)


def unit(scale: float, amplitude: float) -> float:
    """Returns what steps are multiples of, by what a step of 1 does to the scalar.

    A step that moves the scalar by more than its own terms is large, whatever it is beside the
    leaf's size: a bias that is zero has none.

    >>> unit(0.1, 1.0), unit(1000.0, 1.0)
    (1.0, 0.0009765625)
    """
    if not 0 < amplitude < scale < math.inf:
        return 1.0
    return 2.0 ** max(math.floor(math.log2(amplitude / scale)), -_LARGEST_EXPONENT)


def relative(u: Array, x: Array) -> Array:
    """Makes a direction of leaf ``x`` relative to each of its elements, where these are not 0."""
    size = np.where(np.isfinite(x), np.abs(x), 0)
    return np.where(size > 0, u * size / rms(x), u) if rms(x) > 0 else u


def evened(rng: np.random.Generator, a: Array) -> Array:
    """Draws what makes all products with ``a`` alike: signs, the smaller the larger its elements.

    Those of its smallest element have size 1, and of those that are 0, or below 2**-20 of the
    largest. 0 where ``a`` is not finite.
    """
    size = np.where(np.isfinite(a), np.abs(a), 0.0)
    least = smallest(size)
    even = least / np.maximum(size, least) if least > 0 else np.ones(a.shape)
    return np.where(np.isfinite(a), signs(rng, a.shape, np.iscomplexobj(a)) * even, 0)


def smallest(size: Array) -> float:
    """Returns the smallest of sizes that are not 0, or 2**-20 of the largest if that is more."""
    found = size[size > 0]
    return float(max(found.min(), found.max() * _SMALLEST)) if found.size else 0.0


def next_to(rng: np.random.Generator, x: Array) -> Array:
    """Draws a point near by: each element of ``x`` moves by a part of its own size.

    What holds of data often stays so: zeros, signs, symmetry, and that rows are probabilities,
    which add up to 1, or vectors of length 1.
    """
    factor = 1 + _NUDGE * signs(rng, x.shape, False)
    if symmetric(x):
        return np.asarray(x * (factor + adjoint(factor)) / 2)
    moved = np.asarray(x * factor)
    for power in (1, 2) if x.ndim else ():
        if np.allclose(np.sum(np.abs(x) ** power, -1), 1, 0, _NEARLY):
            moved = moved / np.sum(np.abs(moved) ** power, -1, keepdims=True) ** (1 / power)
    return moved


def nearby(rng: np.random.Generator, x: Array) -> Array:
    """Draws a point nearby: all elements of ``x`` move, off whatever kink they are at."""
    moved = x + _JITTER * (rms(x) or 1.0) * signs(rng, x.shape, np.iscomplexobj(x))
    return np.where(np.isfinite(moved), moved, x)


def shaken(rng: np.random.Generator, x: Array, eps: float) -> Array:
    """Draws what ``x`` may be but for rounding: each element moves by about an ulp."""
    return np.asarray(x * (1 + eps * np.sign(signs(rng, x.shape, False))))


@dataclass(frozen=True, slots=True)
class Steps:
    """The geometric sequence of steps for a reference of machine precision ``eps``."""

    first: float
    ratio: float
    count: int
    start: int
    eps: float

    def __getitem__(self, k: int) -> float:
        return self.first * self.ratio**-k


def steps_for(eps: float, unit: float = 1.0) -> Steps:
    """Returns the steps that suit a reference computed with machine precision ``eps``.

    The first try uses ``start`` and ``start + 1``; doubt widens it to all ``count`` steps. In
    float64 the smallest step, 2**-36, resolves functions that wiggle a million times faster than
    their inputs' size suggests. All are multiples of ``unit`` (see `unit`).
    """
    if eps < 1e-12:
        return Steps(unit * 2.0**-6, 8.0, 11, 2, eps)
    if eps < 1e-5:
        return Steps(unit * 2.0**-2, 4.0, 6, 1, eps)
    return Steps(unit * 2.0**-1, 2.0, 5, 0, eps)
