"""What a trace says: which leaf is used, in what order, where, and what is held fixed."""

import inspect

import keras
import pytest
import tensorflow as tf

from tests.gradcheck.helpers import x
from tf_einsum_grad.gradcheck import check_gradients, private
from tf_einsum_grad.gradcheck.flow import Flow
from tf_einsum_grad.gradcheck.inputs import build_problem


def flow(fn, inputs, variables="trainable"):
    return Flow(build_problem(fn, inputs, variables=variables, wrt=None, loss=None, training=None))


def held_directly(v):
    return v * tf.stop_gradient(v)


@tf.function
def held_in_a_function(v):
    return v * tf.stop_gradient(v)


def held_by_keras_ops(v):
    return v * keras.ops.stop_gradient(v)


def held_in_a_branch(v):
    return tf.cond(tf.reduce_sum(v) > 0, lambda: v * tf.stop_gradient(v), lambda: v)


def held_in_a_loop(v):
    return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, y * tf.stop_gradient(y)), [0, v])


HELD = [
    held_directly, held_in_a_function, held_by_keras_ops, held_in_a_branch, held_in_a_loop,
]  # fmt: skip


@pytest.mark.parametrize("fn", HELD)
def test_what_is_held_fixed_is_named_with_its_place(fn):
    (named,), inside = flow(fn, x(3)).held()
    python = getattr(fn, "python_function", fn)
    lines, first = inspect.getsourcelines(python)
    line = first + next(i for i, text in enumerate(lines) if "stop_gradient(" in text)
    assert "StopGradient" in named and f"(test_flow.py:{line} in " in named
    assert inside == 0


@pytest.mark.parametrize(
    "fn",
    [
        lambda v: v * tf.stop_gradient(tf.constant(2.0)),  # of what is constant anyway
        lambda v: (v, tf.cast(tf.stop_gradient(v), tf.int32))[0],  # goes nowhere
        lambda v: tf.gather(v, tf.stop_gradient(tf.argmax(v))),  # of an integer
    ],
)
def test_what_holds_nothing_is_not_named(fn):
    assert flow(fn, x(3)).held() == ([], 0)


def test_what_tensorflow_and_keras_hold_is_counted():
    assert flow(lambda v: tf.nn.moments(v, [0])[1], x(3, 2)).held() == ([], 1)


def test_the_report_says_what_is_held_and_how_to_differentiate_it():
    report = check_gradients(held_directly, x(3))
    assert report.passed and "held_directly" in report.summary()
    assert 'stop_gradient="differentiate" takes derivatives through it' in report.summary()
    through = check_gradients(held_directly, x(3), stop_gradient="differentiate")
    assert through.status == "FAIL" and not through.notes
    assert through.leaves[0].numeric == pytest.approx(2 * through.leaves[0].analytic, rel=1e-4)


def test_uses_and_what_they_lead_to():
    a, b, left = (tf.Variable(x(3), name=name) for name in ("a", "b", "left"))

    def fn(v, unused):
        left.assign_add(v)
        return tf.sin(v * a) + b, v * left

    found = flow(fn, (x(3), x(3)), variables=[a, b, left])
    names = [leaf.name for leaf in found.problem.leaves]
    v, unused, ia, ib, ileft = range(5)
    assert names == ["v", "unused", "a", "b", "left"]
    assert found.unused == {unused} and found.assigned() == ["left"]
    assert set(found.first_uses) == {v, ia, ib, ileft}
    assert found.leads_to(v, [ib]) and found.leads_to(ia, [ib]) and found.leads_to(ia, [ileft, ib])
    assert not found.leads_to(ib, [ia]) and not found.leads_to(ia, [ileft])
    assert not found.leads_to(unused, [ib]) and not found.leads_to(ib, [])


def test_assignments_inside_functions_are_named():
    w, count = tf.Variable(x(3), name="w"), tf.Variable(0, name="count")

    @tf.function
    def fn(v):
        count.assign_add(1)
        return tf.cond(tf.reduce_sum(v) > 0, lambda: w.assign_add(v), lambda: w.assign(v)) * v

    assert flow(fn, x(3)).assigned() == ["w"]


def test_without_a_trace_nothing_is_known():
    found = flow(lambda v: v + float(v[0]), x(3))
    assert found.problem.concrete is None
    assert found.held() == ([], 0) and found.assigned() == [] and found.place_of("Add") == ""
    assert not found.unused and not found.first_uses and not found.leads_to(0, [0])


def test_without_the_private_lookup_inner_graphs_are_left_out(monkeypatch):
    monkeypatch.setattr(private, "function_graph", lambda graph, name: None)
    assert flow(held_in_a_loop, x(3)).held() == ([], 0)
    assert len(flow(held_directly, x(3)).held()[0]) == 1
