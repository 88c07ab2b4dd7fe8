"""How numbers are written: in a few digits, with their unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["duration", "milliseconds", "number", "percent", "show_bytes", "show_flops", "times"]


def show_bytes(n: int) -> str:
    """Bytes in decimal units.

    Example:
        >>> show_bytes(4_300_000_000), show_bytes(12)
        ('4.3 GB', '12 B')
    """
    return _scaled(n, ("B", "kB", "MB", "GB", "TB", "PB"))


def show_flops(n: int) -> str:
    """Multiplications and additions.

    Example:
        >>> show_flops(8_200_000_000), show_flops(0)
        ('8.2 GFLOP', '0 FLOP')
    """
    return _scaled(n, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"))


def _scaled(n: int, units: Sequence[str]) -> str:
    power = min(max(len(str(n)) - 1, 0) // 3, len(units) - 1)
    return f"{n / 1000**power:.{1 if power else 0}f} {units[power]}"


def duration(seconds: float, digits: int = 3) -> str:
    """A time in this many digits, but without dropping any before the point; "-" for nan.

    Example:
        >>> duration(0.00123), duration(1.5e-5), duration(0.0), duration(0.2, digits=1)
        ('1.23 ms', '15.0 us', '0.00 us', '200 ms')
    """
    if math.isnan(seconds):
        return "-"
    units = (("s", 1.0), ("ms", 1e-3))
    unit, factor = next(((u, f) for u, f in units if abs(seconds) >= 0.9995 * f), ("us", 1e-6))
    return f"{_digits(seconds / factor, digits)} {unit}"


def _digits(value: float, digits: int) -> str:
    # Where rounding adds a digit before the point, one fewer stands behind it: 9.995 is "10.0".
    before = 1 + sum(abs(value) >= limit for limit in (9.995, 99.95))
    return f"{value:.{max(0, digits - before)}f}"


def milliseconds(seconds: float) -> str:
    """A time in whole milliseconds, to stand below another: "163 ms"."""
    return f"{seconds * 1e3:.0f} ms"


def times(value: float) -> str:
    """A ratio in three digits: "1.31x"; "-" for nan."""
    if math.isnan(value):
        return "-"
    digits = 0 if value >= 99.5 else 1 if value >= 9.95 else 2
    return f"{value:.{digits}f}x"


def percent(value: float) -> str:
    """A share: "89%"; "-" for nan."""
    return "-" if math.isnan(value) else f"{100 * value:.0f}%"


def number(x: float, digits: int, missing: str = "") -> str:
    """A number in this many significant digits, `missing` for nan.

    Example:
        >>> number(0.123456, 2), number(1.5e-9, 4), number(float("nan"), 2)
        ('0.12', '1.5e-09', '')
    """
    return missing if math.isnan(x) else f"{x:.{digits}g}"
