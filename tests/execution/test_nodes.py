"""How many nodes an einsum is in a graph that knows no batch, which is Keras' usual one."""

import numpy as np
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


def kinds_of(function, *specs):
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    return [op.type for op in graph.get_operations()]


def test_shapes_are_read_once_for_all_that_need_them():
    x = tf.TensorSpec([None, None, 4])
    w = tf.TensorSpec([4, 5])
    with teg.machine("cpu-onednn"):
        one = kinds_of(lambda x, w: teg.einsum("btd,df->btf", x, w), x, w)
        three = kinds_of(
            lambda x, w: [teg.einsum("btd,df->btf", x, y) for y in (w, 2 * w, 3 * w)], x, w
        )
    for kind in ("Shape", "StridedSlice", "ConcatV2"):
        assert one.count(kind) == three.count(kind) == 1
    assert three.count("MatMul") == 3


def test_what_nothing_follows_holds_no_rule():
    """A gradient is differentiated by a tape that sees it, or else kernel by kernel."""
    specs = tf.TensorSpec([None, 128, 64]), tf.TensorSpec([64, 256])

    def gradients(x, w, order):
        with tf.GradientTape() as outer:
            outer.watch([x, w])
            with tf.GradientTape() as tape:
                tape.watch([x, w])
                y = teg.einsum("btd,df->btf", x, w) ** 2
            first = tape.gradient(y, [x, w])
        return first if order == 1 else outer.gradient(first, [x, w])

    def without_outer(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = teg.einsum("btd,df->btf", x, w) ** 2
        return tape.gradient(y, [x, w])

    with teg.machine("cpu-onednn"):
        assert kinds_of(without_outer, *specs).count("IdentityN") == 1
        assert kinds_of(lambda x, w: gradients(x, w, 1), *specs).count("IdentityN") == 3

    x = tf.random.stateless_normal([2, 128, 64], [0, 1])
    w = tf.random.stateless_normal([64, 256], [0, 2])
    with teg.machine("cpu-onednn"):
        inside = tf.function(lambda x, w: gradients(x, w, 2))(x, w)
        first = tf.function(without_outer)
        with tf.GradientTape() as outer:  # through a function that was traced without a tape
            outer.watch([x, w])
            result = first(x, w)
        through = outer.gradient(result, [x, w])
    for a, b in zip(inside, through, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


def test_a_tape_that_begins_later_still_sees_what_a_vectorized_map_left_as_it_was():
    """Views are shared only where no tape records: one made before a tape would be cut off."""
    w = tf.random.stateless_normal([64, 16, 16], [0, 1])
    xs = tf.random.stateless_normal([3, 128, 64], [0, 2])

    @tf.function
    def gradient(xs, w):
        before = teg.einsum("ij,jab->iab", tf.ones([128, 64]), w)  # reshapes w, under no tape
        with tf.GradientTape() as tape:
            tape.watch(w)
            ys = tf.vectorized_map(lambda x: teg.einsum("ik,kab->iab", x, w), xs)
            loss = tf.reduce_sum(ys)
        return tape.gradient(loss, w), before

    with teg.machine("cpu-onednn"):
        got, _ = gradient(xs, w)
    expected = tf.reduce_sum(xs, [0, 1])[:, None, None] * tf.ones_like(w)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-2)
