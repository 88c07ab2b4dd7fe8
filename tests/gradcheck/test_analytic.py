"""The gradients that TensorFlow computes, in each variant."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.gradcheck.cases import under_xla
from tests.gradcheck.helpers import names, with_gradient, x
from tf_einsum_grad.gradcheck import check_gradients


def test_indexed_slices_with_duplicates():
    table = tf.Variable(x(5, 2), name="table")
    report = check_gradients(lambda i: tf.gather(table, i) ** 2, (tf.constant([1, 1, 3]),))
    assert report.passed and names(report, "PASS") == ["table"]

    def half(dy, t):
        return tf.IndexedSlices(dy[:2], tf.constant([0, 1]), tf.constant([3, 2]))

    assert (
        check_gradients(with_gradient(lambda t: tf.gather(t, [0, 1, 1]), half), x(3, 2)).status
        == "FAIL"
    )


@pytest.mark.parametrize(
    "fn",
    [
        lambda v: tf.math.segment_sum(v, [0, 0, 1]),
        lambda v: tf.math.unsorted_segment_sum(v, [1, 1, 0], 2),
        lambda v: tf.scatter_nd([[0], [2], [2]], v, [5, 2]),
        lambda v: tf.gather(v, [0, 0, 2]),
    ],
)
def test_forward_mode_with_slices_that_share_an_index(fn):
    assert check_gradients(fn, x(3, 2), variants="forward").status == "PASS"


@pytest.mark.parametrize("variant", ["eager", "graph"])
@pytest.mark.parametrize(
    ("fn", "missing"),
    [
        (lambda v: tf.linalg.lu(v @ v)[0], "for Lu here; it is 'Lu' (test_analytic.py:"),
        (lambda v: tf.foldl(lambda a, b: tf.linalg.lu(a + b)[0], tf.stack([v, v])), "for Lu here"),
        (tf.function(lambda v: tf.linalg.lu(v @ v)[0]), "for Lu here; it is 'Lu' (test_analytic"),
    ],
)
def test_an_op_without_a_gradient_is_named(variant, fn, missing):
    report = check_gradients(fn, x(3, 3), variants=variant)
    assert report.status == "MISSING" and report.summary().count("has no gradient") == 1
    assert f"TensorFlow has no gradient {missing}" in report.summary()


@pytest.mark.parametrize("kind", [NotImplementedError, LookupError])
def test_a_gradient_that_is_not_implemented_is_missing(kind):
    def backward(dy, v):
        raise kind("Gradient explicitly disabled")

    report = check_gradients(with_gradient(tf.sin, backward), x(3))
    assert report.status == "MISSING"
    said = f"has no gradient here: {kind.__name__}: Gradient explicitly disabled\n"
    assert said in report.summary()


def test_complex_leaves():
    a, b = (tf.complex(x(4, seed=s), x(4, seed=s + 1)) for s in (0, 2))
    assert check_gradients(lambda a, b: a * tf.math.conj(b) + tf.exp(a), (a, b)).passed
    report = check_gradients(
        with_gradient(lambda a, b: a * b, lambda dy, a, b: (dy * b, dy * a)), (a, b)
    )
    assert report.status == "FAIL"


def test_variants_are_each_checked_and_reported():
    report = check_gradients(tf.tanh, x(4), variants=("eager", "graph", "xla", "forward"))
    assert report.passed and dict(report.variants) == dict.fromkeys(
        ("eager", "graph", "xla", "forward"), "PASS"
    )
    # Four comparisons share each numeric derivative; so they do at the second point.
    assert report.evaluations <= 18
    no_kernel = check_gradients(
        lambda v: tf.py_function(tf.sin, [v], tf.float32), x(4), variants=("eager", "xla")
    )
    assert no_kernel.variants["eager"] == "PASS" and no_kernel.variants["xla"] == "INCONCLUSIVE"
    assert not no_kernel.passed and "cannot run in variant xla" in no_kernel.summary()


def test_by_default_what_models_are_trained_with_is_checked():
    factor = lambda: 1.0 if tf.executing_eagerly() else 2.0  # noqa: E731
    in_graphs = with_gradient(tf.sin, lambda dy, v: factor() * dy * tf.cos(v))
    report = check_gradients(in_graphs, x(4))
    assert dict(report.variants) == {"eager": "PASS", "graph": "FAIL"}, report.summary()
    in_xla = with_gradient(tf.sin, lambda dy, v: dy * tf.cos(v) * (1 + float(under_xla())))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(in_xla)])
    model.compile(loss="mse", jit_compile=True)
    report = check_gradients(model, x(2, 4))
    assert dict(report.variants) == {"eager": "PASS", "graph": "PASS", "xla": "FAIL"}
    model.compile(loss="mse", jit_compile=False)
    assert set(check_gradients(model, x(2, 4)).variants) == {"eager", "graph"}
    untraceable = lambda v: v * float(v.numpy().size)  # noqa: E731
    assert set(check_gradients(untraceable, x(4)).variants) == {"eager"}


def test_a_variant_that_nobody_asked_for_need_not_run():
    eager_only = with_gradient(tf.sin, lambda dy, v: dy * np.cos(v.numpy()))
    report = check_gradients(eager_only, x(4))
    assert report.passed and set(report.variants) == {"eager"}
    assert "cannot run in variant graph" in report.summary()
    asked = check_gradients(eager_only, x(4), variants=("eager", "graph"))
    assert asked.status != "PASS"


def test_a_loss_has_its_own_cotangent():
    seen = []

    @tf.custom_gradient
    def loss(v):
        def grad(dy):
            seen.append(float(dy))
            return 2 * dy * v

        return tf.reduce_sum(v**2), grad

    assert check_gradients(loss, x(4), variants="eager").passed
    assert 1.0 in seen and len(set(seen)) == 4  # the last at a second point
