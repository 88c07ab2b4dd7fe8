"""Lowers a contraction of one operand: diagonals, sums, permutes, broadcasts and their transposes.

`s->t` is done in an order that is its own mirror image, so that the transpose `t->s` undoes it step
by step: take the diagonal of repeated labels of `s`, sum what is not in `t`, permute, broadcast
what is only in `t`, put labels that `t` repeats on a diagonal.
"""

from __future__ import annotations

from tf_einsum_grad.cost import Cost, extent, stream_us
from tf_einsum_grad.dtypes import compute_dtype
from tf_einsum_grad.instructions import Diagonal, EmbedDiagonal, Sum
from tf_einsum_grad.recipe import Contraction, Lowering, Recipe

__all__ = ["lower_unary"]


def lower_unary(contraction: Contraction) -> Lowering:
    """The recipe for a contraction of one operand."""
    source, target = contraction.equation.inputs[0], contraction.equation.output
    sizes = dict(contraction.sizes)
    recipe = Recipe(tuple(source), sizes, contraction.dtype, contraction.target)
    names = []
    if len(set(source)) < len(source):
        _take_diagonals(recipe, source, target)
        names.append("diagonal")
    summed = "".join(label for label in recipe.groups if label not in target)
    if summed:
        recipe.sum(summed)
        names.append("sum")
    distinct = tuple(dict.fromkeys(target))
    present = tuple(label for label in distinct if label in recipe.groups)
    if present != recipe.groups:
        recipe.permute(present)
        names.append("permute")
    if present != distinct:
        recipe.broadcast(distinct)
        names.append("broadcast")
    if len(distinct) < len(target):
        _embed_diagonals(recipe, target)
        names.append("embed diagonal")
    return Lowering(
        kernel=" + ".join(names) or "identity",
        prepare=(tuple(recipe.instructions),),
        combine=None,
        swap=False,
        finish=(),
        # One reduction accumulates half types in float32 by itself; of two, the first would round.
        compute_dtype=compute_dtype(
            contraction.dtype, sum(isinstance(step, Sum) for step in recipe.instructions) > 1
        ),
        cost=Cost(
            microseconds=recipe.microseconds,
            flops=_flops(contraction) if summed else 0,
            bytes_moved=recipe.bytes_moved,
            scratch_bytes=recipe.scratch_bytes,
        ),
    )


def _flops(contraction: Contraction) -> int:
    return extent(sorted(set(contraction.equation.inputs[0])), dict(contraction.sizes))


def _take_diagonals(recipe: Recipe, source: str, target: str) -> None:
    """Brings the axes of each repeated label together, then takes one diagonal after another."""
    first = dict.fromkeys(source)
    if not all(label * source.count(label) in source for label in first):
        # The whole tensor is permuted anyway: kept labels go in the output's order, summed ones
        # last, so that nothing else has to move.
        order = [label for label in dict.fromkeys(target) if label in first]
        order += [label for label in first if label not in target]
        axes = [axis for label in order for axis, x in enumerate(source) if x == label]
        _permute_axes(recipe, axes)
    axis = 0
    while axis + 1 < len(recipe.groups):
        if recipe.groups[axis] == recipe.groups[axis + 1]:
            recipe.groups = recipe.groups[:axis] + recipe.groups[axis + 1 :]
            recipe.instructions.append(Diagonal(axis, recipe.groups))
            # Reads one element of each cache line, or one row.
            recipe.charge(stream_us(4 * recipe.bytes), 2 * recipe.bytes)
        else:
            axis += 1


def _permute_axes(recipe: Recipe, axes: list[int]) -> None:
    """A permute of dimensions whose groups are not distinct."""
    labels = recipe.groups
    recipe.groups = tuple(map(chr, range(len(labels))))
    recipe.sizes = {**recipe.sizes, **{chr(a): recipe.sizes[x] for a, x in enumerate(labels)}}
    recipe.permute(tuple(map(chr, axes)))
    recipe.groups = tuple(labels[axis] for axis in axes)


def _embed_diagonals(recipe: Recipe, target: str) -> None:
    """The mirror image of `_take_diagonals`."""
    grouped = [label for label in dict.fromkeys(target) for _ in range(target.count(label))]
    axis = 0
    while axis < len(grouped):
        if axis + 1 < len(grouped) and grouped[axis] == grouped[axis + 1]:
            recipe.instructions.append(EmbedDiagonal(axis, recipe.groups))
            recipe.groups = (*recipe.groups[: axis + 1], *recipe.groups[axis:])
            recipe.charge(stream_us(3 * recipe.bytes), 3 * recipe.bytes)
        axis += 1
    if recipe.groups != tuple(target):
        # Axis i of the result is the axis of the grouped order that holds the same label's
        # next occurrence.
        waiting = {label: [a for a, x in enumerate(grouped) if x == label] for label in target}
        _permute_axes(recipe, [waiting[label].pop(0) for label in target])
