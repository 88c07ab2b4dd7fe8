"""Lowers a contraction of two operands: the candidates, each with its cost.

First what is free is taken: labels of size 1 are dropped, and labels that stand side by side in
every term become one *group*. Then three kinds of kernel compete:

    multiply           nothing is contracted: one elementwise product (or a matmul of vectors)
    multiply and sum   one operand has no free label: a product as large as the other, summed
    matmul, einsum     the general case: each operand as (batch, free, contracted), either of the
                       last two first, and either operand first

A matrix product needs the groups of one role side by side, and in the same order wherever the role
stands. So each role takes its order from one of the terms that have it, and terms that differ are
permuted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tf_einsum_grad.cost import (
    Cost,
    extent,
    itemsize,
    matmul_us,
    permute_us,
    runs_us,
    scratch_us,
    stream_us,
)
from tf_einsum_grad.dtypes import compute_dtype
from tf_einsum_grad.equation import Equation
from tf_einsum_grad.instructions import MatMul, Multiply, NativeEinsum, Permute
from tf_einsum_grad.recipe import (
    MAX_BROADCAST_DIMS,
    Contraction,
    DotDimensions,
    Lowering,
    Recipe,
    alternations,
    last_run,
)
from tf_einsum_grad.sizes import Size

__all__ = ["einsum_layout", "pairwise_flops", "pairwise_lowerings"]

Groups = tuple[str, ...]

_EINSUM_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# The op's own permutes cost more than Transpose: `bhts,bshd->bthd` of (8,8,256,256) 3.8 ms to 2.7.
_EINSUM_PERMUTE_FACTOR = 1.5
# Others have no kernel, or one that accumulates in float16.
_EINSUM_DTYPES = ("float32", "float64", "complex64", "complex128")


def pairwise_flops(equation: Equation, sizes: Mapping[str, Size]) -> int:
    """Multiplications and additions of a contraction of two operands."""
    labels = dict.fromkeys("".join(equation.inputs))
    sums = any(label not in equation.output for label in labels)
    return extent(labels, sizes) * (1 + sums)


def pairwise_lowerings(contraction: Contraction) -> Iterator[Lowering]:
    """Every candidate recipe for a contraction of two operands."""
    dot = _GroupedDot.of(contraction)
    if not dot.contracted:
        yield from _multiplies(dot)
        if dot.lhs_free and dot.rhs_free and contraction.target != "xla":
            yield from _matmuls(dot)
        return
    if not dot.rhs_free:
        yield _multiply_and_sum(dot, big=0)
    if not dot.lhs_free:
        yield _multiply_and_sum(dot, big=1)
    yield from _matmuls(dot)
    if _einsum_can(dot):
        yield from (_einsum(dot, swap) for swap in (False, True))


@dataclass(frozen=True, slots=True)
class _GroupedDot:
    """A pairwise contraction of groups, sorted by role."""

    contraction: Contraction
    sizes: Mapping[str, Size]
    lhs: Groups
    rhs: Groups
    out: Groups
    batch: Groups
    contracted: Groups
    lhs_free: Groups
    rhs_free: Groups

    @classmethod
    def of(cls, contraction: Contraction) -> _GroupedDot:
        sizes = dict(contraction.sizes)
        equation = contraction.equation
        lhs, rhs, out = _group((*equation.inputs, equation.output), sizes)
        return cls(
            contraction,
            sizes,
            lhs,
            rhs,
            out,
            batch=tuple(group for group in out if group in lhs and group in rhs),
            contracted=tuple(group for group in lhs if group not in out),
            lhs_free=tuple(group for group in lhs if group not in rhs),
            rhs_free=tuple(group for group in rhs if group not in lhs),
        )

    def recipe(self, groups: Sequence[str]) -> Recipe:
        return Recipe(tuple(groups), self.sizes, self.contraction.dtype, self.contraction.target)

    def operand_recipes(self) -> tuple[Recipe, Recipe]:
        lhs, rhs = self.contraction.equation.inputs
        return self.recipe(lhs), self.recipe(rhs)


def _group(terms: Sequence[str], sizes: Mapping[str, Size]) -> tuple[Groups, Groups, Groups]:
    """Drops labels of size 1 and joins labels that are neighbours in every term they are in."""
    if len(set(terms)) == 1:  # an elementwise product as it stands; a reshape would lose a sharding
        lhs, rhs, out = map(tuple, terms)
        return lhs, rhs, out
    wide = ["".join(label for label in term if sizes[label] != 1) for term in terms]
    after: dict[str, set[str | None]] = {}
    for term in wide:
        for label, following in itertools.zip_longest(term, term[1:]):
            after.setdefault(label, set()).add(following)
    before_count: dict[str, int] = {}
    for label in "".join(wide):
        before_count[label] = before_count.get(label, 0) + 1
    groups = []
    for term in wide:
        row: list[str] = []
        for previous, label in zip(("", *term), term, strict=False):
            joins = previous and after[previous] == {label}
            if joins and before_count[previous] == before_count[label]:
                row[-1] += label
            else:
                row.append(label)
        groups.append(tuple(row))
    lhs, rhs, out = groups
    return lhs, rhs, out


def _lowering(
    dot: _GroupedDot,
    kernel: str,
    combine: MatMul | Multiply | NativeEinsum,
    operands: tuple[Recipe, Recipe],
    result: Recipe,
    swap: bool = False,
) -> Lowering:
    """Puts a recipe together and adds up what it costs."""
    recipes = (*operands, result)
    return Lowering(
        kernel=kernel,
        prepare=(tuple(operands[0].instructions), tuple(operands[1].instructions)),
        combine=combine,
        swap=swap,
        finish=tuple(result.instructions),
        compute_dtype=compute_dtype(dot.contraction.dtype, kernel == "multiply and sum"),
        cost=Cost(
            microseconds=sum(recipe.microseconds for recipe in recipes)
            + sum(scratch_us(recipe.scratch_bytes) for recipe in recipes),
            flops=pairwise_flops(dot.contraction.equation, dot.sizes),
            bytes_moved=sum(recipe.bytes_moved for recipe in recipes),
            scratch_bytes=max(recipe.scratch_bytes for recipe in recipes),
        ),
    )


def _aligned_product(dot: _GroupedDot, order: Groups) -> tuple[tuple[Recipe, Recipe], Recipe]:
    """Operands that broadcast against each other, and their product with its groups in `order`."""
    operands = dot.operand_recipes()
    roles = [(group in dot.lhs, group in dot.rhs) for group in order]
    kernel_broadcasts = alternations(roles) <= MAX_BROADCAST_DIMS
    for recipe, groups in zip(operands, (dot.lhs, dot.rhs), strict=True):
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
        # XLA reads a permuted operand where it stands, across rows, for each element of the
        # product: `eac,ce->a` of (1024, 4, 512) takes 7.5 ms, and 2.7 as a matmul.
        for recipe in operands:
            if any(isinstance(step, Permute) for step in recipe.instructions):
                product.microseconds += permute_us(product.bytes - recipe.bytes, keeps_rows=False)
    elif len(set(roles)) > 1:
        run = extent("".join(last_run(order, roles)), dot.sizes)
        product.microseconds += runs_us(extent("".join(order), dot.sizes), run)
    return operands, product


def _finish(dot: _GroupedDot, result: Recipe) -> Recipe:
    return result.permute(dot.out).reshape(tuple(dot.contraction.equation.output))


def _multiplies(dot: _GroupedDot) -> Iterator[Lowering]:
    """Elementwise products: in the output's order, or in that of an operand that has it all."""
    orders = [dot.out, *(term for term in (dot.lhs, dot.rhs) if len(term) == len(dot.out))]
    for order in dict.fromkeys(orders):
        operands, product = _aligned_product(dot, order)
        yield _lowering(dot, "multiply", Multiply(), operands, _finish(dot, product))


