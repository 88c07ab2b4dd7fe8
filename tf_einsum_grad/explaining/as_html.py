"""Findings as an HTML fragment, for notebooks."""

from __future__ import annotations

from tf_einsum_grad.algebra.sizes import show_shape
from tf_einsum_grad.explaining.as_text import (
    show_call,
    show_communication,
    show_drawbacks,
    where_it_runs,
)
from tf_einsum_grad.explaining.findings import Findings, Gradient, Work
from tf_einsum_grad.explaining.names import operand_name
from tf_einsum_grad.text.numbers import show_bytes, show_flops
from tf_einsum_grad.text.pages import Html, element, html_table

__all__ = ["to_html"]

_BREAK = Html("<br>")


def to_html(findings: Findings) -> Html:
    """Writes the findings down, from the call to what is sent."""
    parts = [
        _call(findings),
        _labels(findings),
        element("h4", "Gradients"),
        *map(_gradient, findings.gradients),
        element("h4", f"What runs {where_it_runs(findings)}, {findings.dtype}"),
        _runs(findings),
    ]
    if findings.communication:
        sentences = [show_communication(part) for part in findings.communication]
        parts += [element("h4", "Communication"), element("p", *_lines(sentences))]
    return element("div", *parts)


def _call(found: Findings) -> Html:
    head = ["Y = einsum(", element("code", f"'{found.equation}'")]
    for k, shape in enumerate(found.shapes):
        head += [", ", operand_name(k), element("small", show_shape(shape))]
    result = element("small", show_shape(found.output_shape))
    return element("h4", *head, ") ", Html("&rarr;"), " Y", result)


def _labels(found: Findings) -> Html:
    rows = (
        (
            element("code", role.label),
            "?" if role.size is None else str(role.size),
            role.role,
            ", ".join(role.places),
        )
        for role in found.roles
    )
    return html_table(("label", "size", "role", "in"), rows)


def _gradient(gradient: Gradient) -> Html:
    call = f"dL/d{operand_name(gradient.operand)} = {show_call(gradient)}"
    lines = [element("b", element("code", call)), gradient.derivation]
    if len(gradient.work) == 1:
        lines.append(_labelled("Runs", gradient.work[0].call))
    if gradient.native:
        lines.append(_labelled("Native", gradient.native.call, show_drawbacks(gradient)))
    return element("p", *_lines(lines))


def _labelled(what: str, call: str, then: str = "") -> Html:
    return element("span", f"{what}: ", element("code", call), then)


def _lines(lines: list[str]) -> list[str]:
    """Puts each in a line of its own."""
    return [part for line in lines for part in (_BREAK, line)][1:]


def _runs(found: Findings) -> Html:
    works = [*found.forward, *(work for g in found.gradients for work in g.work)]
    rows = (_work_cells(work) for work in dict.fromkeys(works))
    return html_table(("", "what runs", "FLOPs", "moved", "scratch"), rows)


def _work_cells(work: Work) -> tuple[str, ...]:
    return (
        work.result,
        element("code", work.call),
        show_flops(work.flops),
        show_bytes(work.bytes_moved),
        show_bytes(work.scratch_bytes) if work.scratch_bytes else "none",
    )
