"""Random directions and cotangents, as NumPy arrays that the native dtype represents exactly.

Entries are Rademacher signs times U[0.5, 1.5]: no entry is small, so that no element of a
gradient can hide, and the signs are random, so that errors do not need tolerances that grow with
the number of elements (all-positive directions, as in torch's fast mode, do).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_ZERO_LEAF = 0.1  # how far to move a leaf that is zero everywhere
_LARGEST_EXPONENT = 60  # keeps 1/RMS(y) and its products inside float32


def wide(array: Any) -> Array:
    """Return the array as float64, or complex128 if it is complex.

    >>> wide(np.float32([1])).dtype
    dtype('float64')
    """
    array = np.asarray(array.numpy() if hasattr(array, "numpy") else array)
    return np.asarray(array, np.complex128 if np.iscomplexobj(array) else np.float64)


def rms(array: Array) -> float:
    """Root mean square of the finite entries; 0 where there are none.

    Scaled by the largest entry, so that squares neither overflow nor vanish.
    """
    magnitude = np.abs(array[np.isfinite(array)])
    largest = float(magnitude.max(initial=0.0))
    return largest * float(np.sqrt(np.mean((magnitude / largest) ** 2))) if largest > 0 else 0.0


def signs(rng: np.random.Generator, shape: tuple[int, ...], complex_: bool) -> Array:
    """Rademacher times U[0.5, 1.5], in the real and the imaginary part."""

    def real() -> Array:
        return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape))

    return real() + 1j * real() if complex_ else real()


def representable(array: Array, dtype: Any) -> Array:
    """Round to a NumPy dtype (ml_dtypes' bfloat16 too) and come back."""
    return wide(array.astype(dtype))


def direction(rng: np.random.Generator, x: Array, dtype: Any) -> Array:
    """A direction for leaf ``x``, of its size; zero where x is not finite."""
    u = signs(rng, x.shape, np.iscomplexobj(x)) * (rms(x) or _ZERO_LEAF)
    return representable(np.where(np.isfinite(x), u, 0), dtype)


def cotangent(
    rng: np.random.Generator, y: Array, dtype: Any, *, size: float | None = None, half: bool = False
) -> Array:
    """A cotangent for output ``y``, scaled by about 1/size; zero where y is not finite.

    The size is RMS(y) if not given. The scale is a power of two, and kept small for float16, whose
    largest number is 65504.
    """
    size = rms(y) if size is None else size
    limit = 8 if half else _LARGEST_EXPONENT
    exponent = int(np.clip(-np.round(np.log2(size)), -limit, limit)) if size > 0 else 0
    v = signs(rng, y.shape, np.iscomplexobj(y)) * 2.0**exponent
    return representable(np.where(np.isfinite(y), v, 0), dtype)


def inner(a: Array, b: Array) -> float:
    """The real inner product Re <a, b> = Re sum conj(a) b.

    TensorFlow's gradient of a real scalar s with respect to a complex z is the g with
    ds = Re <g, dz>, so that one formula serves real and complex leaves.
    """
    return float(np.real(np.vdot(a, b)))
