"""How many bytes a lowering may hold beside its operands and its result, all kernels together.

An upper bound: what kernels make on the way counts as if nothing were freed before the end, and so
does what they make inside: the permutes of TensorFlow's own Einsum op, index vectors, casts.
"""

from __future__ import annotations

from collections.abc import Mapping

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.contraction import Contraction, Lowering
from tf_einsum_grad.lowering.einsum_layout import einsum_layout
from tf_einsum_grad.lowering.instructions import Groups
from tf_einsum_grad.lowering.lower import lower

__all__ = ["footprint"]

_INDEX_BYTES = 32  # four vectors of int64 to find a diagonal's rows, two for a permute's


def footprint(contraction: Contraction) -> int:
    """Bytes that the lowering of a contraction may hold beside its operands and its result.

    Unknown sizes count as their hints.

    Example:
        >>> sizes = {"i": 10, "j": 20, "k": 30}
        >>> footprint(Contraction.of(parse_equation("ij,jk->ik"), sizes, "float32"))
        0
        >>> sizes = {"b": 10, "i": 20, "j": 30, "k": 40}
        >>> footprint(Contraction.of(parse_equation("bij,bjk->kbi"), sizes, "float32")) >= 32000
        True
    """
    lowering, sizes = lower(contraction), contraction.likely_sizes
    item = itemsize(lowering.compute_dtype or lowering.dtype)
    made, results = 0, []
    for term, instructions in zip(lowering.equation.inputs, lowering.prepare, strict=True):
        groups: Groups = tuple(term)
        if lowering.compute_dtype is not None:
            made += item * num_elements(term, sizes)
        for instruction in instructions:
            made += _made(instruction, groups, sizes, item)
            groups = instruction.result(groups)
        results.append(groups)
    groups = results[0]
    if lowering.combine is not None:
        a, b = (*results[:: -1 if lowering.swap else 1], ())[:2]
        groups = lowering.combine.result(a, b)
        made += _inside(lowering.combine, a, b, sizes, item) + item * _elements(groups, sizes)
    for instruction in lowering.finish:
        made += _made(instruction, groups, sizes, item)
        groups = instruction.result(groups)
    # The last tensor made is the result, unless that is cast.
    own = 0 if lowering.compute_dtype is not None else item * _elements(groups, sizes)
    return max(0, made - (0 if _only_views(lowering) else own))


def _only_views(lowering: Lowering) -> bool:
    return lowering.combine is None and all(
        isinstance(instruction, do.Reshape) for instruction in lowering.prepare[0]
    )


def _elements(groups: Groups, sizes: Mapping[str, Size]) -> int:
    return num_elements("".join(groups), sizes)


def _made(instruction: do.Transform, groups: Groups, sizes: Mapping[str, Size], item: int) -> int:
    """Bytes that one instruction makes, its result too."""
    result = instruction.result(groups)
    n_bytes = item * _elements(result, sizes)
    match instruction:
        case do.Reshape():
            return 0
        case do.Permute(kernel="gather"):
            return n_bytes + _INDEX_BYTES * _elements(result, sizes)
        case do.Diagonal(kernel="gather"):
            rows = result[: instruction.second]
            return n_bytes + _INDEX_BYTES * _elements(rows, sizes)
        case do.Diagonal():  # a strided slice, or a copy for what the batch op reads
            return n_bytes
        case do.EmbedDiagonal(kernel="select"):
            return 2 * n_bytes + num_elements("".join(result), sizes)
        case do.EmbedDiagonal():
            return 2 * n_bytes + _INDEX_BYTES * _elements(groups[: instruction.second], sizes)
    return n_bytes


def _inside(combine: do.Combine, a: Groups, b: Groups, sizes: Mapping[str, Size], item: int) -> int:
    """Bytes that a kernel of two operands makes inside."""
    if isinstance(combine, do.NativeEinsum):
        equation = parse_equation(combine.equation)
        groups = dict(zip("".join(equation.inputs), a + b, strict=True))
        terms = einsum_layout(equation).permuted
        return sum(item * _elements(tuple(groups[x] for x in term), sizes) for term in terms)
    if isinstance(combine, do.MatMul) and combine.batched:
        # Complex transposes are conjugated first; others are read as they are.
        flips = ((combine.transpose_a, a), (combine.transpose_b, b))
        return sum(item * _elements(x, sizes) for flip, x in flips if flip) if item >= 8 else 0
    return 0
