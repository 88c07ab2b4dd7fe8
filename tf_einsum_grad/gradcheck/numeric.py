"""The numeric side: random directions, and derivatives along them by finite differences.

The function under test is a callable ``phi(h)``, the change of the checked scalar when the leaf
moves by ``h`` along its direction, with ``phi(0) = 0``. No TensorFlow.

Entries of a direction are Rademacher signs times U[0.5, 1.5]: no entry is small, so that no element
of a gradient can hide, and the signs are random, so that errors do not need tolerances that grow
with the number of elements (all-positive directions, as in torch's fast mode, do).

The scheme is a geometric sequence of central differences ``D_k`` at ``h_k = h_0 / r**k`` with
one Richardson step, ``(r^2 D_{k+1} - D_k) / (r^2 - 1)`` (L. F. Richardson, 1911; C. J. F. Ridders,
"Accurate computation of F'(x) and F'(x)F''(x)", 1982, for choosing the step by the change from
one step to the next). The rounding error of a central difference is modeled as
``8 eps amplitude / h``, the amplitude being the size of the terms that the scalar is a sum of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

Array = np.ndarray[Any, Any]
Arrays = Sequence[Array]
Along = Callable[[Array], float]  # a derivative, of the direction that it is taken along
Kink = Literal["", "kink", "jump"]
# Machine precision by dtype, and the relative tolerance that goes with it.
EPS = {
    "float64": 2.0**-52, "complex128": 2.0**-52, "float32": 2.0**-23, "complex64": 2.0**-23,
    "float16": 2.0**-10, "bfloat16": 2.0**-7,
}  # fmt: skip
RTOL = {2.0**-52: 1e-7, 2.0**-23: 2e-5, 2.0**-10: 1e-2, 2.0**-7: 5e-2}
_ZERO_LEAF = 0.1  # how far to move a leaf that is zero everywhere
_LARGEST_EXPONENT = 60  # keeps 1/RMS(y) and its products inside float32
_PERSISTENT = 3  # a kink must look the same at this many steps in a row
_AGREEMENT = 0.2  # ... to this relative accuracy


def wide(array: Any) -> Array:
    """Returns the array as float64, or complex128 if it is complex."""
    array = np.asarray(array.numpy() if hasattr(array, "numpy") else array)
    return np.asarray(array, np.complex128 if np.iscomplexobj(array) else np.float64)


def rms(array: Array) -> float:
    """Returns the root mean square of the finite entries; 0 where there are none.

    Scaled by the largest entry, so that squares neither overflow nor vanish.
    """
    magnitude = np.abs(array[np.isfinite(array)])
    largest = float(magnitude.max(initial=0.0))
    return largest * float(np.sqrt(np.mean((magnitude / largest) ** 2))) if largest > 0 else 0.0


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
    u = signs(rng, x.shape, np.iscomplexobj(x)) * (rms(x) or _ZERO_LEAF)
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


def inner(a: Array, b: Array) -> float:
    """Returns the real inner product Re <a, b> = Re sum conj(a) b.

    TensorFlow's gradient of a real scalar s with respect to a complex z is the g with
    ds = Re <g, dz>, so that one formula serves real and complex leaves.
    """
    return float(np.real(np.vdot(a, b)))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A derivative, an estimate of its error, the step behind it, and what spoils it if anything.

    At a "kink", left and right derivatives differ; at a "jump", the function is discontinuous.
    """

    value: float
    error: float
    step: float
    kink: Kink = ""
    finite: bool = True


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


def steps_for(eps: float) -> Steps:
    """Returns the steps that suit a reference computed with machine precision ``eps``.

    The first try uses ``start`` and ``start + 1``; doubt widens it to all ``count`` steps. In
    float64 the smallest step, 2**-36, resolves functions that wiggle a million times faster than
    their inputs' size suggests.
    """
    if eps < 1e-12:
        return Steps(2.0**-6, 8.0, 11, 2, eps)
    if eps < 1e-5:
        return Steps(2.0**-2, 4.0, 6, 1, eps)
    return Steps(2.0**-1, 2.0, 5, 0, eps)


