"""A profile as text."""

from __future__ import annotations

import io
from collections.abc import Sequence

from tf_einsum_grad.profiling.result import Results, Row, Step
from tf_einsum_grad.text.numbers import duration, percent, show_bytes, show_flops, times
from tf_einsum_grad.text.terminal import make_table

__all__ = ["HEAD", "cells", "reasons", "summaries", "to_text"]

HEAD = ("layer", "einsum", "shapes", "costs", "native", "ours", "faster", "saved", "share")


def to_text(profile: Results, width: int) -> str:
    """Returns it as text, in lines of at most `width` characters."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, no_color=True)
    for step in profile.steps:
        if profile.rows:
            # 100 columns have no room for how many times as fast; pages have.
            rows = [_but(cells(profile, row, step)) for row in profile.rows]
            title = f"{profile.name}: einsums and matmuls, {step.mode}"
            table = make_table(_but(HEAD), rows, n_left=4, folded=HEAD[:4], title=title)
            console.print(table)
    for line in (*reasons(profile), *summaries(profile)):
        console.print(line, markup=False)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines()) + "\n"


def _but(row: Sequence[str]) -> list[str]:
    k = HEAD.index("faster")
    return [*row[:k], *row[k + 1 :]]


def cells(profile: Results, row: Row, step: Step) -> list[str]:
    """A row of the table, beneath `HEAD`."""
    p, mode = row.product, step.mode
    shapes = " ".join("?" if s is None else ",".join(_size(n) for n in s) for s in p.shapes)
    dtype = "" if p.dtype == "float32" else f" {p.dtype}"
    calls = f" × {row.calls}" if row.calls > 1 else ""
    what = "matmul " if p.call == "matmul" else ""
    known = [p.path or "-", what + p.equation + calls + (" in a loop" if p.loop else "")]
    known.append(shapes + dtype)
    if not row.times:
        return [*known, "", "-", "-", "", "", ""]
    largest = f", {show_bytes(row.intermediate_bytes)}" if row.intermediate_bytes else ""
    native, ours = row.native(mode), row.ours(mode)
    known += [show_flops(row.flops) + largest, duration(native)]
    share = percent(native / step.native.median)
    if p.call == "matmul":
        return [*known, "", "", "", share]
    ratio = times(native / ours) if ours else "-"
    return [*known, duration(ours), ratio, _signed(row.saved(mode)), share]


def _size(n: int | None) -> str:
    return "?" if n is None else str(n)


def _signed(seconds: float) -> str:
    return ("-" if seconds < 0 else "") + duration(abs(seconds))


def reasons(profile: Results) -> list[str]:
    """What makes native slow, once for each einsum."""
    found: dict[tuple[str, str], None] = {}
    for row in profile.rows:
        if row.why:
            found[row.product.equation, row.why] = None
    return [f"{equation}: {why}" for equation, why in found]


def summaries(profile: Results) -> list[str]:
    """The whole step in each mode, what is not explained, and notes."""
    lines = []
    what = "a step of training" if profile.training else "a forward pass"
    for step in profile.steps:
        ratio = step.ratio
        line = (
            f"{step.mode}: {what} takes {duration(step.native.median)} as it is, "
            f"{duration(step.ours.median)} installed: {times(ratio.value)} "
            f"({ratio.low:.2f} to {ratio.high:.2f})"
        )
        if step.native_bytes is not None and step.ours_bytes is not None:
            peaks = show_bytes(step.native_bytes), show_bytes(step.ours_bytes)
            line += f"; peak {peaks[0]}, {peaks[1]} installed"
        lines.append(line)
        rest = profile.remainder(step.mode)
        share = percent(rest / step.native.median)
        lines.append(f"{step.mode}: {_signed(rest)} of it, {share}, is in none of the rows")
        lines.append(f"{step.mode}: results of both agree to {step.difference:.0e}")
    lines += [f"note: {note}" for note in profile.notes]
    place = profile.environment
    versions = ", ".join(f"{name} {version}" for name, version in place.versions)
    where = f"{place.date}, {place.machine}, {place.device}, {place.threads} threads"
    return [*lines, f"{where}, {versions}"]
