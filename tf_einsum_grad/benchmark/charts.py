"""A report as a Matplotlib figure; the only module that imports Matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tf_einsum_grad.benchmark.figures import (
    COLORS,
    Row,
    headline,
    mode_name,
    ratio_rows,
    ratio_ticks,
)
from tf_einsum_grad.benchmark.results import Results
from tf_einsum_grad.benchmark.workloads import Mode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot", "require_matplotlib"]

_MARKERS: dict[Mode, str] = {"eager": "^", "graph": "o", "xla": "D"}
_GRAY = "#8c8c8c"


def require_matplotlib(path: str | Path | None = None) -> type[Figure]:
    """Matplotlib's `Figure`, which needs no display.

    Raises:
        ImportError: it is missing; says which extra brings it.
        ValueError: it cannot write a file of this kind.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "charts require Matplotlib, which comes with: pip install 'tf-einsum-grad[plot]'"
        ) from error
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path is not None and Path(path).suffix.lstrip(".").lower() not in kinds:
        raise ValueError(f"requires a file that ends with .png, .svg or .pdf, got {str(path)!r}")
    return Figure


def plot(results: Results, path: str | Path | None = None) -> Figure:
    """Draws, for each workload, how many times faster than native, and how near to the limit.

    Args:
        results: with forward and backward measured together.
        path: where to save the figure, if anywhere.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: Matplotlib is missing.
        ValueError: `path` is no kind of picture, or the report has nothing to show.
    """
    figure_class = require_matplotlib(path)
    rows = ratio_rows(results)
    if not rows:
        raise ValueError("a chart requires forward and backward together, measured (pass 'both')")
    height = 1.9 + 0.23 * len(rows)
    figure = figure_class(figsize=(11, height), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 3))
    places = range(len(rows))
    for axes in (left, right):
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(places, [row.name for row in rows], fontsize=9)
        axes.tick_params(axis="both", length=0)
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    _draw_ratios(left, results, rows)
    _draw_limits(right, results, rows)
    figure.suptitle(
        f"tf_einsum_grad against tf.einsum\n{headline(results)}", fontsize=12, x=0.01, ha="left"
    )
    e = results.environment
    tensorflow = dict(e.versions).get("tensorflow", "")
    figure.supxlabel(
        f"{e.machine}, {e.device}, {e.threads} threads; TensorFlow {tensorflow}; {e.date}",
        fontsize=8,
        color=_GRAY,
    )
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _draw_ratios(axes: Axes, results: Results, rows: tuple[Row, ...]) -> None:
    ticks = ratio_ticks(rows)
    axes.set_xscale("log")
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.axvspan(ticks[0], 1, color="#f6e9e2", zorder=0)
    axes.axvline(1, color="#444444", linewidth=1)
    for mode in results.modes:
        found = [
            (k, dict(row.ratios)[mode]) for k, row in enumerate(rows) if mode in dict(row.ratios)
        ]
        values = [ratio.value for _, ratio in found]
        noise = [
            [max(0.0, r.value - r.low) for _, r in found],
            [max(0.0, r.high - r.value) for _, r in found],
        ]
        axes.errorbar(
            values,
            [k for k, _ in found],
            xerr=noise,
            fmt=_MARKERS[mode],
            color=COLORS[mode],
            markersize=5,
            elinewidth=1,
            alpha=0.9,
            label=mode_name(mode),
        )
    axes.set_title("Times faster than native (log; bars: 95% interval)", fontsize=10, loc="left")
    _draw_legend(axes)


def _draw_limits(axes: Axes, results: Results, rows: tuple[Row, ...]) -> None:
    places = list(range(len(rows)))
    ours, native = ([100 * getattr(row, who) for row in rows] for who in ("ours", "native"))
    axes.hlines(places, native, ours, color="#c8c8c8", linewidth=2, zorder=1)
    axes.scatter(native, places, s=26, facecolor="white", edgecolor=_GRAY, zorder=2, label="native")
    axes.scatter(ours, places, s=28, color=COLORS["graph"], zorder=3, label="tf_einsum_grad")
    axes.set_xlim(0, max(105, *ours, *native) * 1.02)
    axes.axvline(100, color="#444444", linewidth=1)
    axes.set_xticks((0, 25, 50, 75, 100), ("0", "25%", "50%", "75%", "100%"))
    axes.set_title(f"Share of the machine's limit ({results.main_mode})", fontsize=10, loc="left")
    _draw_legend(axes)


def _draw_legend(axes: Axes) -> None:
    """Below the axis, where it hides no point."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -20 / axes.bbox.height),
        ncols=3,
        fontsize=9,
        frameon=False,
    )
