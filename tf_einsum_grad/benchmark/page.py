"""A report as one self-contained HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterator

from tf_einsum_grad.benchmark.charts import curve_svg, suite_svg
from tf_einsum_grad.benchmark.results import Results
from tf_einsum_grad.benchmark.tables import (
    columns,
    details,
    headline,
    mode_name,
    notes,
    short_equation,
    wide_table,
)
from tf_einsum_grad.text.numbers import times
from tf_einsum_grad.text.pages import Html, element, html_table

__all__ = ["STYLE", "to_html"]

STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #66707f; --line: #e2e5ea;
  --page: #ffffff; --card: #f5f7fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --soft: #a2abb8; --line: #363c46;
  --page: #16191e; --card: #20252c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 1060px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.soft, footer { color: var(--soft); }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.card { background: var(--card); border-radius: .5rem; padding: .7rem 1.1rem; }
.card b { display: block; font-size: 1.5rem; line-height: 1.3; }
.card span { color: var(--soft); font-size: .85rem; }
.scroll, .chart { overflow-x: auto; }
.chart { background: #fff; border-radius: .5rem; padding: .6rem; }
.chart svg { width: 100%; height: auto; display: block; } .suite svg { min-width: 760px; }
.curves { display: flex; flex-wrap: wrap; gap: 1rem; } .curves .chart { flex: 1 1 min(420px, 100%);
  box-sizing: border-box; max-width: 510px; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; white-space: nowrap; padding: .25rem .7rem;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
table.names td:nth-child(2), table.names th:nth-child(2), table.suite td:nth-child(-n+3),
table.suite th:nth-child(-n+3) { text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .88rem; }
dd { margin: 0; } @media (max-width: 40rem) { dl { display: block; } dt { font-weight: 600; } }
tr.mean td { font-weight: 600; } details { margin: .5rem 0; } summary { cursor: pointer; }
code { font-size: .92em; } summary { overflow-wrap: anywhere; } .failed { color: #d55e00; }
"""


def to_html(results: Results) -> str:
    """The report as a page: summary, charts, tables, and where it was measured."""
    title = "tf_einsum_grad.einsum against tf.einsum, TensorFlow's own"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{html.escape(title)}</h1>\n<p class='soft'>{html.escape(headline(results))}</p>\n"
        + "\n".join(_sections(results))
        + "\n</body></html>\n"
    )


def _sections(results: Results) -> Iterator[str]:
    yield _cards(results)
    for failure in results.failures:
        name, message = html.escape(failure.name), html.escape(failure.message)
        yield f"<p class='failed'><b>Failed: {name}.</b> {message}</p>"
    try:
        yield from _charts(results)
    except ImportError as error:
        yield f"<p class='soft'>No chart: {html.escape(str(error))}</p>"
    if len(results.comparisons) > 1:
        header, (*body, mean) = wide_table(results)
        last = element("tr", *(element("td", cell) for cell in mean), class_="mean")
        cells = [[row[0], element("code", row[1]), *row[2:]] for row in body]
        table = html_table(header, [*cells, last], sections=True, class_="suite")
        yield f"<h2>Einsums</h2>{_scrolling(table)}"
        terms = (
            element("dt", names) + element("dd", what.replace("`", ""))
            for names, what in columns(results)
        )
        yield f"<dl class='soft'>{''.join(terms)}</dl>"
    yield "<h2>Every measurement</h2>" + "".join(_details(results))
    lines = "".join(f"<li>{html.escape(line.strip())}</li>" for line in notes(results))
    yield f"<footer><h2>Measured</h2><ul>{lines}</ul></footer>"


def _charts(results: Results) -> Iterator[str]:
    suite = suite_svg(results)
    if suite:
        yield f"<h2>Forward and backward</h2>{element('div', suite, class_='suite chart')}"
    curves = [svg for curve in results.curves if (svg := curve_svg(curve))]
    if curves:
        cards = (element("div", svg, class_="chart") for svg in curves)
        yield f"<h2>How cost grows</h2>{element('div', *cards, class_='curves')}"


def _cards(results: Results) -> str:
    cards = []
    for mode in results.modes:
        ratios = [m.ratio.value for c in results.comparisons if (m := c.find(mode))]
        if ratios:
            below = f"; lowest {times(min(ratios))}" if len(ratios) > 1 else ""
            mean = times(results.geometric_mean(mode))
            cards.append(_card(mean, f"{mode_name(mode)}{below}"))
    for limit in results.limits:
        arithmetic = f"{limit.flops_per_second / 1e9:.0f} GFLOP/s"
        cards.append(_card(arithmetic, f"{limit.dtype} matmul, this machine"))
        cards.append(_card(f"{limit.bytes_per_second / 1e9:.1f} GB/s", "memory bandwidth"))
    return element("div", *cards, class_="cards")


def _card(figure: str, what: str) -> Html:
    return element("div", element("b", figure), element("span", what), class_="card")


def _details(results: Results) -> Iterator[str]:
    is_open = " open" if len(results.comparisons) == 1 else ""
    for c in results.comparisons:
        header, body = details(c, results)
        table = html_table(header, body, sections=True, class_="names")
        w = c.workload
        shapes = " ".join(str(shape).replace(" ", "") for shape in w.shapes[:4])
        more = " ..." if len(w.shapes) > 4 else ""
        yield (
            f"<details{is_open}><summary>{html.escape(w.name)} "
            f"<code>{html.escape(short_equation(w.equation, 60))}</code> "
            f"<span class='soft'>{shapes}{more} {w.dtype}, bound by {results.bound_by(w)}</span>"
            f"</summary>{_scrolling(table)}</details>"
        )


def _scrolling(table: Html) -> Html:
    return element("div", table, class_="scroll")
