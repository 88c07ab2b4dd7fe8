"""What a gradient check can find, from harmless to harmful."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Status(str, Enum):
    """The verdict on one leaf, one variant, or the whole check; compares equal to its name.

    From harmless to harmful.

    >>> Status.PASS == "PASS", Status.KINK.passed
    (True, False)
    """

    SKIPPED = "SKIPPED"
    PASS = "PASS"
    PASS_NEARBY = "PASS_NEARBY"
    INCONCLUSIVE = "INCONCLUSIVE"
    KINK = "KINK"
    JUMP = "JUMP"
    NONDETERMINISTIC = "NONDETERMINISTIC"
    NONFINITE = "NONFINITE"
    MISSING = "MISSING"
    FAIL = "FAIL"

    def __str__(self) -> str:
        return self.value

    @property
    def passed(self) -> bool:
        """Whether this verdict lets a check pass. INCONCLUSIVE does not."""
        return self in (Status.SKIPPED, Status.PASS, Status.PASS_NEARBY)

    @property
    def meaning(self) -> str:
        """One line for people who see the word for the first time."""
        return _MEANINGS[self]


_MEANINGS = {
    Status.SKIPPED: "not differentiable (an integer, a string) or not asked for",
    Status.PASS: "the gradient agrees with finite differences",
    Status.PASS_NEARBY: "a kink or a jump at the point itself; right at a point next to it",
    Status.INCONCLUSIVE: "finite differences are too inaccurate here to tell; not a pass",
    Status.KINK: "left and right derivatives differ, also nearby",
    Status.JUMP: "the function is discontinuous, also nearby",
    Status.NONDETERMINISTIC: "the function gives different values for the same inputs and seeds",
    Status.NONFINITE: "the function or its gradient holds NaN or infinity",
    Status.MISSING: "the gradient is None, yet the function depends on this leaf",
    Status.FAIL: "the gradient is wrong",
}


def worst(statuses: Iterable[Status]) -> Status:
    """Returns the most harmful status, SKIPPED where there is none."""
    return max(statuses, key=list(Status).index, default=Status.SKIPPED)
