"""Lowers a contraction of two operands: the candidates.

First what is free is taken: labels of size 1 are dropped, and labels that stand side by side in
every term become one *group*. Then three kinds of kernel compete:

    multiply           nothing is contracted: one elementwise product (or a matmul of vectors)
    multiply and sum   one operand has no free label: a product as large as the other, summed
    matmul, einsum     the general case: each operand as (batch, free, contracting), either of the
                       last two first, and either operand first

A matrix product needs the groups of one role side by side, and in the same order wherever the role
stands. So each role takes its order from one of the terms that have it, and terms that differ are
permuted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tf_einsum_grad.algebra.dtypes import compute_dtype, is_differentiable
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.builder import MAX_BROADCAST_DIMS, Builder
from tf_einsum_grad.lowering.contraction import Contraction, Lowering
from tf_einsum_grad.lowering.grouping import Grouping, group_labels
from tf_einsum_grad.lowering.instructions import Groups, alternations
from tf_einsum_grad.lowering.machine import Target

__all__ = ["pairwise_lowerings"]

# Matrix products of this many batch dimensions are taken by everything that takes them at all; to
# merge fewer spares nothing, and is a reshape for each operand and the result.
_BATCH_DIMS = 2
_EINSUM_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def pairwise_lowerings(contraction: Contraction) -> tuple[Lowering, ...]:
    """Every candidate for a contraction of two operands."""
    ones = "".join([label for label, size in contraction.sizes if size == 1])
    return _pairwise_lowerings(
        contraction.equation, ones, contraction.elastic, contraction.dtype, contraction.target
    )


@lru_cache(maxsize=4096)
def _pairwise_lowerings(
    equation: Equation, ones: str, elastic: str, dtype: str, target: Target
) -> tuple[Lowering, ...]:
    """What follows from the equation is decided once, whatever the sizes, but which are 1."""
    lhs, rhs = equation.inputs
    groups = group_labels((lhs, rhs, equation.output), ones, elastic)
    return tuple(_candidates(_Dot(equation, groups, elastic, dtype, target)))


@dataclass(frozen=True, slots=True)
class _Dot:
    """A pairwise contraction in groups."""

    equation: Equation
    groups: Grouping
    elastic: str
    dtype: str
    target: Target

    def operands(self) -> tuple[Builder, Builder]:
        lhs, rhs = self.equation.inputs
        return Builder(tuple(lhs)), Builder(tuple(rhs))

    def stretched_operands(self) -> tuple[Builder, Builder]:
        """Operands with one size for each label that they contract.

        Matrix products broadcast the others; under XLA they do without seeing whether they may.
        """
        labels = [x for x in self.elastic if x not in self.equation.output or self.target == "xla"]
        operands = self.operands()
        if labels:
            for builder in operands:
                builder.emit(do.Stretch("".join(labels)))
        return operands

    def lowering(
        self,
        combine: do.Combine,
        operands: tuple[Builder, Builder],
        result: Builder,
        swap: bool = False,
        sums: bool = False,
    ) -> Lowering:
        """Puts a lowering together, with the result in the equation's own dimensions."""
        result.reshape(tuple(self.equation.output))
        lhs, rhs = operands
        return Lowering(
            self.equation,
            self.dtype,
            self.target,
            compute_dtype(self.dtype, sums_products=sums),
            (tuple(lhs.instructions), tuple(rhs.instructions)),
            combine,
            swap,
            tuple(result.instructions),
        )


def _candidates(dot: _Dot) -> Iterator[Lowering]:
    roles = dot.groups.roles
    if not roles.contracting:
        yield from _multiplies(dot)
        if roles.lhs_free and roles.rhs_free and dot.target != "xla":
            yield from _matmuls(dot)
        return
    if not roles.rhs_free:
        yield from _multiplies_and_sums(dot, dot.groups.lhs)
    if not roles.lhs_free:
        yield from _multiplies_and_sums(dot, dot.groups.rhs)
    yield from _matmuls(dot)
    if _einsum_can(dot):
        yield from (_einsum(dot, swap) for swap in (False, True))


def _align(dot: _Dot, order: Groups) -> tuple[Builder, Builder]:
    """Operands that broadcast against each other to a product with its groups in `order`."""
    operands = dot.operands()
    roles = [
        (group in dot.groups.lhs, group in dot.groups.rhs, group if group in dot.elastic else "")
        for group in order
    ]
    kernel_broadcasts = alternations(roles) <= MAX_BROADCAST_DIMS
    for builder, groups in zip(operands, (dot.groups.lhs, dot.groups.rhs), strict=True):
        own = tuple([group for group in order if group in groups])
        if own != groups:
            builder.reshape(groups).permute(own)
        if not kernel_broadcasts:
            builder.reshape(own).broadcast(order)
            continue
        padded = tuple([group if group in own else "" for group in order])
        builder.reshape(padded[padded.index(own[0]) :] if own else ())
    return operands


def _multiplies(dot: _Dot) -> Iterator[Lowering]:
    """Elementwise products: in the output's order, or in that of an operand that has it all."""
    lhs, rhs, out = dot.groups.lhs, dot.groups.rhs, dot.groups.out
    orders = [out, *(term for term in (lhs, rhs) if len(term) == len(out))]
    for order in dict.fromkeys(orders):
        yield dot.lowering(do.Multiply(), _align(dot, order), Builder(order).permute(out))


