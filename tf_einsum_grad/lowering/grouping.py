"""Labels that may be treated as one: the groups of a pairwise contraction, sorted by role."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from tf_einsum_grad.algebra.roles import DotRoles
from tf_einsum_grad.lowering.instructions import Groups

__all__ = ["Grouping", "group_labels"]


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of each term of a pairwise contraction, and of each role."""

    lhs: Groups
    rhs: Groups
    out: Groups
    roles: DotRoles


def group_labels(terms: tuple[str, str, str], ones: str, elastic: str = "") -> Grouping:
    """Drops labels of size 1, and joins labels that are neighbors in every term they are in.

    Args:
        terms: the subscripts of both operands and of the output.
        ones: the labels of size 1.
        elastic: labels that may turn out to be 1 in one operand; each is a group by itself.
    """
    # An elementwise product stays as it is: a reshape would lose its sharding.
    elementwise = len(set(terms)) == 1
    lhs, rhs, out = [tuple(term) for term in terms] if elementwise else _join(terms, ones, elastic)
    return Grouping(lhs, rhs, out, DotRoles.of(lhs, rhs, out))


def _join(terms: Sequence[str], ones: str, elastic: str) -> list[Groups]:
    wide = ["".join(label for label in term if label not in ones) for term in terms]
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
            joins = previous and after[previous] == {label} and not {previous, label} & {*elastic}
            if joins and before_count[previous] == before_count[label]:
                row[-1] += label
            else:
                row.append(label)
        groups.append(tuple(row))
    return groups
