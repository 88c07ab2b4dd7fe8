"""What is frozen, and data, cost no backward contraction: kernels are counted, in every mode."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_callbacks

import tf_einsum_grad as teg

SHAPES = {"x": (4, 5), "w": (5, 6), "v": (6, 7)}
# z = (x w) v: the backward contractions that each choice of sources needs.
NEEDED = {"v": 1, "w": 2, "x": 2, "wv": 3, "xv": 3, "xw": 3, "xwv": 4}
CONTRACTIONS = {"MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"}


def variables(sources):
    rng = np.random.default_rng(0)
    return {
        name: tf.Variable(rng.normal(size=shape), trainable=name in sources, dtype=tf.float32)
        for name, shape in SHAPES.items()
    }


def gradients(values, sources):
    with tf.GradientTape() as tape:
        y = teg.einsum("ab,bc->ac", values["x"], values["w"])
        z = teg.einsum("ac,cd->ad", y, values["v"])
        loss = tf.reduce_sum(z**2)
    return loss, *tape.gradient(loss, [values[name] for name in sources])


@contextlib.contextmanager
def ops_run():
    """The types of the ops that run in eager mode."""
    kinds = []

    def note(kind, *_, **__):
        kinds.append(kind)

    op_callbacks.add_op_callback(note)
    try:
        yield kinds
    finally:
        op_callbacks.remove_op_callback(note)


def reached(graph):
    """The ops that the outputs of a graph come from: what is left when it is pruned."""
    found, waiting = {}, [y.op for y in graph.outputs]
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found[op.name] = op
            waiting += [y.op for y in op.inputs]
    return found.values()


@pytest.mark.parametrize("sources", NEEDED)
def test_eager(sources):
    values = variables(sources)
    with ops_run() as kinds:
        gradients(values, sources)
    assert sum(kind in CONTRACTIONS for kind in kinds) == 2 + NEEDED[sources]


@pytest.mark.parametrize("sources", NEEDED)
def test_graph(sources):
    values = variables(sources)
    function = tf.function(lambda: gradients(values, sources), autograph=False)
    ops = reached(function.get_concrete_function().graph)
    assert sum(op.type in CONTRACTIONS for op in ops) == 2 + NEEDED[sources]


@pytest.mark.parametrize("sources", NEEDED)
def test_xla(sources):
    values = variables(sources)
    function = tf.function(lambda: gradients(values, sources), autograph=False, jit_compile=True)
    text = function.experimental_get_compiler_ir()(stage="hlo")
    assert text.count(" dot(") == 2 + NEEDED[sources]


@pytest.mark.parametrize("sources", ["v", "w"])
def test_tf_gradients(sources):
    """Not a tape but the graph is asked, and the rule is an op's."""

    @tf.function(autograph=False)
    def run(*tensors):
        values = dict(zip(SHAPES, tensors, strict=True))
        y = teg.einsum("ab,bc->ac", values["x"], values["w"])
        z = teg.einsum("ac,cd->ad", y, values["v"])
        loss = tf.reduce_sum(z**2)
        return loss, *tf.gradients(loss, [values[name] for name in sources])

    specs = [tf.TensorSpec([None, None])] * 3
    ops = reached(run.get_concrete_function(*specs).graph)
    assert sum(op.type in CONTRACTIONS for op in ops) == 2 + NEEDED[sources]


@pytest.mark.parametrize("operands", ["two", "three"])
def test_constants(operands):
    """Of data nothing is differentiated, whatever the path makes of it."""
    x, w, v = (tf.random.normal(SHAPES[name]) for name in "xwv")
    text = "ab,bc->ac" if operands == "two" else "ab,bc,cd->ad"
    values = [x, w, v][: len(text.split(","))]
    with tf.GradientTape() as tape:
        tape.watch(values[-1])
        y = teg.einsum(text, *values)
        with ops_run() as kinds:
            tape.gradient(y, values[-1])
    assert sum(kind in CONTRACTIONS for kind in kinds) == 1


def test_a_frozen_layer_of_a_model_that_trains():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.EinsumDense("abc,cd->abd", (None, n)) for n in (6, 7)]
    model = keras.Sequential([keras.Input([3, 5]), *layers])
    layers[0].trainable = False
    x = tf.random.normal([2, 3, 5])

    @tf.function(autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    with teg.installed():
        ops = reached(step.get_concrete_function(x).graph)
    assert sum(op.type in CONTRACTIONS for op in ops) == 2 + 1
