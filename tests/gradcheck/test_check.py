"""The parameters of check_gradients, its statuses and its messages."""

import itertools
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tf_einsum_grad.gradcheck import (
    GradientCheckError,
    assert_gradients,
    check_gradients,
)


def x(*shape, seed=0, dtype=np.float32):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def with_gradient(forward, backward):
    @tf.custom_gradient
    def fn(*args):
        return forward(*args), lambda dy: backward(dy, *args)

    return fn


def names(report, status=None):
    return [leaf.name for leaf in report.leaves if status is None or leaf.status == status]


# ------------------------------------------------------------------ inputs and outputs


def test_nests_of_inputs_and_outputs():
    def fn(d):
        return {"a": d["p"][0] * d["q"], "b": (d["p"][1], [tf.exp(d["q"]), tf.argmax(d["q"])])}

    report = check_gradients(fn, ({"p": (x(3), x(2)), "q": x(3, seed=1)},))
    assert report.passed
    assert names(report) == ["d['p'][0]", "d['p'][1]", "d['q']"]


def test_keyword_inputs():
    report = check_gradients(lambda a, b: a * b, {"b": x(3), "a": x(3, seed=1)})
    assert report.passed and names(report) == ["a", "b"]


def test_integer_inputs_are_skipped_not_refused():
    report = check_gradients(tf.gather, (x(5, 2), tf.constant([0, 0, 3])))
    assert report.passed
    assert names(report, "SKIPPED") == ["indices"]


@pytest.mark.parametrize(
    ("fn", "inputs"),
    [
        (lambda v: tf.cast(v, tf.int32), (x(3),)),
        (lambda v: v + 1, (tf.constant([1, 2]),)),
        (lambda: 1.0, ()),
    ],
)
def test_nothing_to_differentiate(fn, inputs):
    with pytest.raises(ValueError, match="nothing to differentiate"):
        check_gradients(fn, inputs)


def test_ragged_sparse_empty_and_scalar_inputs():
    ragged = tf.ragged.constant([[1.0, 2.0], [3.0]])
    assert check_gradients(lambda r: tf.reduce_sum(r * r, 1), (ragged,)).passed
    sparse = tf.sparse.from_dense([[1.0, 0, 2], [0, 3, 0]])
    assert check_gradients(tf.sparse.sparse_dense_matmul, (sparse, x(3, 2))).passed
    assert check_gradients(lambda a, b: tf.concat([a, b], 0), (tf.zeros([0, 3]), x(2, 3))).passed
    assert check_gradients(lambda v: v**3, 2.5).passed


def test_the_same_tensor_twice_is_two_leaves():
    t = x(3)
    report = check_gradients(lambda a, b: a * tf.sin(b), (t, t))
    assert report.passed and names(report, "PASS") == ["a", "b"]


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


def test_complex_leaves():
    a, b = (tf.complex(x(4, seed=s), x(4, seed=s + 1)) for s in (0, 2))
    assert check_gradients(lambda a, b: a * tf.math.conj(b) + tf.exp(a), (a, b)).passed
    report = check_gradients(
        with_gradient(lambda a, b: a * b, lambda dy, a, b: (dy * b, dy * a)), (a, b)
    )
    assert report.status == "FAIL"


def test_modules_methods_and_input_signatures():
    class Module(tf.Module):
        def __init__(self):
            self.w = tf.Variable(x(3, 2), name="w")
            self.calls = tf.Variable(0, trainable=False)

        @tf.function(input_signature=[tf.TensorSpec([None, 3])])
        def __call__(self, v):
            self.calls.assign_add(1)
            return tf.tanh(v @ self.w)

    module = Module()
    for fn in (module, module.__call__):
        report = check_gradients(fn, x(4, 3), variants=("eager", "graph", "xla"))
        assert report.passed and "w" in names(report, "PASS")
    assert int(module.calls) == 0


# ------------------------------------------------------------------ what to check


def test_variables():
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(3, name="one"), L.BatchNormalization(name="bn")]
    )
    inputs = x(5, 4)
    assert names(check_gradients(model, inputs)) == [
        "inputs",
        "one/kernel",
        "one/bias",
        "bn/gamma",
        "bn/beta",
    ]
    assert "bn/moving_mean" in names(check_gradients(model, inputs, variables="all"), "PASS")
    assert names(check_gradients(model, inputs, variables="one/*")) == [
        "inputs",
        "one/kernel",
        "one/bias",
    ]
    kernel = model.layers[0].kernel
    assert names(check_gradients(model, inputs, variables=[kernel, "bn/g*"])) == [
        "inputs",
        "one/kernel",
        "bn/gamma",
    ]
    assert names(check_gradients(model, inputs, variables=[])) == ["inputs"]
    with pytest.raises(ValueError, match="nothing matches 'two'; there are: one/kernel"):
        check_gradients(model, inputs, variables=["two"])


