"""Lowers a contraction of two operands: the candidates, each with its cost.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tf_einsum_grad.algebra.dtypes import compute_dtype, is_differentiable, itemsize
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering.cost import (
    Cost,
    across_rows_us,
    matmul_us,
    permute_us,
    runs_us,
    scratch_us,
    stream_us,
)
from tf_einsum_grad.lowering.grouping import Grouping, Groups, group_labels
from tf_einsum_grad.lowering.instructions import MatMul, Multiply, NativeEinsum
from tf_einsum_grad.lowering.recipe import (
    MAX_BROADCAST_DIMS,
    Contraction,
    DotDimensions,
    Lowering,
    Recipe,
    alternations,
    last_run,
)

__all__ = ["einsum_layout", "pairwise_lowerings"]

_EINSUM_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# The op's own permutes cost more than Transpose: `bhts,bshd->bthd` of (8,8,256,256) 3.8 ms to 2.7.
_EINSUM_PERMUTE_FACTOR = 1.5


def pairwise_lowerings(contraction: Contraction) -> Iterator[Lowering]:
    """Every candidate recipe for a contraction of two operands."""
    dot = _GroupedDot.of(contraction)
    if not dot.groups.contracting:
        yield from _multiplies(dot)
        if dot.groups.lhs_free and dot.groups.rhs_free and contraction.target != "xla":
            yield from _matmuls(dot)
        return
    if not dot.groups.rhs_free:
        yield _multiply_and_sum(dot, big=0)
    if not dot.groups.lhs_free:
        yield _multiply_and_sum(dot, big=1)
    yield from _matmuls(dot)
    if _einsum_can(dot):
        yield from (_einsum(dot, swap) for swap in (False, True))


@dataclass(frozen=True, slots=True)
class _GroupedDot:
    """A pairwise contraction in groups.

    `shape` is what its matmul would be: a batch of b products of (m, k) and (k, n) matrices.
    """

    contraction: Contraction
    groups: Grouping
    sizes: Mapping[str, Size]
    shape: tuple[int, int, int, int]
    flops: int

    @classmethod
    def of(cls, contraction: Contraction) -> _GroupedDot:
        sizes = dict(contraction.sizes)
        equation = contraction.equation
        ones = "".join(label for label, size in contraction.sizes if size == 1)
        lhs, rhs = equation.inputs
        groups = group_labels((lhs, rhs, equation.output), ones)
        roles = groups.batch, groups.lhs_free, groups.contracting, groups.rhs_free
        b, m, k, n = (num_elements("".join(role), sizes) for role in roles)
        sums = any(label not in equation.output for label in sizes)
        return cls(contraction, groups, sizes, (b, m, k, n), b * m * k * n * (1 + sums))

    def recipe(self, groups: Sequence[str]) -> Recipe:
        return Recipe(tuple(groups), self.sizes, self.contraction.dtype, self.contraction.target)

    def operand_recipes(self) -> tuple[Recipe, Recipe]:
        lhs, rhs = self.contraction.equation.inputs
        return self.recipe(lhs), self.recipe(rhs)


def _lowering(
    dot: _GroupedDot,
    kernel: str,
    combine: MatMul | Multiply | NativeEinsum,
    operands: tuple[Recipe, Recipe],
    result: Recipe,
    swap: bool = False,
) -> Lowering:
    """Puts a recipe together and adds up what it costs."""
    lhs, rhs = operands
    microseconds, scratch = 0.0, 0
    for recipe in (lhs, rhs, result):
        microseconds += recipe.microseconds + scratch_us(recipe.scratch_bytes)
        scratch = max(scratch, recipe.scratch_bytes)
    return Lowering(
        kernel=kernel,
        prepare=(tuple(lhs.instructions), tuple(rhs.instructions)),
        combine=combine,
        swap=swap,
        finish=tuple(result.instructions),
        compute_dtype=compute_dtype(dot.contraction.dtype, kernel == "multiply and sum"),
        cost=Cost(
            microseconds=microseconds,
            flops=dot.flops,
            bytes_moved=lhs.bytes_moved + rhs.bytes_moved + result.bytes_moved,
            scratch_bytes=scratch,
        ),
    )


def _aligned_product(dot: _GroupedDot, order: Groups) -> tuple[tuple[Recipe, Recipe], Recipe]:
    """Operands that broadcast against each other, and their product with its groups in `order`."""
    operands = dot.operand_recipes()
    roles = [(group in dot.groups.lhs, group in dot.groups.rhs) for group in order]
    kernel_broadcasts = alternations(roles) <= MAX_BROADCAST_DIMS
    for recipe, groups in zip(operands, (dot.groups.lhs, dot.groups.rhs), strict=True):
        own = tuple(group for group in order if group in groups)
        if own != groups:
            recipe.reshape(groups).permute(own)
        if not kernel_broadcasts:
            recipe.reshape(own).broadcast(order)
            continue
        padded = tuple(group if group in own else "" for group in order)
        recipe.reshape(padded[padded.index(own[0]) :] if own else ())
    product = dot.recipe(order)
    moved = operands[0].bytes + operands[1].bytes + product.bytes
    product.combined(stream_us(moved), moved)
    if dot.contraction.target == "xla":
        for recipe, groups in zip(operands, (dot.groups.lhs, dot.groups.rhs), strict=True):
            innermost = [group for group in order if group in groups][-1:]
            if innermost and innermost != [groups[-1]]:
                row = groups[groups.index(innermost[0]) :]
                span = num_elements("".join(row), dot.sizes) * itemsize(dot.contraction.dtype)
                product.microseconds += across_rows_us(product.bytes - recipe.bytes, span)
    elif len(set(roles)) > 1:
        run = num_elements("".join(last_run(order, roles)), dot.sizes)
        product.microseconds += runs_us(num_elements("".join(order), dot.sizes), run)
    return operands, product


def _finish(dot: _GroupedDot, result: Recipe) -> Recipe:
    return result.permute(dot.groups.out).reshape(tuple(dot.contraction.equation.output))


def _multiplies(dot: _GroupedDot) -> Iterator[Lowering]:
    """Elementwise products: in the output's order, or in that of an operand that has it all."""
    orders = [
        dot.groups.out,
        *(term for term in (dot.groups.lhs, dot.groups.rhs) if len(term) == len(dot.groups.out)),
    ]
    for order in dict.fromkeys(orders):
        operands, product = _aligned_product(dot, order)
        yield _lowering(dot, "multiply", Multiply(), operands, _finish(dot, product))


