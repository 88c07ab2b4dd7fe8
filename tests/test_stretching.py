"""Sizes that a graph does not know and that turn out to be 1, in random equations."""

import random

import numpy as np
import pytest
import tensorflow as tf

from tf_einsum_grad import einsum


def draw(rng):
    """An equation, operands of which some have size 1 where others have more, and what is known."""
    labels = "abcdef"[: rng.randint(1, 5)]
    sizes = {label: rng.choice([2, 3, 4]) for label in labels}
    terms = ["".join(rng.choices(labels, k=rng.randint(0, 4))) for _ in range(rng.randint(1, 3))]
    used = sorted(set("".join(terms)))
    output = "".join(rng.sample(used, rng.randint(0, len(used))))
    operands, specs = [], []
    for term in terms:
        own = {label: 1 if rng.random() < 0.3 else sizes[label] for label in sorted(set(term))}
        shape = [own[label] for label in term]
        values = np.random.default_rng(rng.randrange(10**9)).normal(size=shape)
        operands.append(tf.constant(values))
        known = [None if rng.random() < 0.8 else size for size in shape]
        specs.append(tf.TensorSpec(known, tf.float64))
    return f"{','.join(terms)}->{output}", operands, specs


def to_second_order(equation, operands):
    with tf.GradientTape() as outer:
        outer.watch(operands)
        with tf.GradientTape() as tape:
            tape.watch(operands)
            y = einsum(equation, *operands)
            loss = tf.reduce_sum(tf.sin(y))
        first = tape.gradient(loss, operands)
        norm = tf.add_n([tf.reduce_sum(gradient**2) for gradient in first])
    return [y, *first, *outer.gradient(norm, operands)]


@pytest.mark.parametrize("compiled", [False, True])
def test_what_turns_out_to_be_1(compiled):
    """As in eager mode, where all is known; and there the value is NumPy's."""
    rng = random.Random(0)
    for _ in range(2 if compiled else 8):
        cases = [draw(rng) for _ in range(8)]
        equations = [equation for equation, _, _ in cases]
        function = tf.function(
            lambda *rows, equations=equations: [
                to_second_order(equation, list(row))
                for equation, row in zip(equations, rows, strict=True)
            ],
            input_signature=[specs for _, _, specs in cases],
            autograph=False,
            jit_compile=compiled,
        )
        found = function(*[operands for _, operands, _ in cases])
        for (equation, operands, _), own in zip(cases, found, strict=True):
            wanted = to_second_order(equation, operands)
            exact = np.einsum(equation, *(x.numpy() for x in operands))
            np.testing.assert_allclose(wanted[0], exact, 1e-9, 1e-9, err_msg=equation)
            for got, want in zip(own, wanted, strict=True):
                assert got.shape == want.shape, equation
                np.testing.assert_allclose(got, want, 1e-9, 1e-9, err_msg=equation)
