"""The corpus against the oracle: values, gradients, second order and JVPs, in every mode."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.corpus import CORPUS, FAMILIES, Case
from tests.modes import EAGER, STATIC, UNKNOWN_DIMS, UNKNOWN_RANK, XLA, XLA_UNKNOWN_DIMS


def first_order(case: Case, operands, cotangent, directions):
    """What the oracle knows too, by name."""
    with tf.GradientTape() as tape:
        tape.watch(operands)
        value = case(*operands)
    gradients = tape.gradient(value, operands, cotangent)
    for x, g in zip(operands, gradients, strict=True):
        assert g.dtype == x.dtype
        assert g.shape.rank == x.shape.rank or x.shape.rank is None
    if all(x.shape.is_fully_defined() for x in (*operands, cotangent)):
        assert value.shape == cotangent.shape
        assert [g.shape for g in gradients] == [x.shape for x in operands]
    return {"value": value, "gradients": gradients}


def all_orders(case: Case, operands, cotangent, directions):
    """The same, with the second order and forward mode."""
    with tf.GradientTape() as tape:
        tape.watch(operands)
        results = first_order(case, operands, cotangent, directions)
        pairs = zip(results["gradients"], directions, strict=True)
        projection = sum(tf.reduce_sum(g * v) for g, v in pairs)
    second = tape.gradient(projection, operands, unconnected_gradients="zero")
    with tf.autodiff.ForwardAccumulator(operands, directions) as accumulator:
        jvp = accumulator.jvp(case(*operands))
    if all(x.shape.is_fully_defined() for x in (*operands, cotangent)):
        assert jvp.shape == cotangent.shape
        assert [s.shape for s in second] == [x.shape for x in operands]
    return {**results, "second order": second, "jvp": jvp}


EXPECTED = {
    "value": lambda reference, x, g, v: reference.value(x),
    "gradients": lambda reference, x, g, v: reference.vjps(x, g),
    "second order": lambda reference, x, g, v: reference.second(x, g, v),
    "jvp": lambda reference, x, g, v: reference.jvp(x, v),
}


def check(cases, mode, body, dtype="float64"):
    inputs = [[c.draw(dtype), c.draw_cotangent(dtype), c.draw(dtype, "directions")] for c in cases]
    results = mode.run(
        lambda rows: [body(c, *row) for c, row in zip(cases, rows, strict=True)], inputs
    )
    wrong = []
    for c, row, result in zip(cases, inputs, results, strict=True):
        for what, got in result.items():
            wanted = tf.nest.flatten(EXPECTED[what](c.reference, *row))
            pairs = zip(wanted, tf.nest.flatten(got), strict=True)
            if not all(w.shape == g.shape and np.array_equal(w, g) for w, g in pairs):
                wrong.append(f"{c}: {what}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", CORPUS, ids=str)
def test_eager(case):
    check([case], EAGER, all_orders)


# In graphs each mode takes a slice of the corpus: tracing and compiling take longer than running.
GRAPH_SLICES = (
    (STATIC, 1, 5),
    (UNKNOWN_DIMS, 0, 6),
    (UNKNOWN_RANK, 3, 18),
    (XLA, 2, 13),
    (XLA_UNKNOWN_DIMS, 5, 13),
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("mode", "start", "step"), GRAPH_SLICES, ids=str)
def test_graph(mode, start, step, family):
    check(FAMILIES[family][start::step], mode, first_order)


@pytest.mark.parametrize("mode", [mode for mode, _, _ in GRAPH_SLICES], ids=str)
def test_graph_to_second_order(mode):
    check(CORPUS[7::100], mode, all_orders)