def _multiplies_and_sums(dot: _Dot, big: Groups) -> Iterator[Lowering]:
    """Products of the groups of one operand, which the other has too, then sums."""
    operands = _align(dot, big)
    contracting = "".join(dot.groups.roles.contracting)
    for sums in Builder(big).sum_ways(contracting, dot.target):
        product = Builder(big)
        for instruction in sums:
            product.emit(instruction)
        product.permute(dot.groups.out)
        yield dot.lowering(do.Multiply(), operands, product, sums=True)


def _matmuls(dot: _Dot) -> Iterator[Lowering]:
    """Matrix products: those that need no permute of the result, if there are any."""
    groups, roles = dot.groups, dot.groups.roles
    for batch, contracting, lhs_free, rhs_free in itertools.product(
        _orders(roles.batch, groups.lhs, groups.rhs, groups.out),
        _orders(roles.contracting, groups.lhs, groups.rhs),
        _orders(roles.lhs_free, groups.lhs, groups.out),
        _orders(roles.rhs_free, groups.rhs, groups.out),
    ):
        natural = batch + lhs_free + rhs_free
        swapped = batch + rhs_free + lhs_free
        fits = [result == groups.out for result in (natural, swapped)]
        for lhs, rhs, swap in itertools.product(
            _layouts(groups.lhs, batch, lhs_free, contracting),
            _layouts(groups.rhs, batch, rhs_free, contracting),
            (False, True),
        ):
            # Products of two transposes are slow enough, but under XLA, that the transpose of a
            # plain one may win: `ki,jk->ij` of (1024, 1024) 44.2 ms to 39.8.
            flipped = lhs == batch + contracting + lhs_free, rhs == batch + rhs_free + contracting
            plain = flipped == (swap, swap) and dot.target != "xla"
            if fits[swap] or not any(fits) or plain:
                yield _matmul(dot, batch, (lhs_free, contracting, rhs_free), (lhs, rhs), swap)


def _orders(role: Groups, *terms: Groups) -> list[Groups]:
    """The orders that the groups of a role have in the terms that hold it."""
    return list(dict.fromkeys(tuple(g for g in term if g in role) for term in terms))


def _layouts(term: Groups, batch: Groups, free: Groups, contracting: Groups) -> list[Groups]:
    """The layouts an operand may take; only its own where it has one of the two already."""
    both = [batch + free + contracting, batch + contracting + free]
    return [term] if term in both else list(dict.fromkeys(both))


def _matmul(
    dot: _Dot,
    batch: Groups,
    roles: tuple[Groups, Groups, Groups],
    layouts: tuple[Groups, Groups],
    swap: bool,
) -> Lowering:
    """The matrix product of operands in these layouts; `roles` are lhs_free, contracting, rhs_free.

    A few batch dimensions stay apart; more do where that spares every reshape, and where the
    product may have to broadcast one of them.
    """
    equation, groups = dot.equation, dot.groups
    m, k, n = ("".join(role) for role in roles)
    lhs, rhs = layouts
    # A vector has both layouts; it takes the one that the product wants.
    lhs_transposed = lhs != batch + roles[0] + roles[1] if m else swap
    rhs_transposed = rhs != batch + roles[1] + roles[2] if n else swap
    matrices = (
        (k, m) if lhs_transposed else (m, k),
        (n, k) if rhs_transposed else (k, n),
        (n, m) if swap else (m, n),
    )
    apart = tuple("".join(batch))
    terms = (*equation.inputs, equation.output)
    unshaped = all((*apart, *pair) == tuple(t) for t, pair in zip(terms, matrices, strict=True))
    merged = ("".join(batch),) if batch else ()
    elastic = any(group in dot.elastic for group in batch)
    dims = apart if unshaped else batch if elastic or len(batch) <= _BATCH_DIMS else merged
    flags = (not rhs_transposed, not lhs_transposed) if swap else (lhs_transposed, rhs_transposed)
    operands = dot.stretched_operands()
    for builder, own, layout, matrix in zip(
        operands, (groups.lhs, groups.rhs), layouts, matrices, strict=False
    ):
        if layout != own:
            builder.reshape(own).permute(layout)
        builder.reshape((*dims, *matrix))
    result = Builder((*dims, *matrices[2]))
    out = batch + (roles[2] + roles[0] if swap else roles[0] + roles[2])
    if out != groups.out:
        result.reshape(out).permute(groups.out)
    return dot.lowering(do.MatMul(*flags, bool(dims)), operands, result, swap)


def _einsum_can(dot: _Dot) -> bool:
    """Whether TensorFlow's own op takes a contraction, and is as exact as other kernels."""
    # TFLite turns the op into a matmul only where both operands have labels of their own.
    roles = dot.groups.roles
    converts = dot.target == "eager" or (roles.lhs_free and roles.rhs_free)
    return (
        # Others have no kernel, or one that accumulates in half precision.
        is_differentiable(dot.dtype)
        and compute_dtype(dot.dtype, sums_products=True) is None
        and dot.target != "xla"
        and bool(converts)
        and len(dot.equation.labels) <= len(_EINSUM_LETTERS)
        # It broadcasts no label.
        and not any(label in dot.equation.output for label in dot.elastic)
    )


def _einsum(dot: _Dot, swap: bool) -> Lowering:
    """TensorFlow's own op, which permutes by itself; `swap` puts the right operand first."""
    equation = dot.equation
    given = Equation(equation.inputs[::-1] if swap else equation.inputs, equation.output)
    letters = str.maketrans(dict(zip(equation.labels, _EINSUM_LETTERS, strict=False)))
    combine = do.NativeEinsum(str(given).translate(letters))
    return dot.lowering(combine, dot.stretched_operands(), Builder(tuple(equation.output)), swap)
