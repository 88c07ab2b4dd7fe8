"""Second order: the function to check is the gradient of the first, x, v -> VJP(x, v).

Reverse over reverse; TensorFlow's forward mode transposes registered gradients, and forward over
forward is wrong by itself (tensorflow issue 127753).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import tensorflow as tf

from tf_einsum_grad.gradcheck.inputs import trace
from tf_einsum_grad.gradcheck.problem import Leaf, Problem, Tensors

if TYPE_CHECKING:
    from tf_einsum_grad.gradcheck.judge import Judge


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