def _multiply_and_sum(dot: _GroupedDot, big: int) -> Lowering:
    """A product of the groups of one operand, which the other has too, then a sum."""
    operands, product = _aligned_product(dot, (dot.groups.lhs, dot.groups.rhs)[big])
    whole = product.scratch_bytes = product.bytes
    product.sum("".join(dot.groups.contracting))
    if product.groups != dot.groups.out and dot.contraction.target == "xla":
        # XLA makes one loop of it all, in the result's order, which reads the operand across rows:
        # `eac,a->ce` of (1024, 4, 512) takes 7.3 ms, and 2.2 as a matmul.
        product.microseconds += permute_us(whole, keeps_rows=False)
    return _lowering(dot, "multiply and sum", Multiply(), operands, _finish(dot, product))


def _orders(role: Groups, *terms: Groups) -> list[Groups]:
    """The orders that the groups of a role have in the terms that hold it."""
    return list(dict.fromkeys(tuple(g for g in term if g in role) for term in terms))


def _layouts(term: Groups, batch: Groups, free: Groups, contracting: Groups) -> list[Groups]:
    """The layouts an operand may take; only its own where it has one of the two already."""
    both = [batch + free + contracting, batch + contracting + free]
    return [term] if term in both else list(dict.fromkeys(both))


@dataclass(frozen=True, slots=True)
class _MatMulForm:
    """One way to make a matmul of a contraction.

    Attributes:
        layouts: the groups of each operand, permuted.
        dims: the dimensions of each operand and of the product.
        out: the groups of the product.
        swap: whether the right operand goes first.
        combine: the kernel.
    """

    layouts: tuple[Groups, Groups]
    dims: tuple[Groups, Groups, Groups]
    out: Groups
    swap: bool
    combine: MatMul


@lru_cache(maxsize=4096)
def _matmul_forms(
    groups: Grouping, equation: Equation, products_of_transposes: bool
) -> tuple[_MatMulForm, ...]:
    """The matmuls worth costing: those that need no permute of the result, if there are any.

    Args:
        groups: of the equation.
        equation: two inputs.
        products_of_transposes: whether they run as fast as plain products.
    """
    forms = []
    for batch, contracting, lhs_free, rhs_free in itertools.product(
        _orders(groups.batch, groups.lhs, groups.rhs, groups.out),
        _orders(groups.contracting, groups.lhs, groups.rhs),
        _orders(groups.lhs_free, groups.lhs, groups.out),
        _orders(groups.rhs_free, groups.rhs, groups.out),
    ):
        natural = batch + lhs_free + rhs_free
        swapped = batch + rhs_free + lhs_free
        fits = [result == groups.out for result in (natural, swapped)]
        for lhs, rhs, swap in itertools.product(
            _layouts(groups.lhs, batch, lhs_free, contracting),
            _layouts(groups.rhs, batch, rhs_free, contracting),
            (False, True),
        ):
            # Products of two transposes are slow enough that the transpose of a plain one may win:
            # `ki,jk->ij` of (1024, 1024) 44.2 ms to 39.8.
            flipped = lhs == batch + contracting + lhs_free, rhs == batch + rhs_free + contracting
            plain = flipped == (swap, swap) and not products_of_transposes
            if fits[swap] or not any(fits) or plain:
                roles = (lhs_free, contracting, rhs_free)
                forms.append(_matmul_form(equation, batch, roles, (lhs, rhs), swap))
    return tuple(forms)


