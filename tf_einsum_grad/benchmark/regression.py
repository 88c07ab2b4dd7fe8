"""Whether ratios fell since an older report."""

from __future__ import annotations

from dataclasses import dataclass

from tf_einsum_grad.benchmark.report import Measurement, Report
from tf_einsum_grad.benchmark.statistics import Ratio

__all__ = ["Regression", "find_regressions"]


@dataclass(frozen=True, slots=True)
class Regression:
    """A ratio that fell by more than the noise of both measurements."""

    name: str
    mode: str
    which: str
    old: Ratio
    new: Ratio

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.mode}, {self.which}): {self.new.value:.2f}x, was "
            f"{self.old.value:.2f}x"
        )


def find_regressions(old: Report, new: Report) -> tuple[Regression, ...]:
    """What fell between two reports, of what is in both with the same shapes and dtype."""
    before = {key: m.ratio for key, m in _ratios(old).items()}
    return tuple(
        Regression(key[0].name, m.mode, m.which, before[key], m.ratio)
        for key, m in _ratios(new).items()
        if key in before and m.ratio.fell_since(before[key])
    )


def _ratios(report: Report) -> dict[tuple, Measurement]:
    return {(c.workload, m.mode, m.which): m for c in report.comparisons for m in c.measurements}
