import math

import pytest
import tensorflow as tf

from tests.cli.running import run
from tf_einsum_grad.benchmark import variants
from tf_einsum_grad.cli import check


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_an_equation_is_checked_by_differences_and_against_native(capsys, dtype):
    code, out, _ = run(capsys, "check", "ij,jk->ik", "3,4", "4,2", "--dtype", dtype)
    assert code == 0
    assert "PASS" in out and "Against native einsum's gradients" in out


def test_where_native_has_nothing_to_compare_with_it_says_so(capsys):
    code, out, _ = run(capsys, "check", "i->ii", "3")
    assert code == 0
    assert "Native einsum does not take this equation" in out


def test_sizes_of_new_labels(capsys):
    code, out, _ = run(capsys, "check", "i->ij", "3", "--size", "j=5")
    assert code == 0 and "PASS" in out


def test_empty_operands(capsys):
    code, out, _ = run(capsys, "check", "ij,jk->ik", "0,4", "4,2")
    assert code == 0
    assert "Against native einsum's gradients: 0.0e+00" in out


def scaled_gradients(factor):
    """Our einsum, its gradients multiplied by a factor."""
    right = variants.VARIANTS["ours"]

    @tf.custom_gradient
    def scaled(result):
        return result, lambda cotangent: factor * cotangent

    return lambda equation, *operands, **options: scaled(right(equation, *operands, **options))


def test_a_wrong_gradient_is_found(capsys, monkeypatch):
    monkeypatch.setitem(variants.VARIANTS, "ours", scaled_gradients(1.01))
    code, out, _ = run(capsys, "check", "ij,jk->ik", "3,4", "4,2")
    assert code == 1
    assert "FAIL" in out


@pytest.mark.parametrize(
    ("comparison", "code", "shown"),
    [
        ([(1e-7, 1e-6), (2e-7, 1e-6)], 0, "2.0e-07"),
        ([(1e-5, 1e-6), (1e-7, 1e-6)], 1, "1.0e-05"),
        ([(math.nan, 1e-6), (1e-7, 1e-6)], 1, "nan"),
    ],
)
def test_gradients_that_differ_from_natives_are_wrong(capsys, monkeypatch, comparison, code, shown):
    monkeypatch.setattr(check, "_compare_with_native", lambda *_: comparison)
    found, out, _ = run(capsys, "check", "ij,jk->ik", "3,4", "4,2")
    assert found == code
    assert "PASS: gradients of" in out
    assert f"Against native einsum's gradients: {shown} of their largest element" in out
