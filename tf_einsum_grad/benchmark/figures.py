"""What the charts show, whoever draws them: rows, axes and colors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tf_einsum_grad.benchmark.results import Results
from tf_einsum_grad.benchmark.statistics import Ratio
from tf_einsum_grad.benchmark.workloads import Mode

__all__ = [
    "COLORS",
    "LINE_COLORS",
    "Row",
    "headline",
    "log_ticks",
    "mode_name",
    "ratio_rows",
    "ratio_ticks",
]

# Okabe and Ito's palette, which people with any color vision tell apart.
COLORS: dict[Mode, str] = {"eager": "#E69F00", "graph": "#0072B2", "xla": "#009E73"}
LINE_COLORS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7")

_RATIO_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class Row:
    """One workload: its ratio in each mode, and the shares of the machine's limit."""

    name: str
    equation: str
    ratios: tuple[tuple[Mode, Ratio], ...]
    ours: float
    native: float


def mode_name(mode: Mode) -> str:
    """What a mode is called."""
    return "XLA" if mode == "xla" else mode


def ratio_rows(results: Results) -> tuple[Row, ...]:
    """Forward and backward together, the largest ratio in the main mode first."""
    rows = []
    for c in results.comparisons:
        ratios = tuple((m.mode, m.ratio) for m in c.measurements if m.which == "both")
        main = c.find(results.main_mode)
        if main is None:
            continue
        limit = results.limit_seconds(c.workload)
        shares = (limit / main.ours.median, limit / main.native.median)
        rows.append(Row(c.workload.name, c.workload.equation, ratios, *shares))
    return tuple(sorted(rows, key=lambda row: -dict(row.ratios)[results.main_mode].value))


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


def headline(results: Results) -> str:
    """One sentence: the geometric mean in each mode."""
    n = len(results.comparisons)
    if n == 1:
        c = results.comparisons[0]
        return f"{c.workload.equation}, {c.workload.dtype}"
    shown = [
        f"{results.geometric_mean(mode):.2f}x in {mode_name(mode)} mode" for mode in results.modes
    ]
    means = " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))
    return f"{n} workloads, forward and backward: geometric mean {means}"