def _multiply_and_sum(dot: _GroupedDot, big: int) -> Lowering:
    """A product of the groups of one operand, which the other has too, then a sum."""
    operands, product = _aligned_product(dot, (dot.lhs, dot.rhs)[big])
    whole = product.scratch_bytes = product.bytes
    product.sum("".join(dot.contracted))
    if product.groups != dot.out and dot.contraction.target == "xla":
        # XLA makes one loop of it all, in the result's order, which reads the operand across rows:
        # `eac,a->ce` of (1024, 4, 512) takes 7.3 ms, and 2.2 as a matmul.
        product.microseconds += permute_us(whole, keeps_rows=False)
    return _lowering(dot, "multiply and sum", Multiply(), operands, _finish(dot, product))


def _orders(role: Groups, *terms: Groups) -> list[Groups]:
    """The orders that the groups of a role have in the terms that hold it."""
    return list(dict.fromkeys(tuple(g for g in term if g in role) for term in terms))


def _layouts(term: Groups, batch: Groups, free: Groups, contracted: Groups) -> list[Groups]:
    """The layouts an operand may take; only its own where it has one of the two already."""
    both = [batch + free + contracted, batch + contracted + free]
    return [term] if term in both else list(dict.fromkeys(both))


def _matmuls(dot: _GroupedDot) -> Iterator[Lowering]:
    for batch, contracted, lhs_free, rhs_free in itertools.product(
        _orders(dot.batch, dot.lhs, dot.rhs, dot.out),
        _orders(dot.contracted, dot.lhs, dot.rhs),
        _orders(dot.lhs_free, dot.lhs, dot.out),
        _orders(dot.rhs_free, dot.rhs, dot.out),
    ):
        natural = batch + lhs_free + rhs_free
        swapped = batch + rhs_free + lhs_free
        fits = [result == dot.out for result in (natural, swapped)]
        for lhs, rhs, swap in itertools.product(
            _layouts(dot.lhs, batch, lhs_free, contracted),
            _layouts(dot.rhs, batch, rhs_free, contracted),
            (False, True),
        ):
            # Products of two transposes are slow enough that the transpose of a plain one may win:
            # `ki,jk->ij` of (1024, 1024) 44.2 ms to 39.8.
            flipped = lhs == batch + contracted + lhs_free, rhs == batch + rhs_free + contracted
            plain = flipped == (swap, swap) and dot.contraction.target != "xla"
            if fits[swap] or not any(fits) or plain:
                yield _matmul(dot, batch, (lhs_free, contracted, rhs_free), lhs, rhs, swap)


