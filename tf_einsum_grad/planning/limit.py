"""`memory_limit`: what it may be, and the bytes that it means."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any

from tf_einsum_grad.algebra.errors import PathError

__all__ = ["Memory", "MemoryLimit", "read_limit", "read_memory"]

MemoryLimit = int | str | None


@dataclass(frozen=True, slots=True)
class Memory:
    """How an einsum goes with memory, where a caller asks for that.

    Attributes:
        limit: bytes beyond operands, result and gradients; None to recompute whatever it takes.
    """

    limit: int | None


_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def read_limit(limit: Any) -> int | None:
    """Reads a memory limit as bytes; None for none.

    Args:
        limit: bytes, or text: "512MB" (10**6 each), "1.5GiB" (2**30 each), "4096".

    Raises:
        PathError: it is neither, or less than one byte.

    Example:
        >>> read_limit("512MB"), read_limit("1.5 KiB"), read_limit(4096)
        (512000000, 1536, 4096)
    """
    if limit is None:
        return None
    n_bytes = _parse(limit) if isinstance(limit, str) else _integer(limit)
    if n_bytes is None or n_bytes < 1:
        raise PathError(
            "einsum requires memory_limit to be bytes, an integer from 1 on, or text such as "
            f"'512MB' or '1.5GiB', got {limit!r}"
        )
    return n_bytes


def _parse(text: str) -> int | None:
    match = _FORM.fullmatch(text)
    if match is None or match[2].lower() not in _UNITS:
        return None
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _integer(limit: Any) -> int | None:
    if isinstance(limit, bool):
        return None
    try:
        return operator.index(limit)
    except TypeError:
        return None


def read_memory(limit: Any, recompute: Any) -> Memory | None:
    """Reads `memory_limit` and `recompute`; None where neither is asked for.

    Raises:
        PathError: one of them is not what it may be.
    """
    if not isinstance(recompute, bool):
        raise PathError(f"einsum requires recompute to be True or False, got {recompute!r}")
    n_bytes = read_limit(limit)
    return Memory(n_bytes) if recompute or n_bytes is not None else None
