"""A report as one self-contained HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence

from tf_einsum_grad.benchmark.figures import COLOURS, headline
from tf_einsum_grad.benchmark.report import Report
from tf_einsum_grad.benchmark.svg import legend, line_chart, suite_chart
from tf_einsum_grad.benchmark.tables import details, notes, suite_table, times

__all__ = ["to_html"]

_STYLE = f"""
:root {{ color-scheme: light dark; --ink: #1d2129; --soft: #66707f; --line: #e2e5ea;
  --page: #ffffff; --card: #f5f7fa; --slower: #f9ece4; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e8eaee; --soft: #a2abb8; --line: #363c46;
  --page: #16191e; --card: #20252c; --slower: #33261f; }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 1060px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; margin: 0; }} h2 {{ font-size: 1.15rem; margin: 2.2rem 0 .6rem; }}
.soft, footer {{ color: var(--soft); }}
.cards {{ display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }}
.card {{ background: var(--card); border-radius: .5rem; padding: .7rem 1.1rem; }}
.card b {{ display: block; font-size: 1.5rem; line-height: 1.3; }}
.card span {{ color: var(--soft); font-size: .85rem; }}
svg {{ width: 100%; height: auto; display: block; }}
svg.suite {{ min-width: 760px; }}
svg.curve {{ max-width: 500px; }} svg.key {{ width: 14px; height: 14px; }}
.curves {{ display: flex; flex-wrap: wrap; gap: 1rem; }} .curves svg {{ flex: 1 1 420px; }}
.legend {{ display: flex; gap: 1.4rem; flex-wrap: wrap; margin: .4rem 0 .8rem; }}
.legend span {{ display: flex; align-items: center; gap: .4rem; }}
text {{ font-size: 12px; fill: var(--ink); }} text.title {{ font-weight: 600; font-size: 13px; }}
text.label {{ text-anchor: end; }} text.tick {{ text-anchor: middle; fill: var(--soft); }}
line.grid {{ stroke: var(--line); }} line.one {{ stroke: var(--ink); }}
line.link {{ stroke: var(--line); stroke-width: 3; }} rect.slower {{ fill: var(--slower); }}
circle.native {{ fill: var(--page); stroke: var(--soft); stroke-width: 1.5; }}
{"".join(f".{m} {{ fill: {c}; stroke: {c}; }} " for m, c in COLOURS.items())}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .88rem;
  font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; white-space: nowrap; padding: .25rem .7rem;
  border-bottom: 1px solid var(--line); }}
th {{ color: var(--soft); font-weight: 600; }}
th:first-child, td:first-child {{ text-align: left; }}
table.names td:nth-child(2), table.names th:nth-child(2) {{ text-align: left; }}
tr.mean td {{ font-weight: 600; }} details {{ margin: .5rem 0; }} summary {{ cursor: pointer; }}
code {{ font-size: .92em; }} .failed {{ color: #d55e00; }}
"""


def to_html(report: Report) -> str:
    """The report as a page: summary, charts, tables, and where it was measured."""
    title = "tf_einsum_grad against tf.einsum"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{title}</h1>\n<p class='soft'>{html.escape(headline(report))}</p>\n"
        + "\n".join(_sections(report))
        + "\n</body></html>\n"
    )


def _sections(report: Report) -> Iterator[str]:
    yield _cards(report)
    for failure in report.failures:
        name, message = html.escape(failure.name), html.escape(failure.message)
        yield f"<p class='failed'><b>Failed: {name}.</b> {message}</p>"
    chart = suite_chart(report)
    if chart:
        yield f"<h2>Forward and backward</h2>{legend(report)}<div class='scroll'>{chart}</div>"
    if len(report.comparisons) > 1:
        header, body = suite_table(report)
        yield f"<h2>Workloads</h2>{_table(header, body, mean=True)}"
        yield (
            f"<p class='soft'>Times are medians in {report.main_mode} mode. Columns named after "
            "modes and other libraries: how many times faster tf_einsum_grad is than native "
            "einsum in that mode, and than that library. <i>of limit</i>: the shares that "
            "tf_einsum_grad and native reach of what the machine's matmul rate and memory "
            "bandwidth allow. <i>memory</i>: peak, as a share of native's.</p>"
        )
    curves = [line_chart(curve) for curve in report.curves]
    if any(curves):
        yield f"<h2>How cost grows</h2><div class='curves'>{''.join(curves)}</div>"
    yield "<h2>Every measurement</h2>" + "".join(_details(report))
    lines = "".join(f"<li>{html.escape(line.strip())}</li>" for line in notes(report))
    yield f"<footer><h2>Measured</h2><ul>{lines}</ul></footer>"


def _cards(report: Report) -> str:
    cards = []
    for mode in report.modes:
        found = [m for m in (c.find(mode) for c in report.comparisons) if m is not None]
        if not found:
            continue
        name = "XLA" if mode == "xla" else mode
        lowest = min(found, key=lambda m: m.ratio.value).ratio.value
        below = f"; lowest {times(lowest)}" if len(found) > 1 else ""
        mean = times(report.geometric_mean(mode))
        cards.append(f"<div class='card'><b>{mean}</b><span>{name} mode{below}</span></div>")
    for limit in report.limits:
        cards.append(
            f"<div class='card'><b>{limit.flops_per_second / 1e9:.0f} GFLOP/s</b>"
            f"<span>{limit.dtype} matmul, this machine</span></div>"
            f"<div class='card'><b>{limit.bytes_per_second / 1e9:.1f} GB/s</b>"
            "<span>memory bandwidth</span></div>"
        )
    return f"<div class='cards'>{''.join(cards)}</div>"


def _details(report: Report) -> Iterator[str]:
    is_open = " open" if len(report.comparisons) == 1 else ""
    for c in report.comparisons:
        header, body = details(c, report)
        w = c.workload
        shapes = " ".join(str(shape).replace(" ", "") for shape in w.shapes[:4])
        more = " ..." if len(w.shapes) > 4 else ""
        equation = w.equation if len(w.equation) < 60 else w.equation[:57] + "..."
        yield (
            f"<details{is_open}><summary>{html.escape(w.name)} "
            f"<code>{html.escape(equation)}</code> "
            f"<span class='soft'>{shapes}{more} {w.dtype}, bound by {report.bound_by(w)}</span>"
            f"</summary>{_table(header, body, names=True)}</details>"
        )


def _table(
    header: Sequence[str], body: Iterable[Sequence[str]], mean: bool = False, names: bool = False
) -> str:
    rows = list(body)
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    lines = []
    for k, row in enumerate(rows):
        kind = " class='mean'" if mean and k == len(rows) - 1 else ""
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        lines.append(f"<tr{kind}>{cells}</tr>")
    kind = " class='names'" if names else ""
    return (
        f"<div class='scroll'><table{kind}><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
