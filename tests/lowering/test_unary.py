"""Every candidate for a contraction of one operand, followed in NumPy."""

import random

import numpy as np
import pytest

from tests.lowering.interpreter import run
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.unary import unary_lowerings


def expected(equation, x, sizes):
    """NumPy takes diagonals and sums; a view of zeros puts the rest where it belongs."""
    source, target = equation.inputs[0], equation.output
    result = np.zeros([sizes[label] for label in target], x.dtype)
    distinct = "".join(dict.fromkeys(target))
    kept = "".join(label for label in distinct if label in source)
    y = np.einsum(f"{source}->{kept}", x)
    y = y.reshape([sizes[label] if label in kept else 1 for label in distinct])
    if not target:
        return y
    np.einsum(f"{target}->{distinct}", result)[...] = y
    return result


@pytest.mark.parametrize("target", ["eager", "graph", "xla"])
def test_every_candidate_computes_the_contraction(target):
    rng, draw = random.Random(0), np.random.default_rng(0)
    for _ in range(200):
        terms = ["".join(rng.choices("abcd", k=rng.randint(0, most))) for most in (5, 4)]
        equation = Equation((terms[0],), terms[1])
        sizes = {label: rng.choice([1, 2, 3]) for label in equation.labels}
        x = draw.integers(-9, 9, [sizes[label] for label in terms[0]])
        c = Contraction(equation, tuple(sizes.items()), "float32", target)
        for lowering in unary_lowerings(c):
            np.testing.assert_array_equal(
                run(lowering, [x], sizes), expected(equation, x, sizes), str(lowering)
            )
