"""What a gradient check can find, from harmless to harmful."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Status(str, Enum):
    """The verdict on one leaf, one variant, or the whole check; compares equal to its name.

    `meaning` is one line for people who see the word for the first time.

    >>> Status.PASS == "PASS", Status.KINK.passed
    (True, False)
    """

    meaning: str

    SKIPPED = "SKIPPED", "not differentiable (an integer, a string) or not asked for"
    PASS = "PASS", "the gradient agrees with finite differences"
    PASS_NEARBY = "PASS_NEARBY", "a kink or a jump at the point itself; right at a point next to it"
    INCONCLUSIVE = "INCONCLUSIVE", "finite differences are too inaccurate here to tell; not a pass"
    KINK = "KINK", "left and right derivatives differ, also nearby"
    JUMP = "JUMP", "the function is discontinuous, also nearby"
    NONDETERMINISTIC = (
        "NONDETERMINISTIC",
        "the function gives different values for the same inputs and seeds",
    )
    NONFINITE = "NONFINITE", "the function or its gradient holds NaN or infinity"
    MISSING = "MISSING", "there is no gradient, yet the function depends on this leaf"
    FAIL = "FAIL", "the gradient is wrong"

    def __new__(cls, name: str, meaning: str) -> Status:
        """Makes a string of the name, with a meaning."""
        status = str.__new__(cls, name)
        status._value_, status.meaning = name, meaning
        return status

    def __str__(self) -> str:
        return self.name

    @property
    def passed(self) -> bool:
        """Whether this verdict lets a check pass. INCONCLUSIVE does not."""
        return self in (Status.SKIPPED, Status.PASS, Status.PASS_NEARBY)


def worst(statuses: Iterable[Status]) -> Status:
    """Returns the most harmful status, SKIPPED where there is none."""
    return max(statuses, key=list(Status).index, default=Status.SKIPPED)