def _matmul(
    dot: _GroupedDot,
    batch: Groups,
    roles: tuple[Groups, Groups, Groups],
    lhs: Groups,
    rhs: Groups,
    swap: bool,
) -> Lowering:
    equation = dot.contraction.equation
    m, k, n = ("".join(role) for role in roles)
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
    operands = dot.operand_recipes()
    for recipe, groups, layout, pair in zip(
        operands, (dot.lhs, dot.rhs), (lhs, rhs), matrices[:2], strict=True
    ):
        if layout != groups:
            recipe.reshape(groups).permute(layout)
        recipe.reshape((*dims, *pair))
    result = dot.recipe((*dims, *matrices[2]))
    flags = (not rhs_transposed, not lhs_transposed) if swap else (lhs_transposed, rhs_transposed)
    _charge_matmul(dot, result, swap, *flags)
    out = batch + (roles[2] + roles[0] if swap else roles[0] + roles[2])
    if out != dot.out:
        result.reshape(out).permute(dot.out)
    result.reshape(tuple(equation.output))
    return _lowering(dot, "matmul", MatMul(*flags, bool(dims)), operands, result, swap)


def _charge_matmul(
    dot: _GroupedDot, result: Recipe, swap: bool, transpose_a: bool, transpose_b: bool
) -> None:
    item = itemsize(dot.contraction.dtype)
    roles = (dot.lhs_free, dot.contracted, dot.rhs_free)
    b, m, k, n = (
        extent("".join(role), dot.sizes)
        for role in (dot.batch, *(reversed(roles) if swap else roles))
    )
    moved = item * b * (m * k + k * n + m * n)
    result.combined(matmul_us(b, m, k, n, item, transpose_a, transpose_b), moved)


def _einsum_can(dot: _GroupedDot) -> bool:
    contraction = dot.contraction
    # TFLite turns the op into a matmul only where both operands have labels of their own (B13).
    converts = contraction.target == "eager" or (dot.lhs_free and dot.rhs_free)
    return (
        contraction.dtype in _EINSUM_DTYPES
        and contraction.target != "xla"
        and bool(converts)
        and len(contraction.equation.labels) <= len(_EINSUM_LETTERS)
    )


def _einsum(dot: _GroupedDot, swap: bool) -> Lowering:
    """TensorFlow's own op: one launch, whatever it has to permute."""
    equation = dot.contraction.equation
    given = Equation(equation.inputs[::-1] if swap else equation.inputs, equation.output)
    letters = str.maketrans(dict(zip(equation.labels, _EINSUM_LETTERS, strict=False)))
    result = dot.recipe(equation.output)
    permuted, transposed = einsum_layout(given)
    _charge_matmul(dot, result, swap, *transposed)
    for term in permuted:
        size = extent(term, dot.sizes) * itemsize(dot.contraction.dtype)
        result.microseconds += _EINSUM_PERMUTE_FACTOR * permute_us(size, keeps_rows=False)
        result.bytes_moved += 2 * size
        result.scratch_bytes = max(result.scratch_bytes, size)
    combine = NativeEinsum(str(given).translate(letters))
    return _lowering(dot, "einsum", combine, dot.operand_recipes(), result, swap)


def einsum_layout(equation: Equation) -> tuple[list[str], tuple[bool, bool]]:
    """What TensorFlow's Einsum op permutes, and which operand its matmul then transposes.

    It numbers labels by first appearance, and wants operands as (batch, free, contracted) or
    (batch, contracted, free) and gives (batch, lhs_free, rhs_free), each in that numbering.
    """
    roles = DotDimensions.of(equation)
    order = equation.labels

    def arranged(labels: str) -> str:
        return "".join(label for label in order if label in labels)

    batch, contracted = arranged(roles.batch), arranged(roles.contracted)
    lhs_free, rhs_free = arranged(roles.lhs_free), arranged(roles.rhs_free)
    lhs, rhs = equation.inputs
    permuted = [
        term
        for term, free in ((lhs, lhs_free), (rhs, rhs_free))
        if term not in (batch + free + contracted, batch + contracted + free)
    ]
    if equation.output != batch + lhs_free + rhs_free:
        permuted.append(equation.output)
    return permuted, (
        lhs == batch + contracted + lhs_free and bool(lhs_free),
        rhs == batch + rhs_free + contracted and bool(rhs_free),
    )
