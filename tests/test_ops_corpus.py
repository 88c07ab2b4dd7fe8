"""The corpus against the oracle: values, gradients, second order and JVPs, in every mode."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.corpus import CORPUS, FAMILIES, Case
from tests.modes import COMPILED, EAGER, GRAPHS
from tf_einsum_grad import einsum


def everything(case: Case, operands, cotangent, directions):
    """What the oracle knows too, by name."""
    with tf.GradientTape() as outer:
        outer.watch(operands)
        with tf.GradientTape() as inner:
            inner.watch(operands)
            value = einsum(case.equation, *operands, **case.kwargs)
        gradients = inner.gradient(value, operands, cotangent)
        projection = sum(
            tf.reduce_sum(g * v) for g, v in zip(gradients, directions, strict=True)
        )
    second = outer.gradient(projection, operands, unconnected_gradients="zero")
    with tf.autodiff.ForwardAccumulator(operands, directions) as accumulator:
        jvp = accumulator.jvp(einsum(case.equation, *operands, **case.kwargs))
    for x, g, s in zip(operands, gradients, second, strict=True):
        assert g.shape.rank == s.shape.rank == x.shape.rank or x.shape.rank is None
        assert g.dtype == s.dtype == x.dtype
    if all(x.shape.is_fully_defined() for x in operands):
        assert value.shape == cotangent.shape == jvp.shape
        assert [g.shape for g in gradients] == [s.shape for s in second]
        assert [g.shape for g in gradients] == [x.shape for x in operands]
    return {"value": value, "gradients": gradients, "second order": second, "jvp": jvp}


def expected(case: Case, operands, cotangent, directions):
    reference = case.reference
    return {
        "value": reference.value(operands),
        "gradients": reference.vjps(operands, cotangent),
        "second order": reference.second(operands, cotangent, directions),
        "jvp": reference.jvp(operands, directions),
    }


def check(cases, mode, dtype="float64"):
    inputs = [[c.draw(dtype), c.draw_cotangent(dtype), c.draw(dtype, "directions")] for c in cases]
    results = mode.run(
        lambda rows: [everything(c, *row) for c, row in zip(cases, rows, strict=True)], inputs
    )
    wrong = []
    for c, row, result in zip(cases, inputs, results, strict=True):
        wanted = expected(c, *row)
        for what, values in wanted.items():
            pairs = zip(tf.nest.flatten(values), tf.nest.flatten(result[what]), strict=True)
            if not all(w.shape == r.shape and np.array_equal(w, r) for w, r in pairs):
                wrong.append(f"{c}: {what}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", CORPUS, ids=str)
def test_eager(case):
    check([case], EAGER)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", GRAPHS, ids=str)
def test_graph(mode, family):
    check(FAMILIES[family], mode)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", COMPILED, ids=str)
def test_xla(mode, family):
    # A slice of each family: compiling takes longer than all the rest.
    check(FAMILIES[family][::5], mode)
