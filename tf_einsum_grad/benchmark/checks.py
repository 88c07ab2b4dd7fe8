"""Whether two variants computed the same, which is asked before anything is timed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tf_einsum_grad.benchmark.workloads import Workload

__all__ = ["ResultMismatch", "check_results"]

_EPSILON = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
    "complex64": 2.0**-23,
    "complex128": 2.0**-52,
}


class ResultMismatch(RuntimeError):
    """A variant's result or gradient differs from the reference by more than rounding can."""


def check_results(
    workload: Workload, who: str, values: Sequence[np.ndarray], reference: Sequence[np.ndarray]
) -> float:
    """Compares a result and its gradients, in this order, with reference ones.

    The measure is the largest difference over the largest reference value, tensor by tensor.
    Summing n terms in another order changes a sum by about the square root of n times the
    precision; half-precision dtypes sum in float32, so only their roundings count.

    Args:
        workload: what was computed.
        who: names the variant in the error.
        values: the result, then the gradient with respect to each operand.
        reference: the same, trusted.

    Returns:
        The largest of the measures.

    Raises:
        ResultMismatch: one of them is beyond what rounding explains, or a shape differs.
    """
    names = ("the result", *(f"the gradient of operand {k}" for k in range(len(workload.shapes))))
    elements = math.prod(workload.sizes.values())
    half = workload.dtype in ("float16", "bfloat16")
    worst = 0.0
    for name, value, expected in zip(names, values, reference, strict=True):
        terms = 1 if half else max(1, elements // max(1, expected.size))
        steps = (4 if half else 16) * len(workload.shapes)
        tolerance = steps * _EPSILON[workload.dtype] * math.sqrt(terms)
        error = _relative_error(value, expected)
        if not error <= tolerance:
            raise ResultMismatch(
                f"{who} computed {workload.equation!r} wrong: {name} differs from TensorFlow's by "
                f"{error:.1e} of its largest value, and rounding explains {tolerance:.1e}"
            )
        worst = max(worst, error)
    return worst


def _relative_error(value: np.ndarray, expected: np.ndarray) -> float:
    if value.shape != expected.shape:
        return math.inf
    if not expected.size:
        return 0.0
    scale = float(np.max(np.abs(expected)))
    difference = float(np.max(np.abs(value - expected)))
    return difference / scale if scale else (math.inf if difference else 0.0)
