"""Medians with their spread, and the ratio of two interleaved series with its noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Ratio", "Timing", "geometric_mean", "paired_ratio", "summarize"]

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Timing:
    """Repeated timings of one thing, in seconds: the median and the quartiles around it."""

    median: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times faster; `low` and `high` bound the median's 95% confidence interval."""

    value: float
    low: float
    high: float

    def fell_since(self, old: Ratio) -> bool:
        """Whether this ratio is below an older one by more than the noise of both."""
        return self.high < old.low


def summarize(seconds: Sequence[float]) -> Timing:
    """The median and quartiles of a series of timings.

    Example:
        >>> summarize([1.0, 2.0, 3.0])
        Timing(median=2.0, low=1.5, high=2.5, repeats=3)
    """
    low, median, high = np.percentile(seconds, (25, 50, 75))
    return Timing(float(median), float(low), float(high), len(seconds))


def paired_ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """The median of `slow[i] / fast[i]`, with the noise found by resampling the pairs.

    The two of a pair were measured one right after the other, so what slows the machine for a
    while slows both, and cancels.

    Example:
        >>> paired_ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
        Ratio(value=2.0, low=2.0, high=2.0)
    """
    ratios = np.asarray(slow) / np.asarray(fast)
    rng = np.random.default_rng(0)
    resamples = rng.choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(resamples, axis=1), (2.5, 97.5))
    return Ratio(float(np.median(ratios)), float(low), float(high))


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean; nan of nothing.

    Example:
        >>> geometric_mean([1.0, 4.0])
        2.0
    """
    return float(np.exp(np.mean(np.log(values)))) if len(values) else float("nan")
