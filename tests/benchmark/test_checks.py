import math

import numpy as np
import pytest

from tf_einsum_grad.benchmark.checks import (
    ResultMismatch,
    check_results,
    relative_error,
    rounding,
)
from tf_einsum_grad.benchmark.workloads import Workload


def test_the_error_is_relative_to_the_largest_value():
    expected = np.array([1.0, -4.0])
    assert relative_error(np.array([1.0, -3.0]), expected) == 0.25
    assert relative_error(np.zeros(3), np.zeros(3)) == 0
    assert relative_error(np.ones(3), np.zeros(3)) == math.inf
    assert relative_error(np.ones((3, 1)), np.ones(3)) == math.inf
    assert relative_error(np.zeros((0, 2)), np.zeros((0, 2))) == 0
    assert math.isnan(relative_error(np.array([1.0, np.nan]), np.ones(2)))


def test_rounding_grows_with_the_root_of_the_terms():
    assert rounding("float64", 2, 100, 1) == pytest.approx(16 * 2 * 2.0**-52 * 10)
    assert rounding("complex64", 2, 600, 6) == pytest.approx(16 * 2 * 2.0**-23 * 10)
    assert rounding("bfloat16", 3, 100, 1) == 4 * 3 * 2.0**-7, "sums are in float32"
    assert rounding("float32", 1, 0, 0) == 16 * 2.0**-23, "of nothing"


def test_what_rounding_does_not_explain_is_refused():
    w = Workload("", "", "ij,jk->ik", ((4, 5), (5, 3)))
    (a, b), g = w.make_inputs()
    right = [a @ b, g @ b.T, a.T @ g]
    check_results(w, "ours", right, right)
    slightly = [right[0] * np.float32(1 + 2e-6), *right[1:]]
    assert 1e-6 < relative_error(slightly[0], right[0]) < 3e-6
    check_results(w, "ours", slightly, right)
    for k, name in enumerate(
        ("the result", "the gradient of operand 0", "the gradient of operand 1")
    ):
        for wrong in (right[k] * 1.001, right[k] * np.nan, right[k][:1]):
            values = [*right[:k], wrong, *right[k + 1 :]]
            with pytest.raises(
                ResultMismatch, match=f"ours computed 'ij,jk->ik' wrong: {name} diff"
            ):
                check_results(w, "ours", values, right)
