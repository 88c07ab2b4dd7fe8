"""The same tensor as both operands: one gradient of the symmetrised cotangent, in place of two.

Of `ij,kj->ik` with one `x` in both places the gradients are `G x` and `G^T x`, which add up to
`(G + G^T) x`: the labels of the two operands change places, and the output's with them.
"""

from __future__ import annotations

from functools import lru_cache

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.lower import cost_of

__all__ = ["mirrored"]

# Two gradients run side by side, and one waits for its cotangent: with less to gain, 64 rows of 64
# took 1.2 times as long.
_SIDE_BY_SIDE = 1.5


@lru_cache(maxsize=4096)
def mirrored(contraction: Contraction) -> Contraction | None:
    """What makes of a cotangent the one of the other operand, where that saves a contraction.

    Args:
        contraction: of one tensor with itself.

    Returns:
        The unary contraction that gives the cotangent's axes the order that they have when the
        operands change places; None where the operands cannot, or two gradients cost no more.

    Example:
        >>> from tf_einsum_grad.algebra.equation import parse_equation
        >>> sizes = dict(i=400, j=400, k=400)
        >>> gram = Contraction.of(parse_equation("ij,kj->ik"), sizes, "float32")
        >>> str(mirrored(gram).equation)
        'ab->ba'
    """
    if len(contraction.equation.inputs) != 2:
        return None
    (lhs, rhs), output = contraction.equation.inputs, contraction.equation.output
    other = dict(zip(lhs, rhs, strict=True)) | dict(zip(rhs, lhs, strict=True))
    swaps = all(other[a] == b and other[b] == a for a, b in zip(lhs, rhs, strict=True))
    # What may be 1 in one operand alone is not where it stands at the same place in both.
    swaps = swaps and all(other[x] == x for x in contraction.elastic)
    if not swaps or {other[x] for x in output} != set(output):
        return None
    sizes = dict(contraction.sizes)

    def of(equation: Equation) -> Contraction:
        return Contraction.of(
            equation,
            sizes,
            contraction.dtype,
            contraction.target,
            dict(contraction.hints),
            contraction.machine,
        )

    permute = of(Equation((output,), "".join(other[x] for x in output)))
    add = cost_of(of(Equation((output, output), output))).microseconds
    added = cost_of(of(Equation((lhs, lhs), lhs))).microseconds
    second = cost_of(contraction.transpose(1)).microseconds + added
    return permute if _SIDE_BY_SIDE * (cost_of(permute).microseconds + add) < second else None
