"""A report as Matplotlib figures, and as SVG for the page; the only module that draws."""

from __future__ import annotations

import html
import io
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tf_einsum_grad.benchmark.results import Comparison, Curve, Results
from tf_einsum_grad.benchmark.tables import headline, mode_name, short_equation
from tf_einsum_grad.benchmark.workloads import Mode
from tf_einsum_grad.text.numbers import duration
from tf_einsum_grad.text.pages import Html

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_svg", "plot", "require_matplotlib", "suite_svg"]

_MARKERS: dict[Mode, str] = {"eager": "^", "graph": "o", "xla": "D"}
# Okabe and Ito's palette, which people with any color vision tell apart.
_COLORS: dict[Mode, str] = {"eager": "#E69F00", "graph": "#0072B2", "xla": "#009E73"}
_LINE_COLORS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7")
_BLACK, _GRAY, _PALE = "#444444", "#8c8c8c", "#e4e4e4"

_RATIO_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def require_matplotlib(path: str | Path | None = None) -> type[Figure]:
    """Matplotlib's `Figure`, which needs no display.

    Raises:
        ImportError: it is missing; says which extra brings it.
        ValueError: it cannot write a file of this kind.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "charts require Matplotlib, which comes with: pip install 'tf-einsum-grad[plot]'"
        ) from error
    kinds = Figure().canvas.get_supported_filetypes()
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
    require_matplotlib(path)
    figure = _draw_suite(results)
    if figure is None:
        raise ValueError("a chart requires forward and backward together, measured (pass 'both')")
    title = f"tf_einsum_grad.einsum against tf.einsum, TensorFlow's own\n{headline(results)}"
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
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


def suite_svg(results: Results) -> Html:
    """What `plot` draws, without its captions; empty where there is nothing to show.

    Raises:
        ImportError: Matplotlib is missing.
    """
    return _svg(
        _draw_suite(results),
        "How many times as fast as tf.einsum, and shares of what the machine allows",
    )


def curve_svg(curve: Curve) -> Html:
    """Seconds over a size, both axes logarithmic, native dashed; empty where there is one size.

    Raises:
        ImportError: Matplotlib is missing.
    """
    return _svg(_draw_curve(curve), curve.title)


def _svg(figure: Figure | None, title: str) -> Html:
    """A figure as an element of a page: text stays text, and the same figure is the same SVG."""
    if figure is None:
        return Html()
    from matplotlib import rc_context

    file = io.StringIO()
    unwanted = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(file, format="svg", metadata=unwanted)
    _, _, content = file.getvalue().partition("<svg")
    # Groups are numbered in each figure anew, and a page has several.
    content = re.sub(r'<g id="[^"]*"', "<g", content)
    return Html(f'<svg role="img" aria-label="{html.escape(title)}"{content}')


def _draw_suite(results: Results) -> Figure | None:
    shown = _by_ratio(results)
    if not shown:
        return None
    height = 1.9 + 0.23 * len(shown)
    figure = require_matplotlib()(figsize=(12.5, height), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 3))
    for axes in (left, right):
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), map(_label, shown), fontsize=8.5)
        axes.tick_params(axis="both", length=0)
        axes.grid(axis="x", color=_PALE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    _draw_ratios(left, results.modes, shown)
    _draw_limits(right, results, shown)
    for axes in (left, right):  # below the axis, where it hides no point
        place = (0.5, -20 / axes.bbox.height)
        axes.legend(loc="upper center", bbox_to_anchor=place, ncols=3, fontsize=9, frameon=False)
    return figure


def _label(comparison: Comparison) -> str:
    workload = comparison.workload
    return f"{workload.name}: {short_equation(workload.equation)}"


def _by_ratio(results: Results) -> list[Comparison]:
    """Those with both passes measured together, the largest ratio in the main mode first."""
    ratios = [(m.ratio.value, c) for c in results.comparisons if (m := c.find(results.main_mode))]
    return [c for _, c in sorted(ratios, key=lambda pair: -pair[0])]


def _draw_ratios(axes: Axes, modes: Sequence[Mode], shown: Sequence[Comparison]) -> None:
    found = {
        mode: [(k, m.ratio) for k, c in enumerate(shown) if (m := c.find(mode))] for mode in modes
    }
    bounds = [x for ratios in found.values() for _, r in ratios for x in (r.low, r.high)]
    ticks = _ratio_ticks(bounds)
    axes.set_xscale("log")
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.axvspan(ticks[0], 1, color="#f6e9e2", zorder=0)
    axes.axvline(1, color=_BLACK, linewidth=1)
    for mode, ratios in found.items():
        noise = [(r.value - r.low, r.high - r.value) for _, r in ratios]
        axes.errorbar(
            [r.value for _, r in ratios],
            [k for k, _ in ratios],
            xerr=np.maximum(0, noise).T,
            fmt=_MARKERS[mode],
            color=_COLORS[mode],
            markersize=5,
            elinewidth=1,
            alpha=0.9,
            label=mode_name(mode),
        )
    axes.set_title("How many times as fast (bars: 95% interval)", fontsize=10, loc="left")


def _ratio_ticks(values: Sequence[float]) -> tuple[float, ...]:
    """Ticks from below the smallest value to above the largest, with 1 and 2 among them."""
    first = bisect_right(_RATIO_TICKS, min(1.0, *values)) - 1
    last = bisect_left(_RATIO_TICKS, max(2.0, *values))
    return _RATIO_TICKS[max(first, 0) : last + 1]


def _draw_limits(axes: Axes, results: Results, shown: Sequence[Comparison]) -> None:
    places = range(len(shown))
    measured = [m for c in shown if (m := c.find(results.main_mode))]
    limits = np.array([100 * results.limit_seconds(c.workload) for c in shown])
    ours = limits / [m.ours.median for m in measured]
    native = limits / [m.native.median for m in measured]
    axes.hlines(places, native, ours, color="#c8c8c8", linewidth=2, zorder=1)
    axes.scatter(
        native, places, s=26, facecolor="white", edgecolor=_GRAY, zorder=2, label="tf.einsum"
    )
    axes.scatter(ours, places, s=28, color=_COLORS["graph"], zorder=3, label="tf_einsum_grad")
    axes.set_xlim(0, max(105, *ours, *native) * 1.02)
    axes.axvline(100, color=_BLACK, linewidth=1)
    axes.set_xticks((0, 25, 50, 75, 100), ("0", "25%", "50%", "75%", "100%"))
    where = mode_name(results.main_mode)
    axes.set_title(f"Share of what the machine allows ({where})", fontsize=10, loc="left")


def _draw_curve(curve: Curve) -> Figure | None:
    sizes = sorted({size for line in curve.lines for size, _ in line.points})
    if len(sizes) < 2:
        return None
    figure = require_matplotlib()(figsize=(5, 3.2), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for k, line in enumerate(curve.lines):
        style = "o--" if line.name.startswith("native") else "o-"
        color = _LINE_COLORS[k % len(_LINE_COLORS)]
        axes.loglog(*zip(*line.points, strict=True), style, color=color, ms=4, label=line.name)
    ticks = _decades([seconds for line in curve.lines for _, seconds in line.points])
    axes.set_ylim(ticks[0], ticks[-1])
    axes.set_yticks(ticks, [duration(tick, digits=1) for tick in ticks], fontsize=9)
    axes.set_xticks(sizes, [str(size) for size in sizes], fontsize=9)
    axes.minorticks_off()
    axes.grid(axis="y", color=_PALE, linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(curve.size, fontsize=9)
    axes.set_title(curve.title, fontsize=10, loc="left")
    axes.legend(fontsize=9, frameon=False)
    return figure


def _decades(values: Sequence[float]) -> list[float]:
    """Powers of ten from below the smallest value to above the largest, two at least."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**k for k in range(low, max(high, low + 1) + 1)]
