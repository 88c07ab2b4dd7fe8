"""A profile as one self-contained HTML page: a bar for each layer, native beside ours."""

from __future__ import annotations

import html
from collections.abc import Iterator

from tf_einsum_grad.benchmark.page import STYLE
from tf_einsum_grad.profiling.result import Results, Row, Step
from tf_einsum_grad.profiling.tables import HEAD, cells, reasons, summaries
from tf_einsum_grad.text.numbers import duration, percent, show_bytes, times
from tf_einsum_grad.text.pages import Html, element, html_table

__all__ = ["body", "scoped_style", "to_html"]

_BARS = """
.bars { display: grid; grid-template-columns: minmax(9rem, 22rem) 1fr; gap: .55rem 1rem;
  align-items: center; font-size: .88rem; }
.bars .name { overflow-wrap: anywhere; } .bars .name code { color: var(--soft); }
.bar { display: flex; align-items: center; gap: .5rem; height: 1rem; margin: .1rem 0;
  white-space: nowrap; }
.bar i { display: block; height: 100%; min-width: 2px; border-radius: .15rem; }
.native i { background: #9aa3af; } .ours i { background: #0072b2; }
@media (prefers-color-scheme: dark) { .native i { background: #7b8492; }
  .ours i { background: #4ba3d8; } }
table.rows td:nth-child(-n+3), table.rows th:nth-child(-n+3) { text-align: left; }
table.rows td:nth-child(-n+3) { overflow-wrap: anywhere; white-space: normal; min-width: 7rem; }
.key span { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem;
  margin: 0 .3rem 0 1rem; vertical-align: -.08rem; }
@media (max-width: 40rem) { .bars { grid-template-columns: 1fr; gap: .1rem; }
  .bars .name { margin-top: .5rem; } }
"""
_MOST_BARS = 24


def to_html(profile: Results) -> str:
    """The profile as a page."""
    title = f"Einsums of {profile.name}"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}{_BARS}</style></head><body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body(profile)}\n</body></html>\n"
    )


def scoped_style() -> Html:
    """The style of what `body` gives, for a notebook, which has a style of its own."""
    return Html(
        f"<style>:root {{ --soft: #66707f; --line: #c9ced6; --card: #8881; }}{_BARS}</style>"
    )


def body(profile: Results) -> Html:
    """What there is to see, without a page around it."""
    return Html("\n".join(_sections(profile)))


def _sections(profile: Results) -> Iterator[str]:
    for step in profile.steps:
        if len(profile.steps) > 1:
            yield element("h2", f"In {step.mode} mode")
        yield _cards(step)
        if any(row.times for row in profile.rows):
            yield _key()
            yield _bars(profile, step)
        if profile.rows:
            rows = [cells(profile, row, step) for row in profile.rows]
            table = html_table(HEAD, rows, sections=True, class_="rows")
            yield element("h2", "Every row")
            yield element("div", table, class_="scroll")
    why = reasons(profile)
    if why:
        yield element("h2", "Why native is slow there")
        yield element("ul", *(element("li", line) for line in why))
    lines = (element("li", line) for line in summaries(profile))
    yield element("footer", element("h2", "Measured"), element("ul", *lines))


def _cards(step: Step) -> Html:
    figures = [
        (duration(step.native.median), "a step as it is"),
        (duration(step.ours.median), "installed"),
        (times(step.ratio.value), f"{step.ratio.low:.2f} to {step.ratio.high:.2f}"),
    ]
    if step.native_bytes is not None and step.ours_bytes is not None:
        peaks = f"{show_bytes(step.native_bytes)} → {show_bytes(step.ours_bytes)}"
        figures.append((peaks, "peak memory, as it is and installed"))
    cards = (element("div", element("b", a), element("span", b), class_="card") for a, b in figures)
    return element("div", *cards, class_="cards")


def _key() -> Html:
    colors = (("#9aa3af", "native"), ("#0072b2", "ours"))
    parts = [Html(f"<span style='background:{color}'></span>{name}") for color, name in colors]
    return element("p", Html("".join(parts)), class_="soft key")


def _bars(profile: Results, step: Step) -> Html:
    """A pair of bars for each row that takes time, the longest first; then what is left."""
    mode = step.mode
    timed = sorted((r for r in profile.rows if r.times), key=lambda r: -r.native(mode))
    shown, others = timed[:_MOST_BARS], timed[_MOST_BARS:]
    rest = profile.remainder(mode) + sum(row.native(mode) for row in others)
    longest = max(seconds for row in shown for seconds in (row.native(mode), row.ours(mode)))
    parts: list[str] = []
    for row in shown:
        pair = [_bar("native", row.native(mode), longest)]
        if row.product.call != "matmul":
            faster = times(row.native(mode) / row.ours(mode)) if row.ours(mode) else ""
            pair.append(_bar("ours", row.ours(mode), longest, faster))
        parts += [_name(row), element("div", *pair)]
    share = percent(rest / step.native.median)
    parts += [
        element("div", "everything else", class_="name"),
        element("div", f"{duration(rest)}, {share} of the step", class_="soft"),
    ]
    return element("div", *parts, class_="bars")


def _name(row: Row) -> Html:
    calls = f" × {row.calls}" if row.calls > 1 else ""
    call = "matmul " if row.product.call == "matmul" else ""
    einsum = element("code", f"{call}{row.product.equation}{calls}")
    return element("div", row.product.path or "-", Html("<br>"), einsum, class_="name")


def _bar(kind: str, seconds: float, longest: float, more: str = "") -> Html:
    width = 75 * seconds / longest if longest > 0 else 0
    line = Html(f"<i style='width:{width:.2f}%'></i>")
    label = duration(seconds) + (f", {more}" if more else "")
    return element("div", line, element("span", label), class_=f"bar {kind}")
