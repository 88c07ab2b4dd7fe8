"""Sees what is decided while something runs: contractions as they are lowered, einsums as planned.

Decisions are cached; whoever watches chooses a machine of its own, for which nothing was decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["report", "watching"]

_seen: ContextVar[list[object] | None] = ContextVar("seen", default=None)


@contextmanager
def watching() -> Iterator[list[object]]:
    """Gathers what is reported in this thread until the context is left."""
    seen: list[object] = []
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


def report(decided: object) -> None:
    """Tells whoever watches what was decided."""
    seen = _seen.get()
    if seen is not None:
        seen.append(decided)
