"""The oracle itself: against `np.einsum`, and its gradients against finite steps of a linear map."""

from __future__ import annotations

import numpy as np
import pytest

from tests.corpus import CORPUS
from tests.reference import draw, replace


def test_values_are_those_of_numpy():
    compared = 0
    for case in CORPUS:
        compact = "".join(case.equation.split())
        left, _, output = compact.partition("->")
        summed_ellipsis = "..." in left and "->" in compact and "..." not in output
        if (
            case.sizes
            or len(set(output)) < len(output.replace("...", "."))
            or not compact.isascii()
        ):
            continue
        if summed_ellipsis:
            continue
        operands = case.draw()
        wanted = np.einsum(compact, *operands)
        got = case.reference.value(operands)
        assert got.shape == wanted.shape and np.array_equal(got, wanted), case
        compared += 1
    assert compared > 500


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_gradients_are_the_adjoints_of_the_values(dtype):
    # <A v, w> = <v, A* w>, where A is the map from one operand to the result.
    for case in CORPUS[::3]:
        operands, cotangent = case.draw(dtype), case.draw_cotangent(dtype)
        rng = np.random.default_rng(0)
        for k, shape in enumerate(case.shapes):
            v = draw(shape, rng, dtype)
            forward = np.vdot(cotangent, case.reference.value(replace(operands, k, v)))
            backward = np.vdot(case.reference.vjp(k, operands, cotangent), v)
            assert forward == backward, (case, k)
