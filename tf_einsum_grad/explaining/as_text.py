"""Findings as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tf_einsum_grad.algebra.roles import UNKNOWN_SIZE
from tf_einsum_grad.algebra.sizes import show_shape
from tf_einsum_grad.explaining.findings import Findings, Gradient, Work
from tf_einsum_grad.explaining.memory import show_memory
from tf_einsum_grad.explaining.names import operand_name
from tf_einsum_grad.explaining.sharding import Communication
from tf_einsum_grad.text.numbers import show_bytes, show_flops

__all__ = [
    "show_call",
    "show_communication",
    "show_cost",
    "show_drawbacks",
    "to_text",
    "where_it_runs",
]

_MACHINES = {"cpu": "CPU (without oneDNN)", "cpu-onednn": "CPU (with oneDNN)", "gpu": "GPU"}
_WHERE = {"graph": "in tf.function", "eager": "in eager mode", "xla": "under XLA"}


def to_text(findings: Findings, width: int) -> str:
    """Writes the findings down, from the call to what is sent, in lines of at most `width`."""
    backward = f"Backward, all gradients: {show_flops(findings.flops_backward)}"
    parts = [_call(findings), _labels(findings), _forward(findings), iter([backward])]
    parts += map(_gradient, findings.gradients)
    if findings.memory:
        parts.append(show_memory(findings.memory))
    if findings.communication:
        parts.append(_communication(findings))
    return "\n\n".join(
        "\n".join(line for text in part for line in _wrapped(text, width)) for part in parts
    )


def _wrapped(text: str, width: int) -> list[str]:
    """Fills lines; those after the first stand as deep as the text after the first column.

    An equation that is longer than a line goes on in the next.
    """
    start = len(text) - len(text.lstrip())
    column = text.find("\t")
    deeper = " " * (column if column >= 0 else start + 4 * (start == 0))
    return textwrap.wrap(
        text.replace("\t", "", 1),
        max(width, len(deeper) + 8),
        initial_indent="",
        subsequent_indent=deeper,
        break_on_hyphens=False,
    )


def _call(found: Findings) -> Iterator[str]:
    operands = [f"{operand_name(k)}{show_shape(shape)}" for k, shape in enumerate(found.shapes)]
    result = f"Y{show_shape(found.output_shape)}"
    yield f"Y = einsum('{found.equation}', {', '.join(operands)})  ->  {result}"
    differs = "".join(found.expanded.split()) != "".join(found.equation.split())
    where = f"    {found.dtype}, {where_it_runs(found)}"
    yield where + f"; that is, {found.expanded}" * differs
    if any(role.size is None for role in found.roles):
        hints = "".join(f"{size} for {label}, " for label, size in found.size_hints)
        each = "any other" if hints else "each of them"
        yield (f"    Sizes shown as ? are unknown; figures take {hints}{UNKNOWN_SIZE} for {each}.")


def _labels(found: Findings) -> Iterator[str]:
    yield "Labels"
    width = max((len(role.label) for role in found.roles), default=1)
    for role in found.roles:
        size = "?" if role.size is None else str(role.size)
        yield f"    {role.label:<{width}}  {size:>6}  \t{role.role}  ({', '.join(role.places)})"


def _forward(found: Findings) -> Iterator[str]:
    yield f"Forward: {show_flops(found.flops_forward)}"
    for work in found.forward:
        yield f"    {_work(work)}"
    if len(found.forward) > 1:
        largest = show_bytes(found.largest_intermediate_bytes)
        yield f"    Largest tensor on the way: {largest}."


def _gradient(gradient: Gradient) -> Iterator[str]:
    yield f"  dL/d{operand_name(gradient.operand)} = {show_call(gradient)}"
    yield f"    {gradient.derivation}"
    if len(gradient.work) == 1:
        (work,) = gradient.work
        yield f"    Runs:   \t{work.call}: {show_cost(work)}."
    else:
        yield "    Runs, sharing the intermediates of the forward pass:"
        for work in gradient.work:
            yield f"      {_work(work)}"
    if gradient.native:
        yield f"    Native: \t{gradient.native.call}{show_drawbacks(gradient)}."


def _work(work: Work) -> str:
    return f"{work.result} = \t{work.call}: {show_cost(work)}."


def _communication(found: Findings) -> Iterator[str]:
    yield "Communication, on the mesh"
    for part in found.communication:
        yield f"    {show_communication(part)}"


def where_it_runs(found: Findings) -> str:
    """Says in which mode, and on what machine."""
    return f"{_WHERE[found.target]}, on {_MACHINES.get(found.machine, found.machine)}"


def show_call(gradient: Gradient) -> str:
    """Writes the gradient as a call: `einsum('imn,ijkn->ijkm', dL/dY, B)`."""
    return f"einsum('{gradient.equation}', {', '.join(gradient.operands)})"


def show_cost(work: Work) -> str:
    """Says what a contraction costs."""
    scratch = f", {show_bytes(work.scratch_bytes)} of scratch" if work.scratch_bytes else ""
    return f"{show_flops(work.flops)}, {show_bytes(work.bytes_moved)} moved{scratch}"


def show_drawbacks(gradient: Gradient) -> str:
    """Says what native does worse, after its call; nothing where it does as well."""
    drawbacks = gradient.native.drawbacks if gradient.native else ()
    return f", which {' and '.join(drawbacks)}" if drawbacks else ""


def show_communication(part: Communication) -> str:
    """Says what one contraction sends."""
    if not part.reduced:
        return f"{part.what}: {part.equation} sends nothing."
    return (
        f"{part.what}: {part.equation} sums over {', '.join(part.reduced)}: an all-reduce of "
        f"{show_bytes(part.bytes)} over {part.devices} devices, {show_bytes(part.bytes_sent)} sent "
        "by each."
    )
