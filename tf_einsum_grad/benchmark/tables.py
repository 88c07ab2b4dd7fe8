"""A report as rows of text: for the terminal, within 100 columns, and for Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from tf_einsum_grad.benchmark.results import Comparison, Curve, Memory, Results
from tf_einsum_grad.benchmark.statistics import Timing
from tf_einsum_grad.benchmark.workloads import Mode, Pass, PeerName
from tf_einsum_grad.text.numbers import duration, percent, times

__all__ = ["Table", "details", "headline", "mode_name", "notes", "suite_table", "to_markdown"]

# The head and the rows.
Table = tuple[list[str], list[list[str]]]

# A process's memory is counted in pages and holds more than tensors; below this, nothing shows.
_SMALL_BYTES = 1 << 20


def mode_name(mode: Mode) -> str:
    """What a mode is called."""
    return "XLA" if mode == "xla" else mode


def headline(results: Results) -> str:
    """One sentence: the geometric mean in each mode."""
    if len(results.comparisons) == 1:
        workload = results.comparisons[0].workload
        return f"{workload.equation}, {workload.dtype}"
    shown = [f"{results.geometric_mean(m):.2f}x in {mode_name(m)} mode" for m in results.modes]
    means = " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))
    return f"{len(results.comparisons)} workloads, forward and backward: geometric mean {means}"


def suite_table(results: Results) -> Table:
    """The header and one row for each workload, forward and backward together, then the mean.

    Columns named after modes and peers: how many times faster ours is than native in that mode,
    than that peer. `of limit`: the shares of the machine's limit that ours and native reach.
    `memory`: ours' peak as a share of native's.
    """
    which = _main_pass(results)
    peers = tuple(dict.fromkeys(p.name for c in results.comparisons for p in c.peers))
    has_memory = any(c.memory for c in results.comparisons)
    header = ["workload", "ours", "native", *results.modes, "of limit"]
    header += ["memory"] * has_memory + list(peers)
    body = [_row(results, c, which, has_memory, peers) for c in results.comparisons]
    if len(body) > 1:
        means = [times(results.geometric_mean(mode, which)) for mode in results.modes]
        rest = len(header) - 3 - len(means)
        body.append(["geometric mean", "", "", *means, *[""] * rest])
    return header, body


def _main_pass(results: Results) -> Pass:
    """Both passes where they were measured together."""
    found = {m.which for c in results.comparisons for m in c.measurements}
    return min(found, key=("both", "forward", "backward").index, default="both")


def _row(
    results: Results, c: Comparison, which: Pass, has_memory: bool, peers: tuple[PeerName, ...]
) -> list[str]:
    main = c.find(results.main_mode, which)
    ours, native = (main.ours.median, main.native.median) if main else (math.nan, math.nan)
    limit = results.limit_seconds(c.workload, which)
    found = [c.find(mode, which) for mode in results.modes]
    row = [c.workload.name, duration(ours), duration(native)]
    row += [times(m.ratio.value) if m else "-" for m in found]
    row.append(_shares(limit / ours, limit / native))
    if has_memory:
        shares = {use.mode: _memory_share(use) for use in c.memory}
        row.append(shares.get(results.main_mode, "-"))
    ratios = {peer.name: times(peer.ratio) for peer in c.peers}
    return row + [ratios.get(name, "-") for name in peers]


def _memory_share(use: Memory) -> str:
    return "-" if max(use.ours, use.native) < _SMALL_BYTES else percent(use.ours / use.native)


def _shares(ours: float, native: float) -> str:
    return "-" if math.isnan(ours) else f"{100 * ours:.0f}/{percent(native)}"


def details(c: Comparison, results: Results) -> Table:
    """The header and one row for each pass in each mode of one workload."""
    header = ["mode", "pass", "ours", "quartiles", "native", "quartiles", "ratio", "95%", "limit"]
    body = [
        [
            m.mode,
            {"both": "forward+backward"}.get(m.which, m.which),
            *_spread(m.ours),
            *_spread(m.native),
            times(m.ratio.value),
            f"{m.ratio.low:.2f}-{m.ratio.high:.2f}",
            percent(results.limit_seconds(c.workload, m.which) / m.ours.median),
        ]
        for m in c.measurements
    ]
    return header, body


def _spread(timing: Timing) -> tuple[str, str]:
    return duration(timing.median), f"{duration(timing.low)}-{duration(timing.high)}"


def notes(results: Results) -> Iterator[str]:
    """What stands below a table: limits, overheads, growth, failures, and where it was measured."""
    if results.comparisons:
        yield (
            "A ratio is the median over pairs of runs in turn: what slows both does not change it, "
            "so it need not be the quotient of the two medians."
        )
    for limit in results.limits:
        yield (
            f"Limit of this machine, {limit.dtype}: {limit.flops_per_second / 1e9:.1f} GFLOP/s in "
            f"a large matmul, {limit.bytes_per_second / 1e9:.1f} GB/s of memory."
        )
    if len(results.comparisons) == 1:
        for use in results.comparisons[0].memory:
            yield (
                f"Peak memory, {use.mode}: ours {use.ours / 1e6:.1f} MB, native "
                f"{use.native / 1e6:.1f} MB; operands, result and gradients alone "
                f"{use.needed / 1e6:.1f} MB."
            )
        for peer in results.comparisons[0].peers:
            yield (
                f"{peer.name}: {duration(peer.timing.median)}, ours in turn with it "
                f"{duration(peer.ours.median)} ({times(peer.ratio)} as fast)."
            )
    for x in results.overheads:
        both = "forward and backward" if x.which == "both" else x.which
        yield (
            f"Eager (4,5)x(5,3), {both}: over the bare kernels' {duration(x.kernels)}, ours takes "
            f"{duration(x.ours - x.kernels)} more, native {duration(x.native - x.kernels)}."
        )
    for curve in results.curves:
        yield from _curve_lines(curve)
    for failure in results.failures:
        yield f"FAILED {failure.name}: {failure.message}"
    e = results.environment
    versions = ", ".join(f"{name} {version}" for name, version in e.versions)
    yield f"{e.date}, {e.machine} ({e.device}), {e.threads} threads; {versions}."


def _curve_lines(curve: Curve) -> Iterator[str]:
    yield f"{curve.title}, by {curve.size}:"
    for line in curve.lines:
        points = ", ".join(f"{size}: {duration(seconds)}" for size, seconds in line.points)
        yield f"  {line.name}: {points}"
    lines = {line.name: dict(line.points) for line in curve.lines}
    forward, both = lines.get("ours, forward"), lines.get("ours, both")
    if forward and both:
        shares = ", ".join(f"{n}: {times(both[n] / forward[n] - 1)}" for n in forward)
        yield f"  ours, backward over forward: {shares}"


def to_markdown(results: Results) -> str:
    """The table as Markdown, then what was measured where.

    Times are medians of forward and backward together, in graph mode where it was measured; the
    columns `eager`, `graph` and `xla` say how many times faster than native.
    """
    header, body = suite_table(results)
    ruler = ["---", *["---:"] * (len(header) - 1)]
    lines = ["| " + " | ".join(line) + " |" for line in (header, ruler, *body)]
    below = [re.sub("^(  )?", r"\1* ", line) for line in notes(results)]
    return "\n".join([*lines, "", *below]) + "\n"
