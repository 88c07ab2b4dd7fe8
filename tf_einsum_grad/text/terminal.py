"""Consoles, tables and progress in any terminal, with rich, which is imported when it is used."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

__all__ = [
    "Advance",
    "FittingTable",
    "make_console",
    "make_table",
    "progress",
    "terminal_width",
    "use_plain_characters",
]

# What is being done, how many steps are done, and how many there are.
Advance = Callable[[str, int, int], None]

_STEP_WIDTH = 28
_LOG_WIDTH = 100  # where there is no terminal
_FOLDED_WIDTH = 16  # to which a column may shrink whose cells go on in the next line

# What stands for a character that an encoding has not. Others lose their accents, or are escaped.
_PLAIN = {"…": "...", "×": "x", "→": "->", "–": "-", "—": "-", "·": "*", "µ": "u", "≤": "<="}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start]
    plain = _PLAIN.get(found, unicodedata.normalize("NFKD", found))
    if not plain.isascii():
        plain = plain.encode("ascii", "ignore").decode() or found.encode(
            "ascii", "backslashreplace"
        ).decode("ascii")
    return plain, error.start + 1


codecs.register_error("tf_einsum_grad.plain", _plain)


def use_plain_characters(*streams: TextIO) -> None:
    """Has streams write what their encoding has not in characters that it has, where it has not.

    In an ASCII or Latin-1 terminal a picture of text is poorer, and no error.
    """
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # which what a test captures with may lack
            reconfigure(errors="tf_einsum_grad.plain")


def terminal_width(stream: TextIO | None = None) -> int:
    """The columns of a terminal, at least 40; 100 where a stream goes elsewhere.

    `COLUMNS` overrides both.
    """
    given = os.environ.get("COLUMNS", "")
    stream = sys.stdout if stream is None else stream
    if not given.isdecimal() and not stream.isatty():
        return _LOG_WIDTH
    return max(40, shutil.get_terminal_size((_LOG_WIDTH, 24)).columns)


def make_console(*, stderr: bool = False) -> Console:
    """A console as wide as its terminal. It marks nothing up by itself, and heeds `NO_COLOR`."""
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the program, with code 1

    width = terminal_width(sys.stderr if stderr else sys.stdout)
    return PlainConsole(stderr=stderr, width=width, highlight=False, force_jupyter=False)


class FittingTable:
    """A table where there is room for it, else a line for each of its cells."""

    def __init__(
        self,
        head: Sequence[str],
        rows: Iterable[Sequence[str | Text]],
        *,
        n_left: int,
        gap: int,
        title: str | None,
        ruled: bool,
        folded: Collection[str],
    ) -> None:
        from rich.text import Text

        self.head, self.title, self.folded = head, title, folded
        self.n_left, self.gap, self.ruled = n_left, gap, ruled
        self.rows = [[Text(c) if isinstance(c, str) else c for c in row] for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._table() if self._needs() <= options.max_width else self._lines()

    def _needs(self) -> int:
        """The columns that it takes for nothing to be cut."""
        widths = []
        for k, name in enumerate(self.head):
            widest = max([len(name), *(row[k].cell_len for row in self.rows)])
            widths.append(
                min(widest, max(_FOLDED_WIDTH, len(name))) if name in self.folded else widest
            )
        lines = len(widths) + 1 if self.ruled else 0
        return sum(widths) + self.gap * len(widths) + lines

    def _table(self) -> RenderResult:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(
            title=self.title,
            title_justify="left",
            header_style="bold",
            box=SIMPLE_HEAD if self.ruled else None,
            padding=(0, self.gap, 0, 0),
        )
        for k, name in enumerate(self.head):
            table.add_column(
                name,
                justify="left" if k < self.n_left else "right",
                overflow="fold",
                no_wrap=name not in self.folded,
            )
        for row in self.rows:
            table.add_row(*row)
        yield table

    def _lines(self) -> RenderResult:
        """A paragraph for each row, its first cell above the others, which have names."""
        from rich.text import Text

        if self.title:
            yield Text(self.title, style="italic")
        for first, *others in self.rows:
            if first.plain:  # else the row goes on with what the one above is about
                name = f"{self.head[0]}: " if self.head[0] else ""
                yield Text.assemble(name, first, style="bold")
            for name, cell in zip(self.head[1:], others, strict=True):
                if cell.plain:
                    yield Text.assemble("  ", f"{name}: " if name else "", cell)


def make_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    n_left: int = 1,
    gap: int = 1,
    title: str | None = None,
    ruled: bool = False,
    folded: Collection[str] = (),
) -> FittingTable:
    """A table for `Console.print`; in a terminal that is too narrow for it, a line for each cell.

    Args:
        head: the columns' names.
        rows: a cell for each column; markup in strings is not interpreted.
        n_left: how many columns stand at the left; those after them stand at the right.
        gap: spaces after each column.
        title: stands above the table.
        ruled: whether a line stands below the head.
        folded: columns whose cells go on in the next line where space is short.
    """
    return FittingTable(head, rows, n_left=n_left, gap=gap, title=title, ruled=ruled, folded=folded)


@contextmanager
def progress(console: Console, *, unit: str = "", patience: float = 0.0) -> Iterator[Advance]:
    """Shows how far a task is.

    Args:
        console: where the bar appears.
        unit: what is counted; stands in the place of the time.
        patience: seconds before the bar appears. With any, nothing of the bar stays at the end;
            with none, each step is a line where the console is no terminal.

    Yields:
        A function to call before each step.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not patience and not console.is_terminal:
        yield lambda what, done, total: console.print(f"{done}/{total} {what}")
        return
    what = TextColumn(f"{{task.description{'' if unit else f':<{_STEP_WIDTH}'}}}")
    last = TextColumn(unit) if unit else TimeElapsedColumn()
    columns = (what, BarColumn(), MofNCompleteColumn(), last)
    bar = Progress(*columns, console=console, transient=patience > 0)
    task = bar.add_task("", total=None if patience else 100)
    appears = time.perf_counter() + patience

    def advance(what: str, done: int, total: int) -> None:
        bar.update(task, description=what, completed=done, total=total)
        if time.perf_counter() >= appears:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
