"""Whether ratios fell since an older report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tf_einsum_grad.benchmark.results import Results
from tf_einsum_grad.benchmark.statistics import Ratio
from tf_einsum_grad.benchmark.workloads import Mode, Pass, Workload

__all__ = ["Regression", "confirm_regressions", "find_regressions", "ratios"]

# Of hundreds of ratios with 95% intervals some differ by chance, and what slows a machine for a
# while may slow one variant more; neither happens to the same ratio three times.
_CONFIRMATIONS = 2


@dataclass(frozen=True, slots=True)
class Regression:
    """A ratio that fell by more than the noise of both measurements."""

    workload: Workload
    mode: Mode
    which: Pass
    old: Ratio
    new: Ratio

    def __str__(self) -> str:
        return (
            f"{self.workload.name} ({self.mode}, {self.which}): {self.new.value:.2f}x, was "
            f"{self.old.value:.2f}x"
        )


def ratios(results: Results) -> dict[tuple[Workload, Mode, Pass], Ratio]:
    """Every ratio, by what it was measured of."""
    return {
        (c.workload, m.mode, m.which): m.ratio for c in results.comparisons for m in c.measurements
    }


def find_regressions(old: Results, new: Results) -> tuple[Regression, ...]:
    """What fell between two reports, of what is in both with the same shapes and dtype."""
    before = ratios(old)
    return tuple(
        Regression(*key, before[key], ratio)
        for key, ratio in ratios(new).items()
        if key in before and ratio.fell_since(before[key])
    )


def confirm_regressions(
    found: Sequence[Regression], old: Results, measure: Callable[[tuple[Workload, ...]], Results]
) -> tuple[Regression, ...]:
    """Those of the regressions that are found again each time their workloads are measured again.

    One whose workload can no longer be measured remains.

    Args:
        found: what `find_regressions` gave.
        old: the report that they were found against.
        measure: measures workloads again, as the first time.
    """
    remaining = tuple(found)
    for _ in range(_CONFIRMATIONS):
        if not remaining:
            break
        again = measure(tuple(dict.fromkeys(r.workload for r in remaining)))
        measured = {c.workload for c in again.comparisons}
        suspects = {(r.workload, r.mode, r.which) for r in remaining}
        remaining = (
            *(r for r in remaining if r.workload not in measured),
            *(r for r in find_regressions(old, again) if (r.workload, r.mode, r.which) in suspects),
        )
    return remaining
