"""How many nodes an einsum is in a graph that knows no batch, which is Keras' usual one."""

import pytest
import tensorflow as tf

import tf_einsum_grad as teg

CALLS = [
    ("btd,df->btf", (None, 128, 64), (64, 256)),
    ("bthd,bshd->bhts", (None, 128, 8, 64), (None, 128, 8, 64)),
    ("bhts,bshd->bthd", (None, 8, 128, 128), (None, 128, 8, 64)),
    ("bi,bi->b", (None, 64), (None, 64)),
]


def nodes(einsum, equation, shapes, with_gradient):
    def call(*operands):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = einsum(equation, *operands)
        return tape.gradient(result, operands) if with_gradient else result

    specs = [tf.TensorSpec(shape) for shape in shapes]
    traced = tf.function(call, autograph=False).get_concrete_function(*specs)
    return len(traced.graph.get_operations())


@pytest.mark.parametrize("name", ["cpu", "cpu-onednn"])
@pytest.mark.parametrize("with_gradient", [False, True])
@pytest.mark.parametrize(("equation", "shapes"), [(case[0], case[1:]) for case in CALLS])
def test_an_unknown_batch_takes_three_times_natives_nodes_at_most(
    equation, shapes, with_gradient, name
):
    with teg.machine(name):
        ours = nodes(teg.einsum, equation, shapes, with_gradient)
    assert ours <= 3 * nodes(tf.einsum, equation, shapes, with_gradient)