def _matmul_form(
    equation: Equation,
    batch: Groups,
    roles: tuple[Groups, Groups, Groups],
    layouts: tuple[Groups, Groups],
    swap: bool,
) -> _MatMulForm:
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
    # Several batch dimensions stay apart where that spares every reshape.
    apart = tuple("".join(batch))
    terms = (*equation.inputs, equation.output)
    unshaped = all((*apart, *pair) == tuple(t) for t, pair in zip(terms, matrices, strict=True))
    dims = apart if unshaped else (("".join(batch),) if batch else ())
    flags = (not rhs_transposed, not lhs_transposed) if swap else (lhs_transposed, rhs_transposed)
    return _MatMulForm(
        layouts,
        dims=((*dims, *matrices[0]), (*dims, *matrices[1]), (*dims, *matrices[2])),
        out=batch + (roles[2] + roles[0] if swap else roles[0] + roles[2]),
        swap=swap,
        combine=MatMul(*flags, bool(dims)),
    )


def _matmuls(dot: _GroupedDot) -> Iterator[Lowering]:
    groups, equation = dot.groups, dot.contraction.equation
    for form in _matmul_forms(groups, equation, dot.contraction.target == "xla"):
        operands = dot.operand_recipes()
        for recipe, own, layout, dims in zip(
            operands, (groups.lhs, groups.rhs), form.layouts, form.dims, strict=False
        ):
            if layout != own:
                recipe.reshape(own).permute(layout)
            recipe.reshape(dims)
        result = dot.recipe(form.dims[2])
        flags = form.combine.transpose_a, form.combine.transpose_b
        _charge_matmul(dot, result, form.swap, *flags)
        if form.out != groups.out:
            result.reshape(form.out).permute(groups.out)
        result.reshape(tuple(equation.output))
        yield _lowering(dot, "matmul", form.combine, operands, result, form.swap)


def _charge_matmul(
    dot: _GroupedDot, result: Recipe, swap: bool, transpose_a: bool, transpose_b: bool
) -> None:
    item = itemsize(dot.contraction.dtype)
    b, m, k, n = dot.shape
    if swap:
        m, n = n, m
    moved = item * b * (m * k + k * n + m * n)
    result.combined(matmul_us(b, m, k, n, item, transpose_a, transpose_b), moved)


def _einsum_can(dot: _GroupedDot) -> bool:
    contraction = dot.contraction
    # TFLite turns the op into a matmul only where both operands have labels of their own.
    converts = contraction.target == "eager" or (dot.groups.lhs_free and dot.groups.rhs_free)
    return (
        # Others have no kernel, or one that accumulates in half precision.
        is_differentiable(contraction.dtype)
        and compute_dtype(contraction.dtype, sums_products=True) is None
        and contraction.target != "xla"
        and bool(converts)
        and len(contraction.equation.labels) <= len(_EINSUM_LETTERS)
    )


def _einsum(dot: _GroupedDot, swap: bool) -> Lowering:
    """TensorFlow's own op: one launch, whatever it has to permute."""
    equation = dot.contraction.equation
    combine, permuted, transposed = _einsum_call(equation, swap)
    result = dot.recipe(equation.output)
    _charge_matmul(dot, result, swap, *transposed)
    for term in permuted:
        size = num_elements(term, dot.sizes) * itemsize(dot.contraction.dtype)
        result.microseconds += _EINSUM_PERMUTE_FACTOR * permute_us(size, keeps_rows=False)
        result.bytes_moved += 2 * size
        result.scratch_bytes = max(result.scratch_bytes, size)
    return _lowering(dot, "einsum", combine, dot.operand_recipes(), result, swap)


@lru_cache(maxsize=4096)
def _einsum_call(
    equation: Equation, swap: bool
) -> tuple[NativeEinsum, tuple[str, ...], tuple[bool, bool]]:
    """TensorFlow's op for an equation, and what `einsum_layout` says of it."""
    given = Equation(equation.inputs[::-1] if swap else equation.inputs, equation.output)
    letters = str.maketrans(dict(zip(equation.labels, _EINSUM_LETTERS, strict=False)))
    permuted, transposed = einsum_layout(given)
    return NativeEinsum(str(given).translate(letters)), tuple(permuted), transposed


def einsum_layout(equation: Equation) -> tuple[list[str], tuple[bool, bool]]:
    """What TensorFlow's Einsum op permutes, and which operand its matmul then transposes.

    It numbers labels by first appearance, and wants operands as (batch, free, contracting) or
    (batch, contracting, free) and gives (batch, lhs_free, rhs_free), each in that numbering.
    """
    roles = DotDimensions.of(equation)
    order = equation.labels

    def arranged(labels: str) -> str:
        return "".join(label for label in order if label in labels)

    batch, contracting = arranged(roles.batch), arranged(roles.contracting)
    lhs_free, rhs_free = arranged(roles.lhs_free), arranged(roles.rhs_free)
    lhs, rhs = equation.inputs
    permuted = [
        term
        for term, free in ((lhs, lhs_free), (rhs, rhs_free))
        if term not in (batch + free + contracting, batch + contracting + free)
    ]
    if equation.output != batch + lhs_free + rhs_free:
        permuted.append(equation.output)
    return permuted, (
        lhs == batch + contracting + lhs_free and bool(lhs_free),
        rhs == batch + rhs_free + contracting and bool(rhs_free),
    )
