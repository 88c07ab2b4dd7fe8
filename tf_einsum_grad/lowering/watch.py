"""Sees what happens while something runs: einsums called and planned, contractions lowered.

Decisions are cached; whoever watches chooses a machine of its own, for which nothing was decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["called", "listening", "report", "watching"]

# Is told the equation and the operands of each call.
Listener = Callable[[str, Sequence[Any]], None]

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


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells a listener of every einsum that this thread traces until the context is left."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def called(equation: str, operands: Sequence[Any]) -> None:
    """Tells whoever listens that an einsum is traced."""
    listener = _listener.get()
    if listener is not None:
        listener(equation, operands)
