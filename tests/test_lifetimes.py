"""What einsum makes is freed: graphs, the variables that they hold, and memory."""

import gc
import subprocess
import sys
import textwrap
import weakref

import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from tf_einsum_grad import einsum

# One kernel, several kernels, several steps, one operand, sizes that are not known.
CASES = [
    ("ij,jk->ik", [4, 4], [4, 4]),
    ("bthd,bshd->bhts", [2, 3, 4, 5], [2, 3, 4, 5]),
    ("bi,bj,ij->b", [2, 3], [2, 3], [3, 3]),
    ("iij->j", [3, 3, 2]),
    ("bij,bjk->bik", [None, 3, 4], [None, 4, 5]),
]


def second_order(equation, x, others):
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(einsum(equation, x, *others) ** 2)
        gradient = tape.gradient(y, x)
    return outer.gradient(gradient, x)


def shape_of(spec):
    return [2 if size is None else size for size in spec]


@pytest.mark.parametrize(("equation", "shapes"), [(case[0], case[1:]) for case in CASES])
def test_a_graph_dies_with_its_function(equation, shapes):
    registered = len(ops.gradient_registry._registry)

    def trace():
        variables = [tf.Variable(tf.ones(shape_of(shape))) for shape in shapes[1:]]
        function = tf.function(lambda x: second_order(equation, x, variables))
        graph = function.get_concrete_function(tf.TensorSpec(shapes[0])).graph
        x = tf.ones(shape_of(shapes[0]))
        with tf.GradientTape() as tape:  # TensorFlow's own gradient functions, too
            tape.watch(x)
            y = function(x)
        assert tape.gradient(y, x).shape == x.shape
        return [weakref.ref(each) for each in (function, graph, *variables)]

    references = trace()
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)
    assert len(ops.gradient_registry._registry) == registered


def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def vectorized_map():
    x, w = tf.ones([8, 512, 512]), tf.ones([512, 16])  # 8 MB
    return tf.vectorized_map(lambda row: einsum("ij,jk->ik", row, w), x)


def batch_jacobian():
    x, w = tf.ones([4, 2**14]), tf.ones([2**14, 64])  # 4 MB
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = einsum("bi,ij->bj", x, w)
    return tape.batch_jacobian(y, x)


def dataset_map():
    w = tf.ones([2**20, 2])  # 8 MB
    return list(tf.data.Dataset.range(2).map(lambda _: einsum("ij->j", w)))


def retrace():
    w = tf.Variable(tf.ones([512, 2048]))  # 4 MB
    return tf.function(lambda x: einsum("ij,jk->ik", x, w))(tf.ones([2, 512]))


@pytest.mark.parametrize("call", [vectorized_map, batch_jacobian, dataset_map, retrace])
def test_memory_stays_flat(call):
    """Graphs that were kept would hold 4 to 8 MB for each call, in every round.

    An allocator takes its pages in one round or another.
    """
    growths = []
    for _ in range(3):
        before = resident()
        for _ in range(6):
            call()
        growths.append(resident() - before)
    assert min(growths[1:]) < 10e6


def test_the_first_touch_may_be_inside_a_graph():
    """The package is imported when it is used first; that leaves nothing in the graph, nor off."""
    program = """
        import tensorflow as tf, tf_einsum_grad as teg
        function = tf.function(lambda x: teg.einsum("ij->ji", x), autograph=False)
        graph = function.get_concrete_function(tf.TensorSpec([2, 3])).graph
        print(sorted(op.type for op in graph.get_operations()))
        from tf_einsum_grad.execution.call import run_eager_call
        x = tf.ones([2, 3])
        print(run_eager_call("ij->ji", [x], "auto").shape, teg.einsum("ij->ji", x).shape)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines() == [
        "['Const', 'Identity', 'Placeholder', 'Transpose']",
        "(3, 2) (3, 2)",
    ]
