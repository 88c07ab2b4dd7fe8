"""Einsums of empty tensors, each label of each role at size 0; run in a child process.

    python -m tests.execution.empties_program graph static

prints each case before it runs, so that the last line names the one that killed the process.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np
import tensorflow as tf

from tf_einsum_grad import einsum

EQUATIONS = (
    "i->i",
    "ij->ji",
    "ij->i",
    "ij->j",
    "ijk->ik",
    "ij->",
    "ii->i",
    "iji->ij",
    "i->ii",
    "i,j->ij",
    "bi,bj->bij",
    "bi,b->bi",
    "b,bi->bi",
    "ij,i->j",
    "ij,j->i",
    "bij,bj->bi",
    "ij,ij->ij",
    "ij,ij->",
    "ij,jk->ik",
    "ji,kj->ki",
    "bij,bjk->bik",
    "bthd,bshd->bhts",
    "ijk,jr,kr->ir",
    "a,ab,b->",
)


def cases():
    """Equations with the sizes of their labels, one or more of them 0."""
    for equation in EQUATIONS:
        labels = sorted(set(equation) - set(",->"))
        for n in sorted({1, len(labels)}):
            for empty in itertools.combinations(labels, n):
                yield equation, {x: 0 if x in empty else 2 + k for k, x in enumerate(labels)}


def check(equation, sizes, mode, shapes_known, constant):
    """Results and gradients are zeros, or empty; all but the first operand may be constants."""
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    shapes = [[sizes[x] for x in term] for term in terms]
    operands = [tf.ones(shape) for shape in shapes]
    wanted = [np.zeros([sizes[x] for x in output]), *(np.zeros(shape) for shape in shapes)]

    def forward_and_backward(*xs):
        if constant:
            xs = [xs[0], *(tf.ones(shape) for shape in shapes[1:])]
        with tf.GradientTape() as tape:
            tape.watch(xs)
            result = einsum(equation, *xs)
        return [result, *tape.gradient(result, xs)]

    if mode == "eager":
        found = forward_and_backward(*operands)
    else:
        dims = {
            "static": shapes,
            "batch": [[None, *shape[1:]] if shape else shape for shape in shapes],
            "unknown": [[None] * len(shape) for shape in shapes],
        }
        signature = [tf.TensorSpec(shape) for shape in dims[shapes_known]]
        function = tf.function(
            forward_and_backward, input_signature=signature, jit_compile=mode == "xla"
        )
        found = function(*operands)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want.astype("float32"), strict=True)


def main(mode: str, shapes: str) -> None:
    for equation, sizes in cases():
        for constant in (False, True) if "," in equation else (False,):
            print(equation, sizes, "constant" if constant else "", flush=True)
            check(equation, sizes, mode, shapes, constant)
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
