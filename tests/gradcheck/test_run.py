"""One order: points, passes, kinks, and what it costs."""

import keras
import pytest
import tensorflow as tf
from keras import layers as L

from tests.gradcheck.helpers import names, with_gradient, x
from tf_einsum_grad.gradcheck import check_gradients


def test_second_order():
    assert check_gradients(lambda v, w: tf.tanh(v @ w), (x(3, 4), x(4, 2)), order=2).passed
    assert check_gradients(lambda v: 3 * v, x(4), order=2).passed
    frozen = check_gradients(lambda v: tf.sin(v) * tf.stop_gradient(tf.exp(v)), x(4), order=2)
    assert frozen.passed, frozen.summary()
    detached = with_gradient(tf.sin, lambda dy, v: tf.stop_gradient(dy) * tf.cos(v))
    report = check_gradients(detached, x(4), order=2)
    assert not report.passed and report.leaves[0].order == 1 and "cotangent" in names(report)
    assert "second order" in report.summary()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_cost_is_one_backward_per_direction_and_variant_and_one_at_another_point(n):
    model = keras.Sequential([keras.Input((4,)), L.Dense(5, "tanh"), L.Dense(3)])
    report = check_gradients(model, x(3, 4), n_directions=n, variants=("eager", "graph"))
    assert report.backward_passes == 2 * (n + 1)
    assert report.evaluations <= 8 + 4 * (n + 1) * len(report.leaves)


def test_cost_does_not_grow_with_the_number_of_elements():
    small, large = (check_gradients(tf.sin, x(k)).evaluations for k in (1_000, 10_000))
    assert large == small
    assert check_gradients(tf.sin, x(100_000)).evaluations < small  # none is looked for alone


def test_max_evaluations():
    report = check_gradients(lambda a, b: a * b, (x(2), x(2)), max_evaluations=4)
    assert report.status == "INCONCLUSIVE" and not report.passed and report.evaluations <= 5
    assert "max_evaluations=4 was reached" in report.summary()


@pytest.mark.parametrize(
    "fn", [tf.floor, tf.stop_gradient, lambda v: tf.floor(v) + float(tf.floor(v)[0]), tf.zeros_like]
)
def test_second_order_of_what_has_no_gradient(fn):
    report = check_gradients(fn, x(3), order=2)
    assert report.passed and report.order == 1
    assert "no leaf has a gradient, so there is no second order" in report.summary()


def test_the_report_says_which_orders_were_checked():
    assert ", order 1, " in check_gradients(tf.sin, x(3)).summary().replace("  order", ", order")
    assert "orders 1 and 2, " in check_gradients(tf.sin, x(3), order=2).summary()
    wrong = check_gradients(with_gradient(tf.sin, lambda dy, v: dy), x(3), order=2)
    assert wrong.order == 1 and "second order was not checked" in wrong.summary()


@pytest.mark.parametrize("fn", [tf.sin, lambda v: v * float(tf.reduce_sum(v))])
def test_seconds(fn):
    report = check_gradients(fn, x(50), seconds=0)
    assert report.status == "INCONCLUSIVE" and report.evaluations <= 5
    assert "seconds=0 were over" in report.summary()
    assert check_gradients(tf.sin, x(2), seconds=60).passed


def test_kinks():
    at_zero = tf.constant([0.0, 1.0])
    nearby = check_gradients(tf.abs, at_zero)
    assert nearby.passed and nearby.status == "PASS_NEARBY" and nearby.leaves[0].kink == "kink"
    assert check_gradients(tf.abs, at_zero, kinks="report").status == "KINK"
    assert check_gradients(tf.abs, at_zero, kinks="ignore").status == "PASS"
    assert check_gradients(tf.nn.relu, at_zero, kinks="ignore").status == "FAIL"
    assert check_gradients(tf.floor, at_zero, kinks="report").status == "JUMP"
    wrong = with_gradient(tf.nn.relu, lambda dy, v: dy)
    assert check_gradients(wrong, tf.constant([0.0, -1.0])).status == "FAIL"


def small_layers():
    keras.utils.set_random_seed(0)
    narrow = keras.initializers.RandomNormal(stddev=0.02)
    layers = [L.Dense(32, "relu", kernel_initializer=narrow) for _ in range(10)]
    return keras.Sequential([keras.Input((8,)), *layers, L.Dense(3)])


def test_biases_far_larger_than_the_activations_around_them():
    report = check_gradients(small_layers(), x(4, 8))
    assert report.status == "PASS", report.summary()
    wrong = with_gradient(lambda v: 2 * v, lambda dy, v: 2.01 * dy)
    model = small_layers()
    report = check_gradients(lambda v: wrong(model(v)), x(4, 8))
    assert {leaf.status for leaf in report.leaves} == {"FAIL"}, report.summary()


@pytest.mark.parametrize("seed", range(3))
def test_stairs_neither_pass_nor_fail(seed):
    right = check_gradients(lambda v: tf.nn.softmax(v - 1e9), x(5, dtype="float64"), seed=seed)
    assert right.status in ("INCONCLUSIVE", "PASS_NEARBY"), right.summary()
    # TensorFlow differentiates the last steps of an iteration: [0, 0, 1.58, 2.42] for a trace.
    wrong = check_gradients(
        lambda a, b: tf.reduce_sum(tf.linalg.eigh_tridiagonal(a, b)), (x(4), x(3)), seed=seed
    )
    assert wrong.status == "INCONCLUSIVE", wrong.summary()
    assert "by small steps" in wrong.summary() and "by larger ones" in wrong.summary()


def test_a_derivative_of_zero_is_seen_where_nothing_else_is():
    ones = tf.ones(4)
    assert check_gradients(tf.reduce_prod, tf.constant([0.0, 0, 2, 3])).status == "PASS"
    assert check_gradients(lambda v: tf.nn.relu(v) ** 2, tf.zeros(4)).status == "PASS"
    assert check_gradients(lambda v: keras.losses.squared_hinge(ones, v), ones).status == "PASS"
    wrong = with_gradient(tf.reduce_prod, lambda dy, v: dy * tf.ones_like(v))
    assert check_gradients(wrong, tf.constant([0.0, 0, 2, 3])).status == "FAIL"


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("point", [[0.0, 1.0], [-1.0, 1.0], [1e38, 1e-38]])
def test_what_is_not_finite_makes_no_warnings(point):
    check_gradients(lambda v: (tf.math.log(v), v * v), tf.constant(point))


def test_nonfinite():
    assert check_gradients(tf.sqrt, tf.constant([0.0, 1.0])).status == "NONFINITE"
    nan = check_gradients(lambda v: tf.math.log(v), tf.constant([-1.0, 1.0]))
    assert nan.status == "NONFINITE" and "the function itself gives NaN" in nan.summary()


def test_a_gradient_of_nothing_is_found_by_its_asymmetry():
    curl = tf.constant([[1.0, 1e-3], [-1e-3, 1.0]])
    fn = with_gradient(
        lambda v: tf.reduce_sum(v**2), lambda dy, v: 2 * dy * tf.linalg.matvec(curl, v)
    )
    report = check_gradients(fn, x(2), order=2, atol=1.0)
    assert [leaf.name for leaf in report.failed_leaves] == ["symmetry of the second derivative"]
    assert report.failed_leaves[0].order == 2 and report.variants["eager"] == "FAIL"
    assert "the gradient is not the gradient of anything" in report.summary()
