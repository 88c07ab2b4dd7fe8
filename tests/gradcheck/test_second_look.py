"""What passes at first, and is wrong at another point or in elements that are small."""

import numpy as np
import pytest
import tensorflow as tf

from tests.gradcheck.helpers import with_gradient, x
from tf_einsum_grad.gradcheck import check_gradients
from tf_einsum_grad.gradcheck.second_look import ELSEWHERE
from tf_einsum_grad.gradcheck.verdict import SMALL

SCALES = np.ones(100)
SCALES[41] = 1e-6
DOUBLED = np.ones(100)
DOUBLED[41] = 2.0
MATRIX = np.random.default_rng(0).normal(size=(100, 100))


def small_slope(v):
    """Element 41 of the gradient is a millionth of the others, and twice what is right."""
    scales, doubled = (tf.constant(a, v.dtype) for a in (SCALES, DOUBLED))
    return with_gradient(
        lambda v: tf.reduce_sum(scales * tf.sin(v)), lambda dy, v: dy * doubled * scales * tf.cos(v)
    )(v)


def small_argument(v):
    """Element 41 of the argument is a millionth of the others, and its part twice what is right."""
    scales, doubled = (tf.constant(a, v.dtype) for a in (SCALES, DOUBLED))
    square = with_gradient(tf.square, lambda dy, v: dy * doubled * 2 * v)
    return square(v * scales)


def small_output(v):
    """Output 41 is a millionth of the others, and its row of the Jacobian twice what is right."""
    matrix = tf.constant(MATRIX * SCALES[:, None], v.dtype)
    wrong = tf.constant(MATRIX * (SCALES * DOUBLED)[:, None], v.dtype)
    return with_gradient(
        lambda v: tf.linalg.matvec(matrix, v),
        lambda dy, v: tf.linalg.matvec(wrong, dy, transpose_a=True),
    )(v)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fn", [small_slope, small_argument, small_output])
def test_a_small_element_that_is_wrong_is_found(fn, dtype, seed):
    report = check_gradients(fn, tf.cast(x(100), dtype), seed=seed)
    assert report.status == "FAIL", report.summary()
    if fn is not small_output:
        assert report.leaves[0].worst_indices[0] == (41,), report.summary()


def test_what_was_wrong_is_named():
    report = check_gradients(small_slope, tf.cast(x(100), "float32"))
    assert SMALL in report.summary()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "fn",
    [
        lambda v: tf.constant(SCALES, v.dtype) * tf.sin(v),
        lambda v: tf.reduce_sum(tf.constant(SCALES, v.dtype) * v**3),
        lambda v: tf.nn.softmax(20 * v),
        lambda v: tf.nn.gelu(4 * v),
        lambda v: tf.nn.relu(v) * tf.constant(SCALES, v.dtype),
        lambda v: tf.math.cumprod(v),
        lambda v: tf.linalg.matvec(tf.constant(MATRIX * SCALES[:, None], v.dtype), v),
        lambda v: tf.math.erfc(4 * v),
        lambda v: tf.nn.moments(1e3 + v, 0),
    ],
)
def test_small_elements_that_are_right_are_not_flagged(fn, dtype):
    for seed in range(3):
        report = check_gradients(fn, tf.cast(x(100), dtype), seed=seed)
        assert report.passed, report.summary()


def test_what_passed_at_another_point_is_looked_at_where_the_check_began():
    v = tf.concat([tf.cast(x(99), "float32"), [0.0]], 0)
    report = check_gradients(lambda v: tf.constant(SCALES, v.dtype) * v**4, v)
    assert report.passed, report.summary()
    at_zero = check_gradients(
        lambda v, w: tf.reduce_sum(v**4) + small_slope(w), (tf.zeros(3), x(100))
    )
    assert at_zero.status == "FAIL" and [leaf.name for leaf in at_zero.failed_leaves] == ["w"]


def caching():
    """sin, whose backward pass reuses what its first call computed."""
    kept = {}
    return with_gradient(tf.sin, lambda dy, v: dy * kept.setdefault("cosine", tf.cos(v)))


def test_a_backward_pass_that_reuses_what_its_first_call_computed():
    report = check_gradients(caching(), x(5), variants="eager")
    assert report.status == "FAIL" and ELSEWHERE in report.summary()
    right = check_gradients(with_gradient(tf.sin, lambda dy, v: dy * tf.cos(v)), x(5))
    assert right.status == "PASS"


@pytest.mark.parametrize("fn", [tf.linalg.cholesky, tf.math.acosh, tf.math.log, tf.math.asin])
def test_another_point_that_is_outside_the_domain_is_no_fault(fn):
    edge = {tf.math.acosh: 1.0 + 1e-3, tf.math.asin: 1.0 - 1e-3, tf.math.log: 1e-3}.get(fn)
    given = (
        tf.eye(3) + 0.999 * (1 - tf.eye(3)) if edge is None else tf.constant([edge, 2 * edge / 3])
    )
    if fn is tf.math.acosh:
        given = tf.constant([edge, 2.0])
    for seed in range(5):
        report = check_gradients(fn, given, seed=seed)
        assert report.passed, report.summary()


def test_values_that_differ_from_one_variant_to_another():
    def fn(v):
        return tf.sin(v) if tf.executing_eagerly() else 1.5 * tf.sin(v)

    report = check_gradients(fn, x(5))
    assert report.status == "FAIL"
    assert "computes other values in variant graph than in eager" in report.summary()
    assert check_gradients(fn, x(5), variants="eager").passed
    assert check_gradients(lambda v: tf.nn.dropout(v, 0.5), x(50)).passed


def test_an_rtol_asked_for_narrows_what_half_precision_allows():
    wrong = with_gradient(
        lambda v: tf.cast(tf.cast(v, tf.float16) ** 2, v.dtype), lambda dy, v: 0 * dy
    )
    assert not check_gradients(lambda v: 1e3 * v + wrong(v), x(5), rtol=1e-6).passed


def untraceable(core, backward):
    narrow = with_gradient(tf.tanh, lambda dy, v: dy * backward(v))

    def fn(v):
        factor = 2.0 if float(v[0]) > -100 else 1.0
        return factor * tf.cast(narrow(tf.cast(v, core)), v.dtype)

    return fn


@pytest.mark.parametrize("core", ["float32", "float16", "bfloat16"])
def test_a_function_that_cannot_be_traced_may_compute_in_a_narrower_dtype(core):
    right = untraceable(core, lambda v: 1 - tf.tanh(v) ** 2)
    for seed in range(3):
        report = check_gradients(right, tf.cast(x(6, seed=seed), "float64"), seed=seed)
        assert report.status != "FAIL", report.summary()
    assert check_gradients(right, x(6)).status != "FAIL"


@pytest.mark.parametrize("core", ["float32", "float64"])
def test_what_is_wrong_in_a_function_that_cannot_be_traced_is_found(core):
    wrong = untraceable(core, lambda v: 1.1 - tf.tanh(v) ** 2)
    assert check_gradients(wrong, tf.cast(x(6), "float64")).status == "FAIL"
