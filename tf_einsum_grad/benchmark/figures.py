"""What the charts show, whoever draws them: rows, axes, colours and markers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tf_einsum_grad.benchmark.report import Report
from tf_einsum_grad.benchmark.statistics import Ratio

__all__ = ["COLOURS", "LINE_COLOURS", "Row", "headline", "log_ticks", "ratio_rows", "ratio_ticks"]

# Okabe and Ito's palette, which people with any colour vision tell apart.
COLOURS = {"eager": "#E69F00", "graph": "#0072B2", "xla": "#009E73"}
LINE_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7")

_RATIO_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class Row:
    """One workload: its ratio in each mode, and the shares of the machine's limit."""

    name: str
    equation: str
    ratios: tuple[tuple[str, Ratio], ...]
    ours: float
    native: float


def ratio_rows(report: Report) -> tuple[Row, ...]:
    """Forward and backward together, the largest ratio in the main mode first."""
    rows = []
    for c in report.comparisons:
        ratios = tuple((m.mode, m.ratio) for m in c.measurements if m.which == "both")
        main = c.find(report.main_mode)
        if main is None:
            continue
        limit = report.limit_seconds(c.workload)
        shares = (limit / main.ours.median, limit / main.native.median)
        rows.append(Row(c.workload.name, c.workload.equation, ratios, *shares))
    return tuple(sorted(rows, key=lambda row: -dict(row.ratios)[report.main_mode].value))


def ratio_ticks(rows: Sequence[Row]) -> tuple[float, ...]:
    """Ticks of the ratios' axis, from below the smallest to above the largest."""
    values = [1.0, *(bound for row in rows for _, r in row.ratios for bound in (r.low, r.high))]
    low = max((t for t in _RATIO_TICKS if t <= min(values)), default=_RATIO_TICKS[0])
    high = min((t for t in _RATIO_TICKS if t >= max(values)), default=_RATIO_TICKS[-1])
    return tuple(t for t in _RATIO_TICKS if low <= t <= max(high, 2))


def log_ticks(values: Sequence[float]) -> tuple[float, ...]:
    """Powers of ten from below the smallest to above the largest."""
    low, high = (math.log10(f(values)) for f in (min, max))
    return tuple(
        10.0**k for k in range(math.floor(low), max(math.ceil(high), math.floor(low) + 1) + 1)
    )


def headline(report: Report) -> str:
    """One sentence: the geometric mean in each mode."""
    n = len(report.comparisons)
    if n == 1:
        c = report.comparisons[0]
        return f"{c.workload.equation}, {c.workload.dtype}"
    shown = [
        f"{report.geometric_mean(mode):.2f}x in {'XLA' if mode == 'xla' else mode} mode"
        for mode in report.modes
    ]
    means = " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))
    return f"{n} workloads, forward and backward: geometric mean {means}"
