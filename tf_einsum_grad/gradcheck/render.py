"""Show a report: in a terminal with rich, in a notebook or a browser with HTML."""

from __future__ import annotations

import html
import math
from typing import Any

from tf_einsum_grad.gradcheck.report import GradientReport, LeafReport
from tf_einsum_grad.gradcheck.statuses import Status

COLUMNS = ("leaf", "shape", "dtype", "status", "analytic", "numeric", "error", "tolerance")


def _number(x: float, digits: int) -> str:
    return "" if math.isnan(x) else f"{x:.{digits}g}"


def cells(leaf: LeafReport) -> tuple[str, ...]:
    """One row of the table, in the order of `COLUMNS`."""
    shape = "×".join(map(str, leaf.shape)) or "scalar"
    values = [_number(x, 4) for x in (leaf.analytic, leaf.numeric)]
    errors = [_number(x, 2) for x in (leaf.abs_error, leaf.tolerance)]
    return (leaf.name, shape, leaf.dtype, str(leaf.status), *values, *errors)


def notes(report: GradientReport) -> list[str]:
    """The lines below the table."""
    lines = [leaf.describe() for leaf in report.failed_leaves]
    lines += [f"hint: {hint}" for hint in report.hints]
    return lines + [f"warning: {warning}" for warning in report.warnings]


def footer(report: GradientReport) -> str:
    """How the result came about, in one line."""
    variants = ", ".join(f"{name} {status}" for name, status in report.variants.items())
    return (
        f"{variants} · {report.reference} reference · {report.evaluations} evaluations · "
        f"{report.backward_passes} backward passes · {report.seconds:.1f} s · seed {report.seed}"
    )


def style(status: Status) -> str:
    """A colour that rich and CSS both know."""
    if status == Status.SKIPPED:
        return "grey50"
    if status.passed:
        return "green"
    undecided = (Status.INCONCLUSIVE, Status.KINK, Status.JUMP)
    return "dark_orange" if status in undecided else "red"


def rich_report(report: GradientReport) -> Any:
    """A rich renderable: a table of leaves, then the findings."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = f"{report.status}: gradients of {report.name}"
    # Narrow, so that numbers and names of usual length fit into 80 columns.
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in COLUMNS:
        right = column in ("analytic", "numeric", "error", "tolerance")
        whole = column != "leaf"  # names may be folded, numbers may not
        table.add_column(
            column, justify="right" if right else "left", overflow="fold", no_wrap=whole
        )
    for leaf in report.leaves:
        row: list[Any] = [Text(cell) for cell in cells(leaf)]
        row[3].stylize(style(leaf.status))
        table.add_row(*row)
    return Group(table, *map(Text, notes(report)), Text(footer(report), style="dim"))


_CSS = {"grey50": "#888", "green": "#1a7f37", "dark_orange": "#b35900", "red": "#cf222e"}


def html_report(report: GradientReport) -> str:
    """A self-contained HTML fragment."""

    def paint(status: Status) -> str:
        return f"color:{_CSS[style(status)]};font-weight:600"

    head = "".join(f"<th style='text-align:left'>{c}</th>" for c in COLUMNS)
    rows = ""
    for leaf in report.leaves:
        tds = [f"<td>{html.escape(cell)}</td>" for cell in cells(leaf)]
        tds[3] = f"<td style='{paint(leaf.status)}'>{leaf.status}</td>"
        rows += f"<tr title='{html.escape(leaf.status.meaning, quote=True)}'>{''.join(tds)}</tr>"
    lines = "".join(
        f"<pre style='margin:.3em 0;white-space:pre-wrap'>{html.escape(line)}</pre>"
        for line in notes(report)
    )
    return (
        f"<div style='font-family:sans-serif'><p><span style='{paint(report.status)}'>"
        f"{report.status}</span>: gradients of {html.escape(report.name)}</p>"
        f"<table style='border-spacing:1em .2em;font-variant-numeric:tabular-nums'>"
        f"<tr>{head}</tr>{rows}</table>{lines}"
        f"<p style='color:#666;font-size:smaller'>{html.escape(footer(report))}</p></div>"
    )