@pytest.mark.parametrize(
    ("wrt", "chosen"), [(0, ["a"]), ("b", ["b"]), (["a", -1], ["a", "b"]), ("*", ["a", "b"])]
)
def test_wrt(wrt, chosen):
    report = check_gradients(lambda a, b: a * b, (x(2), x(2, seed=1)), wrt=wrt)
    assert names(report, "PASS") == chosen
    assert len(report.leaves) == 2
    with pytest.raises(ValueError, match=r"wrt names no input: 'c'; the inputs are a, b"):
        check_gradients(lambda a, b: a * b, (x(2), x(2)), wrt="c")


def test_loss():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    assert check_gradients(model, x(4, 3), loss=("mse", x(4, 2))).passed
    assert check_gradients(model, x(4, 3), loss=lambda y: tf.reduce_sum(y**2)).passed
    wrong = with_gradient(lambda y: tf.reduce_sum(y), lambda dy, y: tf.ones_like(y))
    report = check_gradients(model, x(4, 3), loss=wrong)
    assert report.status == "FAIL"
    assert any("ignores the upstream gradient" in leaf.cause for leaf in report.leaves)
    with pytest.raises(ValueError, match="loss must be"):
        check_gradients(model, x(4, 3), loss="mse")


def test_training_is_passed_on():
    def fn(v, training=False):
        return v * (with_gradient(tf.sin, lambda dy, u: dy)(v) if training else v)

    assert check_gradients(fn, x(3)).passed
    assert check_gradients(fn, x(3), training=True).status == "FAIL"
    with pytest.raises(ValueError, match="takes no `training`"):
        check_gradients(tf.sin, x(3), training=True)


def test_variants_are_each_checked_and_reported():
    report = check_gradients(tf.tanh, x(4), variants=("eager", "graph", "xla", "forward"))
    assert report.passed and dict(report.variants) == dict.fromkeys(
        ("eager", "graph", "xla", "forward"), "PASS"
    )
    # Four comparisons share each numeric derivative.
    assert report.evaluations <= 10
    no_kernel = check_gradients(
        lambda v: tf.py_function(tf.sin, [v], tf.float32), x(4), variants=("eager", "xla")
    )
    assert no_kernel.variants["eager"] == "PASS" and no_kernel.variants["xla"] == "INCONCLUSIVE"
    assert not no_kernel.passed and "cannot run in variant xla" in no_kernel.summary()


def test_second_order():
    assert check_gradients(lambda v, w: tf.tanh(v @ w), (x(3, 4), x(4, 2)), order=2).passed
    assert check_gradients(lambda v: 3 * v, x(4), order=2).passed
    frozen = check_gradients(lambda v: tf.sin(v) * tf.stop_gradient(tf.exp(v)), x(4), order=2)
    assert frozen.passed, frozen.summary()
    detached = with_gradient(tf.sin, lambda dy, v: tf.stop_gradient(dy) * tf.cos(v))
    report = check_gradients(detached, x(4), order=2)
    assert not report.passed and report.leaves[0].order == 1 and "cotangent" in names(report)
    assert "second order" in report.summary()


def test_second_order_symmetry_is_reported():
    from tf_einsum_grad.gradcheck.analytic import Backward
    from tf_einsum_grad.gradcheck.second import asymmetry

    class Two:
        output_leaves = (0, 1)

    h = np.array([[2.0, 1.0], [3.0, 4.0]])  # not symmetric
    u, w = [np.array(1.0), np.array(2.0)], [np.array(-1.0), np.array(1.0)]
    hu, hw = (Backward([], list(h.T @ np.array(v))) for v in (u, w))
    uhw, whu, scale = asymmetry(Two, u, w, hu, hw)
    assert uhw == pytest.approx(np.array(u) @ h.T @ np.array(w))
    assert whu == pytest.approx(np.array(w) @ h.T @ np.array(u))
    assert abs(uhw - whu) > 0.1 * scale


@pytest.mark.parametrize("n", [1, 2, 3])
def test_cost_is_one_backward_per_direction_and_variant(n):
    model = keras.Sequential([keras.Input((4,)), L.Dense(5, "tanh"), L.Dense(3)])
    report = check_gradients(model, x(3, 4), n_directions=n, variants=("eager", "graph"))
    assert report.backward_passes == 2 * n
    assert report.evaluations <= 4 + 4 * n * len(report.leaves)


