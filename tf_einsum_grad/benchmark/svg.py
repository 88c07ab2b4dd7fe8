"""Charts as inline SVG, for the page; no library needed. Colors come from the page's style."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass

from tf_einsum_grad.benchmark.figures import (
    COLORS,
    LINE_COLORS,
    Row,
    log_ticks,
    mode_name,
    ratio_rows,
    ratio_ticks,
)
from tf_einsum_grad.benchmark.results import Curve, Line, Results
from tf_einsum_grad.benchmark.workloads import Mode
from tf_einsum_grad.text.numbers import duration, percent, times

__all__ = ["legend", "line_chart", "suite_chart"]

_ROW = 19
_TOP = 56
_LABELS = 210
_RATIOS = (_LABELS, _LABELS + 460)
_SHARES = (_LABELS + 500, _LABELS + 760)
_WIDTH = 1000


@dataclass(frozen=True, slots=True)
class _LogAxis:
    """A logarithmic axis: values from `low` to `high` stand between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value stands; one beyond the axis stands at its end."""
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def suite_chart(results: Results) -> str:
    """For each workload, how many times faster than native, and how near to the limit."""
    rows = ratio_rows(results)
    if not rows:
        return ""
    height = _TOP + _ROW * len(rows) + 12
    label = "Ratios to native einsum, and shares of the limit"
    parts = "".join(_suite_parts(results, rows, height))
    return (
        f'<svg class="suite" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">'
        f"{parts}</svg>"
    )


def _suite_parts(results: Results, rows: tuple[Row, ...], height: int) -> Iterator[str]:
    ticks = ratio_ticks(rows)
    bottom = height - 12
    at = _LogAxis(ticks[0], ticks[-1], *_RATIOS).place
    most = max(1.05, *(max(row.ours, row.native) for row in rows))

    def share_at(share: float) -> float:
        return _SHARES[0] + share / most * (_SHARES[1] - _SHARES[0])

    yield _text(_RATIOS[0], 14, "Times faster than native (log scale; bars: 95% interval)", "title")
    yield _text(_SHARES[0], 14, f"Share of the machine's limit ({results.main_mode})", "title")
    yield (
        f'<rect class="slower" x="{_RATIOS[0]}" y="{_TOP - 6}" width="{at(1) - _RATIOS[0]:.1f}" '
        f'height="{bottom - _TOP + 6}"/>'
    )
    for tick in ticks:
        yield _rule(at(tick), bottom, tick == 1)
        yield _text(at(tick), _TOP - 12, f"{tick:g}x", "tick")
    for tick in (0, 0.25, 0.5, 0.75, 1):
        yield _rule(share_at(tick), bottom, tick == 1)
        yield _text(share_at(tick), _TOP - 12, percent(tick), "tick")
    for k, row in enumerate(rows):
        y = _TOP + _ROW * k + _ROW / 2
        yield _text(_LABELS - 10, y + 4, row.name, "label", row.equation)
        for mode, ratio in row.ratios:
            yield (
                f'<line class="{mode}" x1="{at(ratio.low):.1f}" x2="{at(ratio.high):.1f}" '
                f'y1="{y}" y2="{y}"/>'
            )
            yield _marker(mode, at(ratio.value), y, f"{row.name}, {mode}: {times(ratio.value)}")
        ours, native = share_at(row.ours), share_at(row.native)
        yield f'<line class="link" x1="{native:.1f}" x2="{ours:.1f}" y1="{y}" y2="{y}"/>'
        yield _circle("native", native, y, f"{row.name}, native: {percent(row.native)}")
        yield _circle("graph", ours, y, f"{row.name}, tf_einsum_grad: {percent(row.ours)}")


def _rule(x: float, bottom: float, strong: bool) -> str:
    kind = "one" if strong else "grid"
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}"/>'


def _text(x: float, y: float, text: str, kind: str, tooltip: str = "") -> str:
    title = f"<title>{html.escape(tooltip)}</title>" if tooltip else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}{title}</text>'


def _circle(kind: str, x: float, y: float, tooltip: str) -> str:
    return (
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">'
        f"<title>{html.escape(tooltip)}</title></circle>"
    )


def _marker(mode: Mode, x: float, y: float, tooltip: str) -> str:
    """A circle for graph, a triangle for eager, a diamond for XLA: color is not all there is."""
    if mode == "graph":
        return _circle(mode, x, y, tooltip)
    corners = {
        "eager": ((0, -5), (5, 4), (-5, 4)),
        "xla": ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
    }[mode]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return (
        f'<polygon class="{mode}" points="{points}"><title>{html.escape(tooltip)}</title></polygon>'
    )


def legend(results: Results) -> str:
    """The markers with their names, as HTML."""
    entries = [
        f'<span><svg class="key" viewBox="-7 -7 14 14">{_marker(mode, 0, 0, mode)}</svg>'
        f"{mode_name(mode)}</span>"
        for mode in COLORS
        if mode in results.modes
    ]
    entries.append(
        f'<span><svg class="key" viewBox="-7 -7 14 14">{_circle("native", 0, 0, "native")}</svg>'
        "native (share of the limit)</span>"
    )
    return f'<p class="legend">{"".join(entries)}</p>'


def line_chart(curve: Curve) -> str:
    """Seconds over a size, both axes logarithmic; lines are named on the right, native dashed."""
    values = [seconds for line in curve.lines for _, seconds in line.points]
    sizes = sorted({size for line in curve.lines for size, _ in line.points})
    if len(sizes) < 2:
        return ""
    ticks = log_ticks(values)
    left, right, top, bottom = 70.0, 360.0, 30.0, 250.0
    x = _LogAxis(sizes[0], sizes[-1], left, right)
    y = _LogAxis(ticks[0], ticks[-1], bottom, top)
    parts = [_text(left, 14, curve.title, "title")]
    for tick in ticks:
        at = y.place(tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(_text(left - 8, at + 4, duration(tick, digits=1), "label"))
    for size in sizes:
        parts.append(_text(x.place(size), bottom + 18, str(size), "tick"))
    parts.append(_text((left + right) / 2, bottom + 36, curve.size, "tick"))
    for k, (line, name_at) in enumerate(zip(curve.lines, _name_places(curve, y), strict=True)):
        color = LINE_COLORS[k % len(LINE_COLORS)]
        parts += _line_parts(line, x, y, color)
        parts.append(
            f'<text x="{right + 10:.1f}" y="{name_at + 4:.1f}" '
            f'style="fill:{color}">{html.escape(line.name)}</text>'
        )
    return f'<svg class="curve" viewBox="0 0 500 300" role="img">{"".join(parts)}</svg>'


def _name_places(curve: Curve, y: _LogAxis) -> list[float]:
    """Where the name of each line stands: at its end, but below the name above it."""
    ends = [y.place(line.points[-1][1]) for line in curve.lines]
    last = -math.inf
    for k in sorted(range(len(ends)), key=lambda k: ends[k]):
        last = ends[k] = max(ends[k], last + 14)
    return ends


def _line_parts(line: Line, x: _LogAxis, y: _LogAxis, color: str) -> Iterator[str]:
    """A line and its points."""
    dashes = ' stroke-dasharray="6 4"' if line.name.startswith("native") else ""
    path = " ".join(f"{x.place(size):.1f},{y.place(value):.1f}" for size, value in line.points)
    yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dashes}/>'
    for size, seconds in line.points:
        yield (
            f'<circle cx="{x.place(size):.1f}" cy="{y.place(seconds):.1f}" r="3" fill="{color}">'
            f"<title>{html.escape(line.name)}, {size}: {duration(seconds)}</title></circle>"
        )
