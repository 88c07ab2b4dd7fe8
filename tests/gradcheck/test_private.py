"""The private functions of TensorFlow that we use, and what happens without them."""

import pytest
import tensorflow as tf

from tf_einsum_grad.gradcheck import private


def test_kernels_and_definitions_are_found():
    assert private.op_def("MatMul").output_arg[0].name == "product"
    dtypes = {t for kernel in private.cpu_constraints("FusedBatchNormV3") for t in kernel["U"]}
    assert tf.float64.as_datatype_enum not in dtypes
    with pytest.raises(private.Unavailable, match="NoSuchOp"):
        private.op_def("NoSuchOp")


def test_the_graph_of_a_function_that_a_graph_calls():
    inner = tf.function(tf.sin)
    outer = tf.function(lambda v: inner(v)).get_concrete_function(tf.TensorSpec([2]))
    (name,) = (f.signature.name for f in outer.graph.as_graph_def().library.function)
    kinds = [op.type for op in private.function_graph(outer.graph, name).get_operations()]
    assert "Sin" in kinds
    assert private.function_graph(object(), name) is None


@pytest.mark.parametrize("outer", [lambda fn: fn, tf.function])
def test_an_op_without_a_gradient_is_named(outer):
    v = tf.eye(2)

    def gradient(v):
        with tf.GradientTape() as tape:
            tape.watch(v)
            (y,) = tf.while_loop(
                lambda y: True, lambda y: [tf.linalg.lu(y)[0]], [v], maximum_iterations=1
            )
        return tape.gradient(y, v)

    with pytest.raises(Exception, match="Lu") as caught:  # its kind depends on autograph
        outer(gradient)(v)
    assert private.without_gradient(caught.value) == "Lu"
    assert private.without_gradient(LookupError("a key")) is None
    assert private.without_gradient(LookupError("Gradient explicitly disabled. Reason: x")) == ""


def test_seed_state_round_trip():
    tf.random.set_seed(4)
    state = private.seed_state()
    first = float(tf.random.uniform([]))
    tf.random.set_seed(9)
    private.restore_seed_state(state)
    assert float(tf.random.uniform([])) == first
    private.restore_seed_state(None)


def test_a_missing_context_is_reported_and_seeds_are_left_alone(monkeypatch):
    def missing():
        raise private.Unavailable("gone")

    monkeypatch.setattr(private, "_context", missing)
    assert private.seed_state() is None
    with pytest.raises(private.Unavailable, match="gone"):
        private.register_functions([])