def test_cost_does_not_grow_with_the_number_of_elements():
    small, large = (check_gradients(tf.sin, x(k)).evaluations for k in (10, 100_000))
    assert large == small


def test_max_evaluations():
    report = check_gradients(lambda a, b: a * b, (x(2), x(2)), max_evaluations=4)
    assert report.status == "INCONCLUSIVE" and not report.passed and report.evaluations <= 5
    assert "max_evaluations=4 was reached" in report.summary()


def test_tolerances():
    slightly = with_gradient(tf.sin, lambda dy, v: 1.001 * dy * tf.cos(v))
    assert check_gradients(slightly, x(5)).status == "FAIL"
    assert check_gradients(slightly, x(5), rtol=1e-2).passed
    assert check_gradients(slightly, x(5), atol=1.0).passed


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


def test_stop_gradient():
    def fn(v):
        return (v + tf.stop_gradient(tf.round(v * 4) / 4 - v)) ** 2

    assert check_gradients(fn, x(5)).passed
    assert not check_gradients(
        lambda v: v * tf.stop_gradient(v), x(5), stop_gradient="differentiate"
    ).passed
    assert check_gradients(lambda v: v * tf.stop_gradient(v), x(5)).passed


def test_stop_gradient_in_loops_branches_and_nested_functions():
    nested = tf.function(lambda v: v * tf.stop_gradient(tf.exp(v)))

    def fn(v):
        v = tf.while_loop(
            lambda i, y: i < 3, lambda i, y: (i + 1, y * v + tf.stop_gradient(tf.sin(y))), [0, v]
        )[1]
        v = tf.cond(tf.reduce_sum(v) > -100, lambda: v * tf.stop_gradient(v), lambda: v)
        return nested(v / 10)

    assert check_gradients(fn, x(4)).passed


def test_the_seed_makes_reports_repeat():
    fn = with_gradient(tf.sin, lambda dy, v: dy)
    a, b, c = (check_gradients(fn, x(5), seed=s).leaves[0] for s in (1, 1, 2))
    assert a == b and a.numeric != c.numeric


def test_raising():
    fn = with_gradient(tf.sin, lambda dy, v: dy)
    with pytest.raises(GradientCheckError, match="FAIL inputs") as caught:
        check_gradients(fn, x(5), raise_on_fail=True)
    assert caught.value.report.status == "FAIL"
    with pytest.raises(AssertionError, match="analytic"):
        assert_gradients(fn, x(5))
    assert assert_gradients(tf.sin, x(5)).passed


@pytest.mark.parametrize(
    "options",
    [
        {"order": 3}, {"variants": ("fast",)}, {"variants": ()}, {"reference": "x"}, {"kinks": "x"},
        {"stop_gradient": "x"}, {"n_directions": 0}, {"rtol": -1.0}, {"atol": float("nan")},
        {"variants": 3}, {"n_directions": 1.5}, {"rtol": "1"}, {"seed": -1}, {"seed": "a"},
        {"max_evaluations": 0}, {"variables": 3}, {"loss": ("mse",)},
    ],
)  # fmt: skip
def test_bad_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        check_gradients(tf.sin, x(2), **options)


# ------------------------------------------------------------------ statuses and messages


def test_a_message_says_everything():
    scale = np.ones((20, 30), np.float32)
    scale[7, 11] = 3
    fn = with_gradient(
        lambda v, w: tf.sin(v) * w, lambda dy, v, w: (dy * tf.cos(v) * w * scale, dy * tf.sin(v))
    )
    report = check_gradients(fn, (x(20, 30), x(20, 30, seed=1)))
    leaf = report.leaves[0]
    assert leaf.worst_indices == ((7, 11),)
    analytic, numeric = leaf.worst_values[0]
    assert analytic == pytest.approx(3 * numeric, rel=1e-4)
    text = report.summary()
    for part in (
        leaf.name,
        "[7, 11]",
        f"{analytic:.6g}",
        f"{numeric:.6g}",
        "tolerance",
        "a single element is wrong",
    ):
        assert part in text
    assert len(text) < 1000
    assert not check_gradients(fn, (x(20, 30), x(20, 30)), localise=False).leaves[0].worst_indices


