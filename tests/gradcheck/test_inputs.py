"""What people may pass: calling conventions, names, the choice of leaves."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tests.gradcheck.helpers import names, with_gradient, x
from tf_einsum_grad.gradcheck import check_gradients


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


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0, np.int64(-1), np.int32(0), np.uint8(1)])
@pytest.mark.parametrize("given", ["tuple", "list", "dict"])
def test_integers_of_python_and_numpy_stay_what_they_are(given, axis, order):
    def fn(v, axis):
        return tf.nn.softmax(tf.concat([v] * (int(axis) + 2), 0), range(2)[axis])

    inputs = {
        "tuple": (x(3, 2), axis),
        "list": [x(3, 2), axis],
        "dict": {"v": x(3, 2), "axis": axis},
    }
    report = check_gradients(fn, inputs[given], order=order)
    assert report.passed and report.reference == "promote", report.summary()
    assert names(report, "SKIPPED") == ["axis"]


class Slotted:
    __slots__ = ("weight",)

    def __init__(self, weight):
        self.weight = weight


class Nested:
    """Plain objects in plain objects, with a variable at the bottom."""

    def __init__(self):
        self.inner = Slotted(Slotted(tf.Variable(x(4, 3), name="deep")))

    def __call__(self, v):
        return v @ self.inner.weight.weight


NESTED = Nested()


class Proxy:
    """Answers every question for what it has not with an error, as lazy ones do."""

    def __getattr__(self, name):
        raise RuntimeError(f"{name} was asked for")

    def __call__(self, v):
        return 2 * v


def test_no_code_of_what_holds_variables_runs():
    proxy = Proxy()
    assert check_gradients(lambda v: proxy(v), (x(3),)).passed


@pytest.mark.parametrize(
    "fn", [NESTED, lambda v: NESTED(v), lambda v, n=NESTED: n(v), NESTED.__call__]
)
def test_variables_of_plain_objects_in_others_are_leaves(fn):
    assert [leaf.name for leaf in check_gradients(fn, (x(2, 4),)).leaves][1:] == ["deep"]


def test_variables_of_a_distribution_strategy_are_each_one_leaf():
    program = [sys.executable, "-m", "tests.gradcheck.mirrored_program"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    w = ["v", "w"]
    dense = ["inputs", "dense/kernel", "dense/bias"]
    norm = [f"batch_normalization/{name}" for name in ("gamma", "beta")]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        replicas: [["PASS", w], ["PASS", [*dense, *norm]]] for replicas in ("1", "2")
    }


@pytest.mark.parametrize(
    ("fn", "inputs"),
    [
        (lambda v: tf.cast(v, tf.int32), (x(3),)),
        (lambda v: int(v.numpy()[0]), (x(3),)),  # cannot be traced
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
