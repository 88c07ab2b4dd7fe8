"""An `Explanation` as text and as HTML."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tf_einsum_grad.algebra.roles import UNKNOWN_SIZE
from tf_einsum_grad.algebra.sizes import show_shape

if TYPE_CHECKING:
    from tf_einsum_grad.explaining.explanation import Explanation, Gradient, Work
    from tf_einsum_grad.explaining.sharding import Communication

__all__ = ["operand_name", "show_bytes", "show_flops", "to_html", "to_text"]

_WIDTH = 98


def operand_name(k: int) -> str:
    """A, B, C, ... and, after W, A23, A24, ...: Y is the output."""
    return chr(ord("A") + k) if k < 23 else f"A{k}"


def show_bytes(n: int) -> str:
    """Bytes in decimal units: "4.3 GB"."""
    return _scaled(n, ("B", "kB", "MB", "GB", "TB", "PB"))


def show_flops(n: int) -> str:
    """Multiplications and additions: "8.2 GFLOP"."""
    return _scaled(n, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"))


def _scaled(n: int, units: Sequence[str]) -> str:
    power = min(max(len(str(n)) - 1, 0) // 3, len(units) - 1)
    return f"{n / 1000**power:.{1 if power else 0}f} {units[power]}"


def to_text(explanation: Explanation) -> str:
    """The explanation as lines of at most 98 characters."""
    return "\n".join(_lines(explanation))


def _lines(e: Explanation) -> Iterator[str]:
    operands = [f"{operand_name(k)}{show_shape(shape)}" for k, shape in enumerate(e.shapes)]
    call = f"Y = einsum('{e.equation}', {', '.join(operands)})  ->  Y{show_shape(e.output_shape)}"
    yield from _wrapped(call, first="")
    yield from _wrapped(e.dtype + (f"; that is, {e.expanded}" if _differs(e) else ""))
    if _has_unknown(e):
        yield f"    Sizes shown as ? are unknown; figures take {UNKNOWN_SIZE} for each of them."
    yield ""
    yield "Labels"
    for role in e.roles:
        size = "?" if role.size is None else str(role.size)
        yield f"    {role.label}  {size:>6}  {role.role}  ({', '.join(role.places)})"
    yield ""
    yield f"Forward: {show_flops(e.flops_forward)}"
    for work in e.forward:
        yield from _wrapped(_work(work))
    if len(e.forward) > 1:
        yield f"    Largest tensor on the way: {show_bytes(e.largest_intermediate_bytes)}."
    yield ""
    yield f"Backward, all gradients: {show_flops(e.flops_backward)}"
    for gradient in e.gradients:
        yield ""
        yield from _gradient_lines(gradient)
    if e.communication:
        yield ""
        yield "Communication, on the mesh"
        for part in e.communication:
            yield from _wrapped(_communication(part))


def _communication(part: Communication) -> str:
    if not part.reduced:
        return f"{part.what}: {part.equation} sends nothing."
    return (
        f"{part.what}: {part.equation} sums over {', '.join(part.reduced)}: an all-reduce of "
        f"{show_bytes(part.bytes)} over {part.devices} devices, {show_bytes(part.bytes_sent)} sent "
        "by each."
    )


def _gradient_lines(gradient: Gradient) -> Iterator[str]:
    yield from _wrapped(f"dL/d{operand_name(gradient.operand)} = {show_call(gradient)}", first="  ")
    yield from _wrapped(gradient.derivation)
    if len(gradient.work) > 1:
        yield "    What runs, sharing the intermediates of the forward pass:"
    for work in gradient.work:
        yield from _wrapped(("Runs " if len(gradient.work) == 1 else "- ") + _work(work))
    for phrase in gradient.native:
        yield from _wrapped(f"Native einsum {phrase} here.")


def show_call(gradient: Gradient) -> str:
    """The gradient as a call: `einsum('imn,ijkn->ijkm', dL/dY, B)`."""
    count = gradient.equation.split("->")[0].count(",") + 1
    names = ["dL/dY" if k == gradient.operand else operand_name(k) for k in range(count)]
    return f"einsum('{gradient.equation}', {', '.join(names)})"


def _differs(e: Explanation) -> bool:
    return e.expanded != "".join(e.equation.split())


def _has_unknown(e: Explanation) -> bool:
    return any(role.size is None for role in e.roles)


def _wrapped(text: str, first: str = "    ") -> Iterator[str]:
    """Lines that are as long as they may be; an equation that is longer goes on in the next one."""
    return iter(
        textwrap.wrap(
            text, _WIDTH, initial_indent=first, subsequent_indent="    ", break_on_hyphens=False
        )
    )


def _work(work: Work) -> str:
    permutes = f", permuting {' and '.join(work.permutes)}" if work.permutes else ""
    scratch = f", {show_bytes(work.scratch_bytes)} of scratch" if work.scratch_bytes else ""
    return (
        f"{work.equation} by {work.kernel}{permutes}: {show_flops(work.flops)}, "
        f"{show_bytes(work.bytes_moved)} moved{scratch}."
    )


def to_html(e: Explanation) -> str:
    """The explanation as an HTML fragment, for notebooks."""
    operands = ", ".join(
        f"{operand_name(k)}<small>{show_shape(shape)}</small>" for k, shape in enumerate(e.shapes)
    )
    labels = _table(
        ("label", "size", "role", "in"),
        (
            (
                f"<code>{html.escape(role.label)}</code>",
                "?" if role.size is None else f"{role.size}",
                role.role,
                ", ".join(role.places),
            )
            for role in e.roles
        ),
    )
    work = [("Y", w) for w in e.forward]
    work += [(f"dL/d{operand_name(g.operand)}", w) for g in e.gradients for w in g.work]
    runs = _table(
        ("for", "equation", "kernel", "permutes", "FLOPs", "moved", "scratch"),
        (
            (
                name,
                f"<code>{html.escape(w.equation)}</code>",
                w.kernel,
                ", ".join(w.permutes) or "none",
                show_flops(w.flops),
                show_bytes(w.bytes_moved),
                show_bytes(w.scratch_bytes) if w.scratch_bytes else "none",
            )
            for name, w in work
        ),
    )
    gradients = "".join(
        f"<p><b><code>dL/d{operand_name(g.operand)} = {html.escape(show_call(g))}</code></b><br>"
        f"{html.escape(g.derivation)}"
        + "".join(f"<br><i>Native einsum {html.escape(p)} here.</i>" for p in g.native)
        + "</p>"
        for g in e.gradients
    )
    sent = "".join(f"<br>{html.escape(_communication(part))}" for part in e.communication)
    sent = f"<h4>Communication</h4><p>{sent.removeprefix('<br>')}</p>" if sent else ""
    return (
        f"<div><h4>Y = einsum(<code>'{html.escape(e.equation)}'</code>, {operands}) &rarr; "
        f"Y<small>{show_shape(e.output_shape)}</small></h4>{labels}"
        f"<h4>Gradients</h4>{gradients}<h4>What runs</h4>{runs}{sent}</div>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"
