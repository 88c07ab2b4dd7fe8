"""Lowers a contraction of one operand: diagonals, sums, permutes, broadcasts and their transposes.

`s->t` is done in an order that is its own mirror image, so that the transpose `t->s` undoes it step
by step: take the diagonal of repeated labels of `s`, sum what is not in `t`, permute, broadcast
what is only in `t`, put labels that `t` repeats on a diagonal.
"""

from __future__ import annotations

from tf_einsum_grad.algebra.dtypes import compute_dtype
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.lowering.cost import Cost, diag_us, launch_us, scratch_us, stream_us
from tf_einsum_grad.lowering.instructions import Diagonal, EmbedDiagonal, Sum
from tf_einsum_grad.lowering.recipe import Contraction, Lowering, Recipe

__all__ = ["lower_unary"]


def lower_unary(contraction: Contraction) -> Lowering:
    """The recipe for a contraction of one operand."""
    source, target = contraction.equation.inputs[0], contraction.equation.output
    sizes = dict(contraction.sizes)
    recipe = Recipe(tuple(source), sizes, contraction.dtype, contraction.target)
    names = []
    if len(set(source)) < len(source):
        _take_diagonals(recipe)
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
    return num_elements(sorted(set(contraction.equation.inputs[0])), dict(contraction.sizes))


def _take_diagonals(recipe: Recipe) -> None:
    """Takes the diagonal of each repeated label, wherever its axes are."""
    axis = 1
    while axis < len(recipe.groups):
        label = recipe.groups[axis]
        if label not in recipe.groups[:axis]:
            axis += 1
            continue
        first = recipe.groups.index(label)
        kernel = "gather"
        if first + 2 == axis + 1 == len(recipe.groups):
            # `MatrixDiagPart` is one op where a stride takes three, but TFLite has none.
            kernel = "diag_part" if recipe.target == "eager" else "stride"
        recipe.groups = recipe.groups[:axis] + recipe.groups[axis + 1 :]
        recipe.instructions.append(Diagonal(first, axis, recipe.groups, kernel))
        # Reads one element of each cache line, or one row.
        recipe.charge(stream_us(4 * recipe.bytes), 2 * recipe.bytes)


def _embed_diagonals(recipe: Recipe, target: str) -> None:
    """The mirror image of `_take_diagonals`."""
    for axis, label in enumerate(target):
        if label in target[:axis]:
            operand, first = recipe.groups, target.rindex(label, 0, axis)
            recipe.groups = (*operand[:axis], label, *operand[axis:])
            last_two = first + 2 == axis + 1 == len(recipe.groups)
            n_rows = num_elements("".join(recipe.groups[: axis + 1]), recipe.sizes)
            kernel, microseconds = _embedding(recipe, last_two, n_rows)
            recipe.instructions.append(EmbedDiagonal(first, axis, operand, kernel))
            recipe.charge(microseconds, 2 * recipe.bytes)


def _embedding(recipe: Recipe, last_two: bool, n_rows: int) -> tuple[str, float]:
    """The fastest kernel that puts a diagonal into what the recipe now is, and what it costs."""
    # XLA fuses a select with whatever takes it. A sum of bools has no kernel, and that of segments
    # counts them in 32 bits, whatever it is given.
    sums = recipe.dtype != "bool" and n_rows < 2**31
    if recipe.target == "xla" or not (last_two or sums):
        return "select", stream_us(recipe.bytes)
    twice = stream_us(2 * recipe.bytes)
    if not last_two:
        return "segment_sum", twice
    # Zeros, and their diagonal set: in place in a graph, in a copy in eager mode.
    zeros = scratch_us(recipe.bytes) if recipe.target == "eager" else 0.0
    set_diag = launch_us(recipe.target) + twice + zeros
    diag = diag_us(recipe.bytes, num_elements("".join(recipe.groups[:-2]), recipe.sizes))
    return min(("set_diag", set_diag), ("diag", diag), key=lambda pair: pair[1])
