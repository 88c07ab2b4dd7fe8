"""Arrays and random directions, and what a numeric derivative is. No TensorFlow.

Entries of a direction are Rademacher signs times U[0.5, 1.5]: no entry is small, so that no element
of a gradient can hide, and the signs are random, so that errors do not need tolerances that grow
with the number of elements (all-positive directions, as in torch's fast mode, do).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    `rival` is what larger steps settle on, alike on both sides, where that is another value; NaN
    where there is none. `vanishing` says that the differences shrink with the step, down to
    nothing, as those of x**2 do at 0.
    """

    value: float
    error: float
    step: float
    kink: Kink = ""
    finite: bool = True
    rival: float = math.nan
    vanishing: bool = False

    @property
    def disputed(self) -> bool:
        """Whether larger steps settle on another value."""
        return not math.isnan(self.rival)
