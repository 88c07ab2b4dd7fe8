"""Many leaves are tested at once, along one direction to which each contributes alike.

Let leaf l have the error e_l (its gradient's derivative along its own direction, minus the numeric
one), and the tolerance t_l if it were tested alone. Moving all leaves of a group at once, each by
w_l times its direction, tests |sum_l w_l e_l| <= T, where T is at most 3/8 w_l t_l for each l.
What is lost by that?

    The weights w_l are s a_l c_l, with a random sign s (that of the leaf's direction, which has
    random signs throughout), a_l drawn from U[0.5, 1.5], and c_l fixed. Condition on all else: the
    other leaves, and the error of finite differences, add up to some number R. The sum passes if
    s a_l lies within T / |c_l e_l| of -R / (c_l e_l), an interval of length 2 T / |c_l e_l|; and
    s a_l has a density of at most 1/2. So

        P(passes) <= T / |c_l e_l| <= 3/8 w_l t_l / |c_l e_l| <= 0.57 t_l / |e_l|.

    An error of k tolerances is missed with a probability below 0.57 / k by one direction, and
    0.33 / k^2 by two, however many leaves there are, and even if the errors of all are the same
    fault's. The wrong gradients that people write are off by thousands of tolerances.

It passes only if the numeric derivative of the sum is about as accurate as that of each leaf would
be. So each leaf's share of the change is the same, and groups are formed of leaves whose gradients
have a similar size: then none is moved by much less than it would be alone. Leaves that are zero
everywhere, such as the biases of a new model, have no size, and are moved across more kinks; they
are kept apart. A group that does not pass is halved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STRICTER = 8  # errors of a gradient are allowed so many times less than in a single leaf
_RANGE = 32.0  # how far apart the sizes of gradients in one group may be
_ALL_BUT_ZERO = 1e-9  # relative to the amplitude: below, sizes do not matter


@dataclass(frozen=True, slots=True)
class Group:
    """Leaves that are moved together, in the order of the problem, and by how much each."""

    leaves: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def share(self) -> float:
        """The smallest weight; the largest is 1."""
        return min(self.weights)

    def halves(self) -> tuple[Group, Group]:
        """Returns the first and the second half, each of at least one leaf.

        A wrong gradient spoils all that is upstream of it, so leaves that fail are neighbors.
        """
        middle = len(self.leaves) // 2
        first = Group(self.leaves[:middle], self.weights[:middle])
        return first.normalized(), Group(self.leaves[middle:], self.weights[middle:]).normalized()

    def normalized(self) -> Group:
        """Returns the same leaves with weights of which the largest is 1."""
        largest = max(self.weights)
        return Group(self.leaves, tuple(weight / largest for weight in self.weights))


def alone(leaf: int) -> Group:
    """Returns a group of one."""
    return Group((leaf,), (1.0,))


def groups(
    leaves: Sequence[int],
    scales: Sequence[float],
    kinds: Sequence[object],
    amplitude: float,
    rng: np.random.Generator,
) -> list[Group]:
    """Divides leaves into groups whose members contribute alike.

    Args:
        leaves: by their numbers.
        scales: of each leaf, ||gradient * direction||.
        kinds: of each leaf; only leaves of the same kind come together.
        amplitude: size of the terms that the scalar sums.
        rng: for what the weights have at random.
    """
    floor = _ALL_BUT_ZERO * amplitude
    largest = max(scales, default=0.0)
    members: dict[tuple[object, int], list[tuple[int, float]]] = {}
    for leaf, scale, kind in zip(leaves, scales, kinds, strict=True):
        level = int(math.log(largest / scale) / math.log(_RANGE)) if scale > floor else -1
        members.setdefault((kind, level), []).append((leaf, max(scale, floor)))
    found = []
    for pairs in members.values():
        least = min(size for _, size in pairs)
        alike = [least / size if least > 0 else 1.0 for _, size in pairs]
        weights = np.multiply(alike, rng.uniform(0.5, 1.5, len(pairs))).tolist()
        found.append(Group(tuple(leaf for leaf, _ in pairs), tuple(weights)).normalized())
    return sorted(found, key=lambda group: group.leaves)
