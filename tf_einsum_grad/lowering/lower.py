"""One contraction of one or two operands -> the cheapest known lowering to TensorFlow kernels.

Decided once for each contraction; `execution.kernels` only follows it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from tf_einsum_grad.algebra.dtypes import DTYPES, itemsize
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering import watch
from tf_einsum_grad.lowering.binary import pairwise_lowerings
from tf_einsum_grad.lowering.builder import MAX_PERMUTE_DIMS
from tf_einsum_grad.lowering.contraction import Contraction, Lowering
from tf_einsum_grad.lowering.cost import Cost, price_all
from tf_einsum_grad.lowering.unary import unary_lowerings

__all__ = ["candidates", "cost_both_ways", "cost_of", "lower"]


def candidates(contraction: Contraction) -> tuple[Lowering, ...]:
    """Every lowering that is known for a contraction.

    Where a label has size 0, everything is a sum of nothing, or empty. Kernels need not take that:
    of a product with constant ones, or none, a rewrite of TensorFlow's graphs makes a tile, and
    dies of the division by 0 that tells how often to repeat.
    """
    if any(size == 0 for _, size in contraction.sizes):
        return (_zeros(contraction),)
    if len(contraction.equation.inputs) == 1:
        lowerings = tuple(unary_lowerings(contraction))
    else:
        lowerings = pairwise_lowerings(contraction)
        machine = contraction.machine
        if contraction.target != "xla" and machine.batch_across_right > machine.across_right:
            lowerings = tuple([_as_batch(lowering, contraction) for lowering in lowerings])
    terms = (*contraction.equation.inputs, contraction.equation.output)
    if contraction.target == "xla" or max(map(len, terms)) <= MAX_PERMUTE_DIMS:
        return lowerings
    if any(size is None for _, size in contraction.sizes):
        return lowerings  # where it would be looked up follows from sizes
    most = contraction.machine.most_permute_dims
    return tuple([_gather(lowering, most) for lowering in lowerings])


def _as_batch(lowering: Lowering, contraction: Contraction) -> Lowering:
    """The same, with a batch of one where that reads a large right operand across rows faster."""
    product, machine = lowering.combine, contraction.machine
    if not isinstance(product, do.MatMul) or product.batched or not product.transpose_b:
        return lowering
    inputs, sizes = contraction.equation.inputs, contraction.likely_sizes
    right = inputs[0 if lowering.swap else 1]
    depth = num_elements([x for x in inputs[0] if x in inputs[1]], sizes)
    us_of_byte = 1 / machine.across_right - 1 / machine.batch_across_right
    spared = itemsize(lowering.dtype) * num_elements(right, sizes) * us_of_byte
    real = DTYPES[lowering.dtype].kind == "float"  # a batch conjugates what it transposes
    if not real or depth < machine.long_row or spared <= machine.batch_start:
        return lowering
    return replace(lowering, combine=replace(product, batched=True))


def _gather(lowering: Lowering, most: int) -> Lowering:
    """The same, with gathers in the place of permutes of more dimensions than kernels take well."""

    def settle(step: do.Transform) -> do.Transform:
        if not isinstance(step, do.Permute):
            return step
        n = len(step.axes)
        limit = MAX_PERMUTE_DIMS if step.axes[-1] == n - 1 else most  # rows are gathered whole
        return replace(step, kernel="gather") if n > limit else step

    prepare = tuple([tuple(map(settle, steps)) for steps in lowering.prepare])
    return replace(lowering, prepare=prepare, finish=tuple(map(settle, lowering.finish)))


def _zeros(contraction: Contraction) -> Lowering:
    equation, zeros = contraction.equation, do.Zeros(tuple(contraction.equation.output))
    prepare = ((),) * len(equation.inputs)
    return Lowering(equation, contraction.dtype, contraction.target, None, prepare, zeros)


def lower(contraction: Contraction) -> Lowering:
    """The lowering of a contraction: of the candidates, the one that costs least.

    On a machine that was tuned, the one that was measured to be the fastest.

    Example:
        >>> from tf_einsum_grad.algebra.equation import parse_equation
        >>> sizes = {"i": 64, "j": 64, "k": 64}
        >>> lower(Contraction.of(parse_equation("ij,jk->ik"), sizes, "float32")).kernel
        'matmul'
    """
    watch.report(contraction)
    return _cheapest(contraction)[0]


def cost_of(contraction: Contraction) -> Cost:
    """What the lowering of a contraction costs."""
    return _cheapest(contraction)[1]


@lru_cache(maxsize=16384)
def cost_both_ways(contraction: Contraction) -> float:
    """The microseconds of a contraction and of the VJP with respect to each operand."""
    transposes = [contraction.transpose(k) for k in range(len(contraction.equation.inputs))]
    return sum(cost_of(c).microseconds for c in (contraction, *transposes))


@lru_cache(maxsize=16384)
def _cheapest(contraction: Contraction) -> tuple[Lowering, Cost]:
    sizes, machine = contraction.likely_sizes, contraction.machine
    lowerings = candidates(contraction)
    priced = list(zip(lowerings, price_all(lowerings, sizes, machine), strict=True))
    measured = machine.winners.get(contraction.signature or "") if machine.winners else None
    for lowering, cost in priced if measured else ():
        if lowering.recipe == measured:
            return lowering, cost
    return min(priced, key=lambda pair: pair[1].microseconds)
