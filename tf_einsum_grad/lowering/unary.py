"""Lowers a contraction of one operand: diagonals, sums, permutes, broadcasts and their transposes.

`s->t` is done in an order that is its own mirror image, so that the transpose `t->s` undoes it step
by step: take the diagonal of repeated labels of `s`, sum what is not in `t`, permute, broadcast
what is only in `t`, put labels that `t` repeats on a diagonal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from tf_einsum_grad.algebra.dtypes import compute_dtype
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.builder import Builder
from tf_einsum_grad.lowering.contraction import Contraction, Lowering
from tf_einsum_grad.lowering.machine import Target

__all__ = ["unary_lowerings"]

# Of more there are too many combinations to weigh; they are then all done alike.
_MOST_EMBEDDINGS = 4


def unary_lowerings(contraction: Contraction) -> Iterator[Lowering]:
    """Every candidate for a contraction of one operand."""
    source, target = contraction.equation.inputs[0], contraction.equation.output
    start = Builder(tuple(source))
    _take_diagonals(start, contraction.target)
    distinct = tuple(dict.fromkeys(target))
    summed = "".join([label for label in start.groups if label not in target])
    ways = start.sum_ways(summed, contraction.target) if summed else [[]]
    for sums in ways:
        builder = Builder(start.groups, list(start.instructions))
        for instruction in sums:
            builder.emit(instruction)
        builder.permute(tuple([label for label in distinct if label in builder.groups]))
        builder.broadcast(distinct)
        for embeddings in _embeddings(contraction, distinct):
            instructions = (*builder.instructions, *embeddings)
            yield Lowering(
                contraction.equation,
                contraction.dtype,
                contraction.target,
                # One reduction accumulates half types in float32 by itself; of two, the first
                # would round.
                compute_dtype(contraction.dtype, sums_products=len(sums) > 1),
                (instructions,),
            )


def _take_diagonals(builder: Builder, target: Target) -> None:
    """Takes the diagonal of each repeated label, wherever its axes are."""
    axis = 1
    while axis < len(builder.groups):
        groups = builder.groups
        label = groups[axis]
        if label not in groups[:axis]:
            axis += 1
            continue
        first = groups.index(label)
        kernel: do.DiagonalKernel = "gather"
        if first + 2 == axis + 1 == len(groups):
            # `MatrixDiagPart` is one op where a stride takes three, but TFLite has none.
            kernel = "diag_part" if target == "eager" else "stride"
        builder.emit(do.Diagonal(first, axis, groups[:axis] + groups[axis + 1 :], kernel))


def _embeddings(
    contraction: Contraction, distinct: Sequence[str]
) -> Iterator[tuple[do.Transform, ...]]:
    """The mirror image of `_take_diagonals`, by each combination of kernels."""
    target = contraction.equation.output
    groups = tuple(distinct)
    steps: list[list[do.EmbedDiagonal]] = []
    for axis, label in enumerate(target):
        if label in target[:axis]:
            first = target.rindex(label, 0, axis)
            kernels = _embed_kernels(contraction, first, axis, len(groups) + 1)
            steps.append([do.EmbedDiagonal(first, axis, groups, kernel) for kernel in kernels])
            groups = steps[-1][0].result(groups)
    if sum(len(step) > 1 for step in steps) <= _MOST_EMBEDDINGS:
        yield from itertools.product(*steps)
    else:
        yield from (tuple([step[min(n, len(step) - 1)] for step in steps]) for n in (0, 1))


def _embed_kernels(
    contraction: Contraction, first: int, second: int, rank: int
) -> Sequence[do.EmbedKernel]:
    """The kernels that can put a diagonal into a tensor of that rank."""
    last_two = first + 2 == second + 1 == rank
    n_rows = num_elements(contraction.equation.output[: second + 1], contraction.likely_sizes)
    # XLA fuses a select with whatever takes it. A sum of bools has no kernel, and that of segments
    # counts them in 32 bits, whatever it is given.
    sums = contraction.dtype != "bool" and n_rows < 2**31
    if contraction.target == "xla" or not (last_two or sums):
        return ("select",)
    return ("set_diag", "diag") if last_two else ("segment_sum",)
