"""Our own op under our own checker: every variant and dtype, first and second order."""

import numpy as np
import pytest
import tensorflow as tf

from tf_einsum_grad import check_gradients, einsum

EQUATIONS = {
    "ijkm,ijkn->imn": [(2, 2, 2, 3), (2, 2, 2, 4)],
    "...k,kn->...n": [(2, 3, 4), (4, 2)],
    "bi,bi->b": [(3, 4), (3, 4)],
    "iij->ji": [(3, 3, 2)],
    "ij,jk,kl->il": [(2, 3), (3, 2), (2, 4)],
}


def operands(equation, dtype):
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((2, *shape)) for shape in EQUATIONS[equation]]
    complex_ = tf.as_dtype(dtype).is_complex
    return tuple(tf.cast(re + 1j * im if complex_ else re, dtype) for re, im in parts)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_every_variant(equation, order):
    # Squared, so that there is a second order.
    report = check_gradients(
        lambda *xs: einsum(equation, *xs) ** 2,
        operands(equation, "float32"),
        order=order,
        n_directions=1,
        variants=("eager", "graph", "xla", "forward"),
    )
    assert report.passed, report.summary()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("equation", list(EQUATIONS)[:2])
def test_every_dtype(equation, dtype):
    report = check_gradients(lambda *xs: einsum(equation, *xs), operands(equation, dtype))
    assert report.passed, report.summary()
    assert {leaf.dtype for leaf in report.leaves} == {dtype}


def test_a_wrong_transpose_is_found(monkeypatch):
    from tf_einsum_grad.lowering.contraction import Contraction

    right = Contraction.transpose
    # The other operand's gradient equation: fits wherever both operands have the same shape.
    monkeypatch.setattr(Contraction, "transpose", lambda self, k: right(self, 1 - k))
    a, b = (tf.constant(np.random.default_rng(k).standard_normal((3, 3))) for k in range(2))
    report = check_gradients(lambda a, b: einsum("ij,jk->ik", a, b), (a, b), variants=("graph",))
    assert not report.passed
