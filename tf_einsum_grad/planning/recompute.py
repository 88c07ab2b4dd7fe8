"""The order of a backward pass that computes intermediates again, a segment of steps at a time.

The gradients of a step need its operands. To hold all of them takes as much memory as there are
steps; to compute each anew takes as many times the work. In between (A. Griewank, "Achieving
logarithmic growth of temporal and spatial complexity in reverse automatic differentiation", 1992):
the first half of the steps runs, and what the second half needs of it is held; then come the
gradients of the second half, and then those of the first, each half by the same rule. So n steps
hold what log2(n) of them do, and each runs log2(n) / 2 times more. Segments that are short enough
run once and hold all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Event", "runs", "schedule", "segments"]


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a plan, forward or backward.

    Attributes:
        position: of the step.
        pulls: whether its gradients are computed, or its result.
        drops: the tensors that are not needed after it, until they are computed or read again.
    """

    position: int
    pulls: bool
    drops: tuple[int, ...]


def segments(n_steps: int) -> list[int]:
    """How many steps may be held at once, from all of them to one, by halves.

    >>> segments(6)
    [6, 3, 1]
    """
    found = [max(n_steps, 1)]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


@lru_cache(maxsize=256)
def schedule(steps: tuple[tuple[int, ...], ...], n: int, segment: int) -> tuple[Event, ...]:
    """The backward pass of a plan, from nothing but its operands and the result's cotangent.

    Args:
        steps: the operands of each, by number: those of the einsum are 0 to n - 1, results follow;
            each is an operand once.
        n: how many operands the einsum has.
        segment: how many steps may be held at once.

    >>> [(e.position, e.pulls) for e in schedule(((0, 1), (3, 2)), 3, 2)]
    [(0, False), (1, True), (0, True)]
    """
    user = {k: position for position, operands in enumerate(steps) for k in operands}

    def needed(low: int, middle: int, high: int) -> list[int]:
        """The steps from `low` on, before `middle`, that lead to those from there to `high`."""
        wanted: set[int] = set()
        for position in range(middle - 1, low - 1, -1):
            used = user.get(n + position, high)
            if middle <= used < high or used in wanted:
                wanted.add(position)
        return sorted(wanted)

    def events(low: int, high: int) -> Iterator[Event]:
        if high - low > segment:
            middle = (low + high + 1) // 2
            for position in needed(low, middle, high):
                own = steps[position]
                yield Event(position, False, tuple([k for k in own if k < n or k - n >= low]))
            yield from events(middle, high)
            yield from events(low, middle)
            return
        for position in range(low, high):
            if user.get(n + position, high) < high:
                yield Event(position, False, ())
        for position in range(high - 1, low - 1, -1):
            yield Event(position, True, steps[position])

    return tuple(events(0, len(steps)))


def runs(events: Sequence[Event]) -> list[int]:
    """The positions of the steps that run once more, as often as they do."""
    return [event.position for event in events if not event.pulls]
