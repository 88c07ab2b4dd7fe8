"""Tables and progress in a terminal, with rich, which is imported when they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

__all__ = ["Advance", "make_table", "progress"]

# What is being done, how many steps are done, and how many there are.
Advance = Callable[[str, int, int], None]

_STEP_WIDTH = 28


def make_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    n_left: int = 1,
    gap: int = 1,
    title: str | None = None,
    ruled: bool = False,
    folded: Collection[str] = (),
) -> Table:
    """A table for `Console.print`.

    Args:
        head: the columns' names.
        rows: a cell for each column; markup in strings is not interpreted.
        n_left: how many columns stand at the left; those after them stand at the right.
        gap: spaces after each column.
        title: stands above the table.
        ruled: whether a line stands below the head.
        folded: columns whose cells go on in the next line where space is short. Cells of the
            others are cut; where no column folds, an ellipsis shows it.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD if ruled else None,
        padding=(0, gap, 0, 0),
    )
    for k, name in enumerate(head):
        table.add_column(
            name,
            justify="left" if k < n_left else "right",
            overflow="fold" if folded else "ellipsis",
            no_wrap=name not in folded,
        )
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


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
