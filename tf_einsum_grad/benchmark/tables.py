"""A report as a table: for the terminal, within 100 columns, and as Markdown."""

from __future__ import annotations

import math

from tf_einsum_grad.benchmark.report import Comparison, Report

__all__ = ["duration", "rows", "to_markdown"]


def duration(seconds: float) -> str:
    """A time in three digits with its unit.

    Example:
        >>> duration(0.00123), duration(1.5e-5)
        ('1.23 ms', '15.0 us')
    """
    if math.isnan(seconds):
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= factor:
            break
    value = seconds / factor
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 2
    return f"{value:.{digits}f} {unit}"


def rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """The header and one row for each workload, forward and backward together."""
    modes = report.modes
    main = "graph" if "graph" in modes else modes[0] if modes else "graph"
    peers = tuple(dict.fromkeys(p.name for c in report.comparisons for p in c.peers))
    header = ["workload", "ours", "native", *modes, "limit", "(native)"]
    has_memory = any(c.memory for c in report.comparisons)
    header += ["memory"] * has_memory + list(peers)
    body = [_row(c, modes, main, has_memory, peers) for c in report.comparisons]
    means = [_times(report.geometric_mean(mode)) for mode in modes]
    body.append(["geometric mean", "", "", *means, *[""] * (len(header) - 3 - len(means))])
    return header, body


def _row(
    c: Comparison, modes: tuple[str, ...], main: str, has_memory: bool, peers: tuple[str, ...]
) -> list[str]:
    m = c.find(main)
    row = [c.name]
    row += [duration(m.ours.median), duration(m.native.median)] if m else ["-", "-"]
    for mode in modes:
        found = c.find(mode)
        row.append(_times(found.ratio.value) if found else "-")
    row += (
        [_percent(m.limit / m.ours.median), _percent(m.limit / m.native.median)] if m else ["-"] * 2
    )
    if has_memory:
        use = next((u for u in c.memory if u.mode == main), None)
        row.append(_percent(use.ours / use.native) if use else "-")
    for name in peers:
        peer = next((p for p in c.peers if p.name == name), None)
        row.append(_times(peer.timing.median / m.ours.median) if peer and m else "-")
    return row


def _times(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}x" if value < 99.5 else f"{value:.0f}x"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def to_markdown(report: Report) -> str:
    """The table as Markdown, then what was measured where."""
    header, body = rows(report)
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
