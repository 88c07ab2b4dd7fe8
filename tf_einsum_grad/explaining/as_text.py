"""Findings as text, in lines of at most 98 characters."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tf_einsum_grad.algebra.roles import UNKNOWN_SIZE
from tf_einsum_grad.algebra.sizes import show_shape
from tf_einsum_grad.explaining.findings import Findings, Gradient, Work
from tf_einsum_grad.explaining.names import operand_name, tensor_names
from tf_einsum_grad.explaining.sharding import Communication
from tf_einsum_grad.text.numbers import show_bytes, show_flops

__all__ = ["show_call", "show_communication", "to_text"]

_WIDTH = 98


def to_text(findings: Findings) -> str:
    """Writes the findings down, from the call to what is sent."""
    backward = f"Backward, all gradients: {show_flops(findings.flops_backward)}"
    parts = [_call(findings), _labels(findings), _forward(findings), [backward]]
    parts += map(_gradient, findings.gradients)
    if findings.communication:
        parts.append(_communication(findings))
    return "\n\n".join("\n".join(part) for part in parts)


def _call(found: Findings) -> Iterator[str]:
    operands = [f"{operand_name(k)}{show_shape(shape)}" for k, shape in enumerate(found.shapes)]
    result = f"Y{show_shape(found.output_shape)}"
    call = f"Y = einsum('{found.equation}', {', '.join(operands)})  ->  {result}"
    yield from _wrapped(call, first="")
    differs = found.expanded != "".join(found.equation.split())
    yield from _wrapped(found.dtype + f"; that is, {found.expanded}" * differs)
    if any(role.size is None for role in found.roles):
        hints = "".join(f"{size} for {label}, " for label, size in found.size_hints)
        each = "any other" if hints else "each of them"
        yield from _wrapped(
            f"Sizes shown as ? are unknown; figures take {hints}{UNKNOWN_SIZE} for {each}."
        )


def _labels(found: Findings) -> Iterator[str]:
    yield "Labels"
    for role in found.roles:
        size = "?" if role.size is None else str(role.size)
        yield f"    {role.label}  {size:>6}  {role.role}  ({', '.join(role.places)})"


def _forward(found: Findings) -> Iterator[str]:
    yield f"Forward: {show_flops(found.flops_forward)}"
    for work in found.forward:
        yield from _wrapped(_work(work))
    if len(found.forward) > 1:
        largest = show_bytes(found.largest_intermediate_bytes)
        yield f"    Largest tensor on the way: {largest}."


def _gradient(gradient: Gradient) -> Iterator[str]:
    yield from _wrapped(f"dL/d{operand_name(gradient.operand)} = {show_call(gradient)}", first="  ")
    yield from _wrapped(gradient.derivation)
    if len(gradient.work) > 1:
        yield "    What runs, sharing the intermediates of the forward pass:"
    for work in gradient.work:
        yield from _wrapped(("Runs " if len(gradient.work) == 1 else "- ") + _work(work))
    for phrase in gradient.native:
        yield from _wrapped(f"Native einsum {phrase} here.")


def _communication(found: Findings) -> Iterator[str]:
    yield "Communication, on the mesh"
    for part in found.communication:
        yield from _wrapped(show_communication(part))


def show_call(gradient: Gradient) -> str:
    """Writes the gradient as a call: `einsum('imn,ijkn->ijkm', dL/dY, B)`."""
    names = tensor_names(gradient.equation.split("->")[0].count(",") + 1)
    names[gradient.operand] = "dL/dY"
    return f"einsum('{gradient.equation}', {', '.join(names[:-1])})"


def show_communication(part: Communication) -> str:
    """Says what one contraction sends."""
    if not part.reduced:
        return f"{part.what}: {part.equation} sends nothing."
    return (
        f"{part.what}: {part.equation} sums over {', '.join(part.reduced)}: an all-reduce of "
        f"{show_bytes(part.bytes)} over {part.devices} devices, {show_bytes(part.bytes_sent)} sent "
        "by each."
    )


def _work(work: Work) -> str:
    permutes = f", permuting {' and '.join(work.permutes)}" if work.permutes else ""
    scratch = f", {show_bytes(work.scratch_bytes)} of scratch" if work.scratch_bytes else ""
    return (
        f"{work.equation} by {work.kernel}{permutes}: {show_flops(work.flops)}, "
        f"{show_bytes(work.bytes_moved)} moved{scratch}."
    )


def _wrapped(text: str, first: str = "    ") -> list[str]:
    """Fills lines; an equation that is longer than one goes on in the next."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent="    ", break_on_hyphens=False
    )
