"""Whether two variants computed the same, which is asked before anything is timed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tf_einsum_grad.algebra.dtypes import DTYPES
from tf_einsum_grad.benchmark.workloads import Workload

__all__ = ["ResultMismatch", "check_results", "relative_error", "rounding"]


class ResultMismatch(RuntimeError):
    """A variant's result or gradient differs from the reference by more than rounding can."""


def check_results(
    workload: Workload, who: str, values: Sequence[np.ndarray], reference: Sequence[np.ndarray]
) -> None:
    """Compares a result and its gradients, in this order, with reference ones.

    Args:
        workload: what was computed.
        who: names the variant in the error.
        values: the result, then the gradient with respect to each operand.
        reference: the same, trusted.

    Raises:
        ResultMismatch: an error is beyond what `rounding` explains, or a shape differs.
    """
    names = ("the result", *(f"the gradient of operand {k}" for k in range(len(workload.shapes))))
    elements = math.prod(workload.sizes.values())
    for name, value, expected in zip(names, values, reference, strict=True):
        tolerance = rounding(workload.dtype, len(workload.shapes), elements, expected.size)
        error = relative_error(value, expected)
        if not error <= tolerance:
            raise ResultMismatch(
                f"{who} computed {workload.equation!r} wrong: {name} differs from TensorFlow's by "
                f"{error:.1e} of its largest value, and rounding explains {tolerance:.1e}"
            )


def rounding(dtype: str, n_operands: int, n_products: int, n_results: int) -> float:
    """What rounding may do to a tensor, relative to its largest element.

    Summing n terms in another order changes a sum by about the square root of n times the
    precision; half-precision dtypes sum in float32, so only their roundings count.

    Args:
        dtype: of the operands.
        n_operands: how many factors a product has.
        n_products: of all the einsum: the product of its labels' sizes.
        n_results: elements of the tensor, among which the products are summed.
    """
    half = DTYPES[dtype].accumulates_in != dtype
    terms = 1 if half else max(1, n_products // max(1, n_results))
    return (4 if half else 16) * n_operands * DTYPES[dtype].epsilon * math.sqrt(terms)


def relative_error(value: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest expected value; infinite where shapes differ."""
    if value.shape != expected.shape:
        return math.inf
    if not expected.size:
        return 0.0
    scale = float(np.max(np.abs(expected)))
    difference = float(np.max(np.abs(value - expected)))
    return difference / scale if scale else (math.inf if difference else 0.0)
