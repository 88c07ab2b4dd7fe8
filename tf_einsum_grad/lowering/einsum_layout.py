"""What TensorFlow's Einsum op does inside, as far as it costs time: a model of its CPU kernel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.roles import DotRoles

__all__ = ["EinsumLayout", "einsum_layout"]


@dataclass(frozen=True, slots=True)
class EinsumLayout:
    """The matmul that the op makes of a pairwise equation.

    Attributes:
        permuted: the terms that it permutes first, or last where it is the output.
        transposed: for each operand, whether the matmul reads it across its rows.
        roles: of the labels, in the order in which the op arranges them.
    """

    permuted: tuple[str, ...]
    transposed: tuple[bool, bool]
    roles: DotRoles


@lru_cache(maxsize=4096)
def einsum_layout(equation: Equation) -> EinsumLayout:
    """The layout of a pairwise equation without repeated labels, operands in the order given.

    The op numbers labels by first appearance, and wants operands as (batch, free, contracting) or
    (batch, contracting, free) and gives (batch, lhs_free, rhs_free), each in that numbering.
    """
    (lhs, rhs), output = equation.inputs, equation.output
    roles = DotRoles.of(lhs, rhs, output)  # in that numbering: what both have, lhs has first
    batch, contracting = "".join(roles.batch), "".join(roles.contracting)
    lhs_free, rhs_free = "".join(roles.lhs_free), "".join(roles.rhs_free)
    permuted = [
        term
        for term, free in ((lhs, lhs_free), (rhs, rhs_free))
        if term not in (batch + free + contracting, batch + contracting + free)
    ]
    if output != batch + lhs_free + rhs_free:
        permuted.append(output)
    transposed = (
        lhs == batch + contracting + lhs_free and bool(lhs_free),
        rhs == batch + rhs_free + contracting and bool(rhs_free),
    )
    return EinsumLayout(tuple(permuted), transposed, roles)
