"""Ops that are made here, against the same ones by `tf.raw_ops`."""

import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.raw import MADE_HERE, ops

OF_SHAPES = {"BroadcastArgs", "BroadcastGradientArgs", "Shape"}  # which no tape follows
DIFFERENTIABLE = [kind for kind in MADE_HERE if kind not in OF_SHAPES]


def call(kind, x, y):
    """Arguments as the package gives them: float matrices `x`, of (3, 4), and `y`, of (4, 3)."""
    shape, vector = tf.constant([2, 6]), tf.constant([1])
    return {
        "BatchMatMulV2": {"x": x, "y": x, "adj_x": False, "adj_y": True},
        "BroadcastArgs": {"s0": shape, "s1": vector},
        "BroadcastGradientArgs": {"s0": shape, "s1": vector},
        "BroadcastTo": {"input": x, "shape": tf.constant([2, 3, 4])},
        "ConcatV2": {"values": [x, x], "axis": tf.constant(1)},
        "Einsum": {"inputs": [x, y], "equation": "ij,jk->ik"},
        "MatMul": {"a": x, "b": y, "transpose_a": True, "transpose_b": True},
        "Mul": {"x": x, "y": x},
        "Reshape": {"tensor": x, "shape": shape},
        "Shape": {"input": x},
        "StridedSlice": {"input": x, "begin": vector, "end": tf.constant([3]), "strides": vector},
        "Sum": {"input": x, "axis": vector, "keep_dims": True},
        "Transpose": {"x": x, "perm": tf.constant([1, 0])},
    }[kind]


def operands():
    rng = np.random.default_rng(0)
    return tf.constant(rng.normal(size=(3, 4))), tf.constant(rng.normal(size=(4, 3)))


@pytest.mark.parametrize("kind", MADE_HERE)
def test_the_same_node_comes_of_it(kind):
    nodes = []
    with tf.Graph().as_default():
        for made_by in (tf.raw_ops, ops):
            result = getattr(made_by, kind)(**call(kind, *operands()))
            result = result if isinstance(result, tf.Tensor) else result[0]
            node = result.op.node_def
            assert node.name == kind + ("_1" if nodes else "")
            nodes.append((dict(node.attr), len(node.input), result.shape, result.dtype))
    assert nodes[0] == nodes[1]


@pytest.mark.parametrize("kind", DIFFERENTIABLE)
@pytest.mark.parametrize("forward", [False, True])
def test_tapes_and_accumulators_follow_it(kind, forward):
    def differentiate(made_by, x, y):
        def run(x):
            return getattr(made_by, kind)(**call(kind, x, y))

        if forward:
            with tf.autodiff.ForwardAccumulator(x, 2 * x) as accumulator:
                result = run(x)
            return accumulator.jvp(result)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                result = run(x) ** 3
            first = tape.gradient(result, x)
        return first, outer.gradient(first, x)

    expected, got = (
        tf.function(lambda x, y, by=by: differentiate(by, x, y))(*operands())
        for by in (tf.raw_ops, ops)
    )
    assert all(x is not None for x in tf.nest.flatten(got))
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, 1e-12), got, expected)


@pytest.mark.parametrize("kind", DIFFERENTIABLE)
def test_a_tape_is_told_what_raw_ops_tell_it(kind, monkeypatch):
    told = []

    def record(name, inputs, attributes, outputs):
        pairs = dict(zip(attributes[::2], attributes[1::2], strict=True))
        told.append((name, len(inputs), pairs, len(outputs)))

    monkeypatch.setattr(private._execute, "record_gradient", record)
    with tf.Graph().as_default(), tf.GradientTape() as tape:
        x, y = operands()
        arguments = call(kind, x, y)
        tape.watch(
            tf.nest.flatten([v for v in arguments.values() if not isinstance(v, bool | str)])
        )
        told.clear()
        for made_by in (tf.raw_ops, ops, ops):
            getattr(made_by, kind)(**arguments)
    assert len(told) == 3 and told[0] == told[1] == told[2]


def test_what_one_op_was_given_is_no_default_of_the_next(monkeypatch):
    told = []
    monkeypatch.setattr(private._execute, "record_gradient", lambda *x: told.append(x[2]))
    with tf.Graph().as_default(), tf.GradientTape() as tape:
        x, _ = operands()
        tape.watch(x)
        for given in ({"keep_dims": True}, {}):
            ops.Sum(input=x, axis=tf.constant([0]), **given)
    assert [dict(zip(t[::2], t[1::2], strict=True))["keep_dims"] for t in told] == [True, False]


def test_a_constant_of_eager_mode_and_a_tensor_from_outside_are_brought_here():
    x, y = operands()

    @tf.function
    def outer(x):
        @tf.function
        def inner():
            return ops.MatMul(a=x, b=y, transpose_a=False, transpose_b=False)

        return inner()

    np.testing.assert_allclose(outer(x), x.numpy() @ y.numpy())


def test_where_tensorflow_is_debugged_every_op_goes_its_way(monkeypatch):
    seen = []
    callback = lambda *args, **kwargs: seen.append(args[0])  # noqa: E731
    monkeypatch.setattr(private._op_callbacks, "should_invoke_op_callbacks", lambda: True)
    monkeypatch.setattr(private, "add_op", callback)
    x, y = operands()
    result = tf.function(lambda x, y: teg.einsum("ij,jk->ik", x, y))(x, y)
    np.testing.assert_allclose(result, x.numpy() @ y.numpy())
    assert not seen


def test_where_the_short_way_is_missing(monkeypatch):
    monkeypatch.setattr(private, "_HAS_ADD_OP", False)
    monkeypatch.setattr(private, "add_op", None)
    x, y = operands()

    @tf.function
    def gradients(x, y):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            result = teg.einsum("ij,jk->k", x, y)
        return tape.gradient(result, [x, y])

    of_x, of_y = gradients(x, y)
    np.testing.assert_allclose(of_x, np.tile(y.numpy().sum(1), [3, 1]))
    np.testing.assert_allclose(of_y, np.tile(x.numpy().sum(0)[:, np.newaxis], [1, 3]))
