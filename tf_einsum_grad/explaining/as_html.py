"""Findings as an HTML fragment, for notebooks."""

from __future__ import annotations

from tf_einsum_grad.algebra.sizes import show_shape
from tf_einsum_grad.explaining.as_text import show_call, show_communication
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
        element("h4", "What runs"),
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
    native = (element("i", f"Native einsum {phrase} here.") for phrase in gradient.native)
    lines = [element("b", element("code", call)), gradient.derivation, *native]
    return element("p", *_lines(lines))


def _lines(lines: list[str]) -> list[str]:
    """Puts each in a line of its own."""
    return [part for line in lines for part in (_BREAK, line)][1:]


def _runs(found: Findings) -> Html:
    runs = [("Y", work) for work in found.forward]
    runs += [(f"dL/d{operand_name(g.operand)}", work) for g in found.gradients for work in g.work]
    head = ("for", "equation", "kernel", "permutes", "FLOPs", "moved", "scratch")
    return html_table(head, (_work_cells(name, work) for name, work in runs))


def _work_cells(name: str, work: Work) -> tuple[str, ...]:
    return (
        name,
        element("code", work.equation),
        work.kernel,
        ", ".join(work.permutes) or "none",
        show_flops(work.flops),
        show_bytes(work.bytes_moved),
        show_bytes(work.scratch_bytes) if work.scratch_bytes else "none",
    )
