"""Arrays, their dtypes' precision, and what a numeric derivative is. No TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = Sequence[Array]
Along = Callable[[Array], float]  # a derivative, of the direction that it is taken along
Kink = Literal["", "kink", "jump"]
# Machine precision by dtype, and the relative tolerance that goes with it.
EPS = {
    "float64": 2.0**-52, "complex128": 2.0**-52, "float32": 2.0**-23, "complex64": 2.0**-23,
    "float16": 2.0**-10, "bfloat16": 2.0**-7,
}  # fmt: skip
_ASYMMETRY = 1e-6  # relative to the largest element: what float32 makes of a product with itself
RTOL = {2.0**-52: 1e-7, 2.0**-23: 2e-5, 2.0**-10: 1e-2, 2.0**-7: 5e-2}


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


def adjoint(x: Array) -> Array:
    """Returns the conjugate transpose of a matrix, or of each in a batch."""
    return np.asarray(np.swapaxes(x, -1, -2).conj())


def symmetric(x: Array) -> bool:
    """Whether an array is a symmetric matrix but for rounding, or a batch of them."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        return False
    allowed = _ASYMMETRY * float(np.abs(x).max(initial=0.0))
    return bool((np.abs(x - adjoint(x)) <= allowed).all())


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
