"""What is better than what runs, by more than chance: a pure function of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from tf_einsum_grad.benchmark.statistics import Ratio, paired_ratio

__all__ = ["Choice", "choose"]

_Name = TypeVar("_Name")

# Gains that are smaller are not worth being different from what the rates say.
_LEAST = 1.02


@dataclass(frozen=True)
class Choice(Generic[_Name]):
    """The fastest of several.

    Attributes:
        best: which one.
        before, after: seconds of what ran and of the fastest, medians.
        ratio: how many times as fast, and between what bounds by chance.
    """

    best: _Name
    before: float
    after: float
    ratio: Ratio


def choose(samples: Mapping[_Name, Sequence[float]], running: _Name) -> Choice[_Name] | None:
    """The one whose median is least; None where that is what runs, or hardly better than it.

    Args:
        samples: the seconds of each, sample by sample; the i-th ones were taken in turn.
        running: what runs now; one of them.

    Example:
        >>> choose({"old": [2.0, 2.1, 2.2], "new": [1.0, 1.0, 1.1]}, "old").best
        'new'
        >>> choose({"old": [2.0, 2.1, 2.2], "new": [2.0, 2.1, 2.1]}, "old") is None
        True
    """
    best = min(samples, key=lambda name: float(np.median(samples[name])))
    ratio = paired_ratio(samples[running], samples[best])
    if best == running or ratio.low < _LEAST:
        return None
    before, after = (float(np.median(samples[name])) for name in (running, best))
    return Choice(best, before, after, ratio)