@pytest.mark.parametrize(
    ("backward", "cause"),
    [
        (lambda dy, v: -dy * tf.cos(v), "the sign is wrong"),
        (lambda dy, v: 2 * dy * tf.cos(v), "off by a factor of 2"),
        (lambda dy, v: dy * tf.cos(v) / 4, "1/4: a mean where a sum belongs"),
        (lambda dy, v: tf.transpose(dy * tf.cos(v)), "a missing transpose"),
        (lambda dy, v: tf.cos(v), "ignores the upstream gradient"),
        (lambda dy, v: tf.cast(dy, tf.float64), "its dtype is float64, the leaf's is float32"),
        (lambda dy, v: tf.reduce_sum(dy), r"its shape is \(\), the leaf's is \(4, 4\)"),
        (lambda dy, v: tf.reshape(dy, [7]), "the backward pass raised InvalidArgumentError"),
    ],
)
def test_likely_causes(backward, cause):
    with pytest.raises(GradientCheckError, match=cause):
        assert_gradients(with_gradient(tf.sin, backward), x(4, 4))


def test_only_some_variants():
    fn = with_gradient(
        tf.sin, lambda dy, v: dy * tf.cos(v) * (1.0 if tf.executing_eagerly() else 1.01)
    )
    report = check_gradients(fn, x(6), variants=("eager", "graph"))
    assert dict(report.variants) == {"eager": "PASS", "graph": "FAIL"}
    assert "wrong only in graph, right in eager" in report.summary()


def test_missing():
    fn = with_gradient(lambda a, b: a * b, lambda dy, a, b: (dy * b, None))
    report = check_gradients(fn, (x(3), x(3, seed=1)))
    assert [leaf.status for leaf in report.leaves] == ["PASS", "MISSING"]
    w = tf.Variable(x(3))
    report = check_gradients(lambda v: v * tf.numpy_function(np.tanh, [w], tf.float32), x(3))
    assert "tf.numpy_function or tf.py_function" in report.summary()
    unused = check_gradients(lambda a, b: a, (x(3), x(3)))
    assert unused.passed


def test_nonfinite():
    assert check_gradients(tf.sqrt, tf.constant([0.0, 1.0])).status == "NONFINITE"
    nan = check_gradients(lambda v: tf.math.log(v), tf.constant([-1.0, 1.0]))
    assert nan.status == "NONFINITE" and "the function itself gives NaN" in nan.summary()


def test_nondeterministic():
    count = itertools.count(1)
    report = check_gradients(lambda v: v * float(next(count)), x(3))
    assert report.status == "NONDETERMINISTIC"

    def noise():
        return tf.constant(np.frombuffer(os.urandom(2), np.uint16)[0].astype(np.float32))

    report = check_gradients(lambda v: v * tf.py_function(noise, [], tf.float32), x(3))
    assert report.status == "NONDETERMINISTIC" and not report.passed


def test_inconclusive_is_not_a_pass():
    def rough(v):
        return tf.cast(
            tf.cast(v, tf.float64) + 1e-3 * tf.sin(1e13 * tf.cast(v, tf.float64)), tf.float32
        )

    report = check_gradients(rough, x(3))
    assert not report.passed


def test_hints_bracket_the_wrong_layer():
    class Wrong(L.Layer):
        def call(self, v):
            return with_gradient(tf.tanh, lambda dy, u: dy)(v)

    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(4, name="before"), Wrong(), L.Dense(2, name="after")]
    )
    report = check_gradients(model, x(3, 4))
    assert set(names(report, "FAIL")) == {"inputs", "before/kernel", "before/bias"}
    assert "'before/bias'" in report.hints[0] and "'after/kernel'" in report.hints[0]


# ------------------------------------------------------------------ rounding is no bug


@pytest.mark.parametrize(
    "fn",
    [
        lambda v: tf.sin(v * 1e6),
        lambda v: tf.math.reduce_variance(v + 1e4),
        lambda v: tf.tanh(v * 20),
        lambda v: tf.nn.log_softmax(v * 100),
        lambda v: tf.reduce_sum(v) - tf.reduce_sum(v * 0.999),
        lambda v: tf.math.log(tf.abs(v) ** 8 + 1e-6),
    ],
)
def test_ill_conditioned_float32_is_not_flagged(fn):
    report = check_gradients(fn, x(40))
    assert report.passed, report.summary()


def test_elements_of_very_different_size():
    assert check_gradients(tf.sqrt, tf.constant([1e-8, 1.0, 100.0])).passed
    assert check_gradients(tf.math.log, tf.constant([1e-6, 1.0, 2.0])).passed


def test_an_output_that_is_zero_but_for_rounding_is_no_reason_for_doubt():
    def fn(v):
        return tf.sin(v), tf.reduce_mean(v - tf.reduce_mean(v))

    for seed in range(3):
        report = check_gradients(fn, x(7, seed=seed), seed=seed)
        assert report.passed and report.reference == "promote", report.summary()
    wrong = with_gradient(tf.sin, lambda dy, v: 1.01 * dy * tf.cos(v))
    assert check_gradients(lambda v: (wrong(v), fn(v)[1]), x(7)).status == "FAIL"
