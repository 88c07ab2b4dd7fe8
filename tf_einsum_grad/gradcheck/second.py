"""Second order: the function to check is the gradient of the first, x, v -> VJP(x, v).

Reverse over reverse; TensorFlow's forward mode transposes registered gradients, and forward over
forward is wrong by itself (tensorflow issue 127753).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.analytic import Backward
from tf_einsum_grad.gradcheck.directions import Array, inner
from tf_einsum_grad.gradcheck.inputs import trace
from tf_einsum_grad.gradcheck.problem import Leaf, Problem, Tensors

if TYPE_CHECKING:
    from tf_einsum_grad.gradcheck.judge import Judge


def asymmetry(
    problem: Problem, u: Sequence[Array], w: Sequence[Array], hu: Backward, hw: Backward
) -> tuple[float, float, float]:
    """Return u'Hw, w'Hu and ||.||, the scale that their difference is relative to.

    H is the second derivative of <v, f>; u and w are cotangents of the gradients, and hu and hw the
    backward passes for them. H is symmetric, whatever f is.
    """
    uhw = whu = square = 0.0
    for k, leaf in enumerate(problem.output_leaves):
        for a, b, sign in ((u[k], hw.gradients[leaf], 1), (w[k], hu.gradients[leaf], -1)):
            if b is None:
                continue
            square += float(np.linalg.norm(np.ravel(a * b))) ** 2
            if sign == 1:
                uhw += inner(a, b)
            else:
                whu += inner(a, b)
    return uhw, whu, float(np.sqrt(square))


def second_order(problem: Problem, first: Judge) -> Problem:
    """Return the problem whose outputs are the gradients of another.

    Its leaves are the same, and the cotangents in addition: the derivative of a gradient with
    respect to the gradient above it is what a network's second order is made of.
    """
    cotangents = first.base_point.cotangents[0]
    count = len(problem.args)
    extra = [
        tf.constant(v.astype(d.as_numpy_dtype), d)
        for v, d in zip(cotangents, problem.output_dtypes, strict=True)
    ]
    leaves = [
        Leaf(
            f"cotangent[{i}]" if len(extra) > 1 else "cotangent", tuple(v.shape), v.dtype, count + i
        )
        for i, v in enumerate(extra)
    ]
    result = dataclasses.replace(
        problem,
        args=[*problem.args, *extra],
        leaves=[*problem.leaves, *leaves],
        skipped=[],
        output_dtypes=[],
        model=None,
        concrete=None,
    )

    marks: list[frozenset[str]] = []

    def gradient(call: object, args: Tensors) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            sources = problem.sources(args)
            tape.watch(sources)
            outputs = call(args[:count])  # type: ignore[operator]
        if outputs and not hasattr(outputs[0], "numpy"):
            operations = outputs[0].graph.get_operations()
            marks.append(frozenset(op.name for op in operations))
        gradients = tape.gradient(outputs, sources, output_gradients=list(args[count:]))
        result.output_leaves = [i for i, g in enumerate(gradients) if g is not None]
        return [tf.convert_to_tensor(g) for g in gradients if g is not None]

    result.call = lambda args: gradient(problem.call, args)
    result.traced = lambda args: gradient(problem.traced, args)
    trace(result)
    result.primal = marks[0] if marks else None
    return result
