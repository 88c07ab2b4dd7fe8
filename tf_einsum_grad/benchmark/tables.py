"""A report as rows of text: for the terminal, within 100 columns, and for Markdown and pages."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from tf_einsum_grad.benchmark.results import Comparison, Curve, Memory, Results
from tf_einsum_grad.benchmark.statistics import Ratio, Timing
from tf_einsum_grad.benchmark.workloads import Mode, Pass, PeerName, Workload
from tf_einsum_grad.text.numbers import duration, percent, times

__all__ = [
    "Table",
    "columns",
    "details",
    "headline",
    "machine",
    "mode_name",
    "notes",
    "short_equation",
    "suite_table",
    "to_markdown",
    "wide_table",
]

# The head and the rows.
Table = tuple[list[str], list[list[str]]]

# An interval whose ends are so far apart says little: where 1 is in it, not even which is faster.
_WIDE_INTERVAL, _WIDE_INTERVAL_AROUND_1 = 3.0, 1.4

# A process's memory is counted in pages and holds more than tensors; below this, nothing shows.
_SMALL_BYTES = 1 << 20


def mode_name(mode: Mode) -> str:
    """What a mode is called."""
    return {"eager": "eager mode", "graph": "tf.function", "xla": "XLA"}[mode]


def headline(results: Results) -> str:
    """One sentence: the geometric mean in each mode."""
    if len(results.comparisons) == 1:
        workload = results.comparisons[0].workload
        return f"{workload.equation}, {workload.dtype}"
    means = ", ".join(
        f"{results.geometric_mean(m):.2f}x {'under' if m == 'xla' else 'in'} {mode_name(m)}"
        for m in results.modes
    )
    n = len(results.comparisons)
    return f"Times as fast, the geometric mean of {n} einsums, forward and backward: {means}"


def machine(results: Results) -> str:
    """Where and when it was measured."""
    e = results.environment
    versions = ", ".join(f"{name} {version}" for name, version in e.versions)
    return f"{e.machine} ({e.device}), {e.threads} threads, {e.date}; {versions}"


def short_equation(equation: str, most: int = 28) -> str:
    """An equation of many operands with dots for those in the middle.

    Example:
        >>> short_equation("ab,bc,cd,de,ef,fg,gh,hi,ij->aj"), short_equation("ij,jk->ik")
        ('ab,bc,[5 more],hi,ij->aj', 'ij,jk->ik')
    """
    if len(equation) <= most:
        return equation
    inputs, _, output = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) < 5:
        return equation
    middle = f"[{len(terms) - 4} more]"
    return f"{','.join([*terms[:2], middle, *terms[-2:]])}->{output}"


def _shapes(workload: Workload) -> str:
    """The shapes of the operands, equal ones once."""
    counts = Counter(workload.shapes)
    shown = []
    for shape, n in counts.items():
        text = "×".join(map(str, shape)) or "scalar"
        shown.append(text if n == 1 else f"{n} of {text}")
    return ", ".join(shown)


def wide_table(results: Results) -> Table:
    """The table of `suite_table` with the equation and the shapes of each workload."""
    header, body = suite_table(results)
    workloads = [(short_equation(c.workload.equation), c.workload) for c in results.comparisons]
    told = [[equation, _shapes(w)] for equation, w in workloads]
    told += [["", ""]] * (len(body) - len(told))
    rows = [[row[0], *more, *row[1:]] for row, more in zip(body, told, strict=True)]
    return [header[0], "equation", "shapes", *header[1:]], rows


def columns(results: Results) -> Iterator[tuple[str, str]]:
    """What each column of `wide_table` says, in words."""
    main = mode_name(results.main_mode)
    yield "workload, equation, shapes", "what is computed; times are for its forward and backward"
    yield (
        "ours, native",
        (
            "median times of `tf_einsum_grad.einsum` and of `tf.einsum`, TensorFlow's own, in "
            f"{main}"
        ),
    )
    names = ", ".join(results.modes)
    yield (
        names,
        (
            "how many times as fast ours is as native in each mode (graph is `tf.function`, xla is "
            "`jit_compile=True`); above 1 ours is faster"
        ),
    )
    yield (
        "of limit",
        (
            "which share ours / native reach of what the machine's rate in a large matrix product "
            "and its memory bandwidth allow"
        ),
    )
    if any(c.memory for c in results.comparisons):
        yield "memory", "ours' peak memory as a share of native's"
    peers = dict.fromkeys(p.name for c in results.comparisons for p in c.peers)
    if peers:
        yield ", ".join(peers), "how many times as fast ours is as that library on the same inputs"


def suite_table(results: Results) -> Table:
    """The header and one row for each workload, forward and backward together, then the mean.

    `columns` says what they mean.
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
    wide = [
        f"{c.workload.name} ({mode_name(m.mode)}, {m.ratio.low:.2f} to {m.ratio.high:.2f})"
        for c in results.comparisons
        for m in c.measurements
        if m.which == _main_pass(results) and _says_little(m.ratio)
    ]
    if wide:
        more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""
        yield (
            f"Too noisy to tell: {', '.join(wide[:3])}{more}. A quiet machine or more --seconds "
            "narrows the interval."
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
    yield f"Measured on {machine(results)}."


def _says_little(ratio: Ratio) -> bool:
    limit = _WIDE_INTERVAL_AROUND_1 if ratio.low < 1 < ratio.high else _WIDE_INTERVAL
    return ratio.high > limit * ratio.low


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
    """A page: what was measured and where, how to read it, the table, and what else was found."""
    header, body = wide_table(results)
    ruler = ["---"] * 3 + ["---:"] * (len(header) - 3)
    body = [[row[0], f"`{row[1]}`" if row[1] else "", *row[2:]] for row in body]
    *below, _ = notes(results)
    return "\n".join(
        [
            "# `tf_einsum_grad` against `tf.einsum`",
            "",
            f"{headline(results)}.",
            "",
            f"Measured on {machine(results)}.",
            "",
            *(f"* **{names}**: {what}." for names, what in columns(results)),
            "",
            *("| " + " | ".join(line) + " |" for line in (header, ruler, *body)),
            "",
            *(re.sub("^(  )?", r"\1* ", line) for line in below),
            "",
        ]
    )
