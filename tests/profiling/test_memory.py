"""Peak memory of a step, in the process that measures it."""

import pytest
import tensorflow as tf

from tf_einsum_grad.profiling.memory import MemoryUnknown, measure_peak
from tf_einsum_grad.profiling.steps import make_step, read_subject

SIDE = 1024
BYTES = 4 * SIDE**2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_takes_what_it_makes(dtype):
    weights = tf.Variable(tf.ones([SIDE, 1], dtype))

    def outer(x):  # SIDE x SIDE numbers, which the loss squares
        return tf.matmul(weights, x)

    x = tf.ones([1, SIDE], dtype)
    peak = measure_peak(make_step(read_subject(outer, x, None, True), "graph", ours=True))
    assert BYTES / 2 < peak < 20 * BYTES


def test_what_cannot_be_saved_is_said():
    keys = tf.lookup.KeyValueTensorInitializer(["a"], [1.0])
    table = tf.lookup.StaticHashTable(keys, 0.0)
    subject = read_subject(lambda x: x * table.lookup(tf.constant("a")), tf.ones([2]), None, True)
    with pytest.raises(MemoryUnknown):
        measure_peak(make_step(subject, "graph", ours=False))
