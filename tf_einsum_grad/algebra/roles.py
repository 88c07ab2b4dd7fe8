"""What an equation does with each label, and how many elements a term has.

The four roles of a pairwise contraction (the words are JAX's and torch's):

    batch       in lhs, rhs and output      contracting  in lhs and rhs only
    lhs_free    in lhs and output           rhs_free     in rhs and output

They are closed under transposition: each label is in two or three of lhs, rhs and output, whichever
change places. A label of one operand alone is summed, one of the output alone is broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.sizes import Size

__all__ = ["UNKNOWN_SIZE", "DotRoles", "Role", "label_roles", "num_elements", "roles_among"]

Role = Literal["batch", "contracting", "free", "summed", "broadcast"]

# Unknown dimensions are batch or sequence lengths far more often than they are 1, which is what
# native einsum guesses (and so takes the quadratic order for linear attention).
UNKNOWN_SIZE = 1024


def label_roles(equation: Equation) -> dict[str, Role]:
    """The role of each label, in the order in which they appear.

    Args:
        equation: of any number of operands, without ellipses.

    Example:
        >>> from tf_einsum_grad.algebra.equation import parse_equation
        >>> label_roles(parse_equation("bij,bjk->bi"))
        {'b': 'batch', 'i': 'free', 'j': 'contracting', 'k': 'summed'}
    """
    return roles_among(equation.inputs, equation.output)


def roles_among(inputs: Sequence[Sequence[str]], output: Sequence[str]) -> dict[str, Role]:
    """The role of whatever terms are made of: labels, or groups of labels."""
    members = dict.fromkeys(member for term in (*inputs, output) for member in term)
    return {x: _role(sum(x in term for term in inputs), x in output) for x in members}


def _role(n_operands: int, kept: bool) -> Role:
    if n_operands == 0:
        return "broadcast"
    if n_operands == 1:
        return "free" if kept else "summed"
    return "batch" if kept else "contracting"


@dataclass(frozen=True, slots=True)
class DotRoles:
    """The labels of a pairwise contraction, or the groups of them, by role.

    Each role stands in the order of the operand that has it, the lhs where both do.
    """

    batch: tuple[str, ...]
    contracting: tuple[str, ...]
    lhs_free: tuple[str, ...]
    rhs_free: tuple[str, ...]

    @classmethod
    def of(cls, lhs: Sequence[str], rhs: Sequence[str], output: Sequence[str]) -> DotRoles:
        """Sorts what two operands and their output are made of into the four roles."""
        roles = roles_among((lhs, rhs), output)

        def select(term: Sequence[str], role: Role) -> tuple[str, ...]:
            return tuple(x for x in term if roles[x] == role)

        return cls(
            batch=select(lhs, "batch"),
            contracting=select(lhs, "contracting"),
            lhs_free=select(lhs, "free"),
            rhs_free=select(rhs, "free"),
        )


def num_elements(labels: Iterable[str], sizes: Mapping[str, Size]) -> int:
    """How many elements a tensor with these labels has; an unknown size counts as `UNKNOWN_SIZE`.

    Example:
        >>> num_elements("ij", {"i": 3, "j": 4, "k": 5})
        12
    """
    found = [sizes[label] for label in labels]
    return math.prod([UNKNOWN_SIZE if size is None else size for size in found])
