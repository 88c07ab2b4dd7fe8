"""How far a check is, for people who wait: a bar, once it takes long, and an estimate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tf_einsum_grad.text.numbers import duration
from tf_einsum_grad.text.terminal import Advance, progress

_PATIENCE = 2.0  # seconds before a bar appears


class Watch:
    """Hears of every evaluation and comparison, and shows how far the check is.

    Args:
        show: called with what is being done, and with comparisons done and in all.
    """

    def __init__(self, show: Advance) -> None:
        self._show, self._start = show, time.perf_counter()
        self._evaluations = self._done = self._total = 0

    def evaluated(self, evaluations: int) -> None:
        """Hears how often the function was evaluated so far."""
        self._evaluations = evaluations
        self._tell()

    def compared(self, done: int, total: int) -> None:
        """Hears how many comparisons were made, of how many."""
        self._done, self._total = done, total
        self._tell()

    def _tell(self) -> None:
        elapsed = time.perf_counter() - self._start
        text = describe(elapsed, self._evaluations, self._done, self._total)
        self._show(text, self._done, self._total)


_UNSEEN = Watch(lambda *_: None)
PROGRESS: ContextVar[Watch] = ContextVar("progress", default=_UNSEEN)


def describe(elapsed: float, evaluations: int, done: int, total: int) -> str:
    """Says what was evaluated, how long that takes, and how much is left if that can be told.

    >>> describe(12.0, 10, 3, 9)
    'checking: 10 evaluations of 1.2 s, about 24 s left'
    """
    text = "checking"
    if evaluations:
        text += f": {evaluations} evaluations of {duration(elapsed / evaluations, 2)}"
    if 0 < done < total:
        text += f", about {duration(elapsed * (total - done) / done, 2)} left"
    return text


@contextmanager
def shown(wanted: bool) -> Iterator[None]:
    """Shows a bar on stderr for checks that take long, where that is a terminal or a notebook."""
    from rich.console import Console

    console = Console(stderr=True)
    if not wanted or not (console.is_terminal or console.is_jupyter):
        yield
        return
    with progress(console, unit="comparisons", patience=_PATIENCE) as advance:
        token = PROGRESS.set(Watch(advance))
        try:
            yield
        finally:
            PROGRESS.reset(token)
