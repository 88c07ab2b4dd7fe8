"""One equation of every kind of kernel, and what compares their gradients with the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.corpus import case
from tests.modes import EAGER, STATIC, UNKNOWN_DIMS, XLA, Mode
from tf_einsum_grad import einsum

MODES = (EAGER, STATIC, UNKNOWN_DIMS, XLA)
# One equation of every kind of kernel, with their inner workings as various as their gradients.
VARIED = tuple(
    case(equation)
    for equation in (
        "ab,bc->ac",
        "bac,bcd->dba",
        "ab,ab->ab",
        "ab,ab->b",
        "ab,c->cab",
        "aab->ba",
        "abb,bc->ca",
        "ab->b",
        "ab->ba",
        "abcabc->cb",
        "a->aa",
        "a,ab,bc,a->c",
    )
)
every_mode = pytest.mark.parametrize("mode", MODES, ids=str)


def assert_equal(got, wanted):
    tf.nest.assert_same_structure(got, wanted)
    for g, w in zip(tf.nest.flatten(got), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_array_equal(g, w)


def assert_varied(mode: Mode, body, expected, cases=VARIED):
    """`body(case, operands, cotangent)` in a mode, against `expected(reference, ...)`."""
    inputs = [[c.draw(), c.draw_cotangent()] for c in cases]
    results = mode.run(
        lambda rows: [body(c, *row) for c, row in zip(cases, rows, strict=True)], inputs
    )
    for c, row, got in zip(cases, inputs, results, strict=True):
        assert_equal(got, expected(c.reference, *row))


def gradients(case, operands, cotangent):
    with tf.GradientTape() as tape:
        tape.watch(operands)
        result = einsum(case.equation, *operands, **case.kwargs)
    return tape.gradient(result, operands, cotangent)


def vjps(reference, operands, cotangent):
    return reference.vjps(operands, cotangent)