class Derivative:
    """The derivative of ``phi`` at 0, refined on demand; every evaluation is kept.

    Args:
        phi: maps a step to the scalar's change; NaN and infinity mark steps outside the domain.
        amplitude: size of the terms that the scalar sums, for the rounding error.
        eps: machine precision of ``phi``.
    """

    def __init__(self, phi: Callable[[float], float], *, amplitude: float, eps: float) -> None:
        self.phi, self.amplitude, self.steps = phi, amplitude, steps_for(eps)
        self.samples: dict[int, tuple[float, float]] = {}
        self._refined: Estimate | None = None

    def glance(self, expected: float, accuracy: float) -> Estimate | None:
        """Returns the central difference of one step, two evaluations, if nothing is odd about it.

        That is, if it is as expected, and forward and backward differences agree, as they do not
        at a kink. None otherwise: look closer.
        """
        k = self.steps.start + 1
        if self._refined is None and self.steps.eps < 1e-12:
            value, even = self._central(k), abs(self._even(k))
            close = abs(value - expected) <= accuracy
            if close and even <= max(1e-3 * abs(value), 30 * self.noise(k)):
                error = self.noise(k) + self.steps[k] ** 2 * abs(value)
                return Estimate(value, error, self.steps[k])
        return None

    def first(self) -> Estimate:
        """Returns an estimate from two steps, that is, four evaluations.

        A second difference that does not shrink with the step, as at a kink, is reported as
        ``kink`` at once, so that the caller refines.
        """
        if self._refined is not None:
            return self._refined
        k = self.steps.start
        return replace(self._richardson(k), kink=self._suspect(k))

    def refine(self) -> Estimate:
        """Returns the best estimate over the steps.

        Goes on past six steps only while the steps still disagree.
        """
        if self._refined is not None:
            return self._refined
        used = 0
        best = Estimate(math.nan, math.inf, 0.0, finite=False)
        for used in range(min(6, self.steps.count), self.steps.count + 1):
            best = min(self._settled(used - 1), key=lambda e: e.error)
            if best.error <= 1e-6 * abs(best.value) or best.error <= 1e3 * self.noise(0):
                break
        self._refined = replace(best, kink=self._classify(used))
        return self._refined

    def vanishes(self) -> bool:
        """Whether not even the largest step, which rounding spoils least, shows a slope."""
        return not abs(self._central(0)) > 3 * self.noise(0)

    def noise(self, k: int) -> float:
        """Returns the rounding error of the central difference at step k."""
        return 8 * self.steps.eps * self.amplitude / self.steps[k]

    def _sample(self, k: int) -> tuple[float, float]:
        if k not in self.samples:
            self.samples[k] = self.phi(self.steps[k]), self.phi(-self.steps[k])
        return self.samples[k]

    def _central(self, k: int) -> float:
        plus, minus = self._sample(k)
        return (plus - minus) / (2 * self.steps[k])

    def _richardson(self, k: int) -> Estimate:
        square = self.steps.ratio**2
        coarse, fine = self._central(k), self._central(k + 1)
        value = (square * fine - coarse) / (square - 1)
        if not math.isfinite(value):
            return Estimate(math.nan, math.inf, self.steps[k + 1], finite=False)
        return Estimate(value, abs(fine - coarse) + self.noise(k + 1), self.steps[k + 1])

    def _settled(self, count: int) -> list[Estimate]:
        """Extrapolates at all steps; where two in a row agree, that is their error.

        With the few steps of a low-precision reference, two may agree by chance.
        """
        found = [self._richardson(k) for k in range(count)]
        choose = min if self.steps.eps < 1e-12 else max
        values = [estimate.value for estimate in found]
        for k in range(1, count):
            change = abs(values[k] - values[k - 1]) + self.noise(k + 1)
            found[k] = replace(found[k], error=choose(change, found[k].error))
        if choose is max:
            for k in range(count - 1):
                change = abs(values[k + 1] - values[k])
                found[k] = replace(found[k], error=max(change, found[k].error))
        return found

    def _even(self, k: int) -> float:
        """Returns forward minus backward difference: O(h) where smooth, constant at a kink."""
        plus, minus = self._sample(k)
        return (plus + minus) / self.steps[k]

    def _significant(self, k: int) -> bool:
        even = abs(self._even(k))
        return even > 30 * self.noise(k) and even > 1e-5 * abs(self._central(k))

    def _suspect(self, k: int) -> Kink:
        """Tells a kink, by two steps only: the even part shrank by much less than the step did."""
        coarse, fine = abs(self._even(k)), abs(self._even(k + 1))
        suspicious = self._significant(k + 1) and coarse < math.sqrt(self.steps.ratio) * fine
        return "kink" if suspicious else ""

    def _classify(self, used: int) -> Kink:
        """Tells a kink or a jump, if the smallest steps all tell the same story.

        Rounding errors also grow as 1/h, but do not agree with each other, as a jump does.
        """
        ks = [k for k in range(used) if all(map(math.isfinite, self.samples[k]))]
        for end in range(len(ks), max(_PERSISTENT, len(ks) - 3) - 1, -1):
            tail, rest = ks[end - _PERSISTENT : end], ks[end:]
            if any(self._is_jump(tail, rest, sign) for sign in (1, -1)):
                return "jump"
            if self._is_kink(tail, rest):
                return "kink"
        return ""

    def _is_jump(self, tail: list[int], rest: list[int], sign: int) -> bool:
        sizes = [self.samples[k][0] + sign * self.samples[k][1] for k in (*tail, *rest)]
        ours, last = sizes[: len(tail)], abs(sizes[len(tail) - 1])
        lasting = all(abs(size) > last / 2 for size in sizes[len(tail) :])
        return last > 1e3 * self.steps.eps * self.amplitude and lasting and _agree(ours)

    def _is_kink(self, tail: list[int], rest: list[int]) -> bool:
        evens = [self._even(k) for k in tail]
        half = abs(evens[-1]) / 2
        lasting = all(abs(self._even(k)) + 30 * self.noise(k) > half for k in rest)
        return lasting and all(map(self._significant, tail)) and _agree(evens)


def _agree(values: list[float]) -> bool:
    largest = max(map(abs, values))
    return largest > 0 and max(values) - min(values) <= _AGREEMENT * largest
