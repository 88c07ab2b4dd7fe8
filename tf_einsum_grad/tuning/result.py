"""What tuning found: a machine, what it holds for, and what changed."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tf_einsum_grad.benchmark.statistics import Ratio
from tf_einsum_grad.lowering.machine import Machine
from tf_einsum_grad.lowering.machine_file import Circumstances, write_machine
from tf_einsum_grad.lowering.machines import using
from tf_einsum_grad.text.files import write_whole
from tf_einsum_grad.text.numbers import duration, times

__all__ = ["Change", "Tuning"]


@dataclass(frozen=True, slots=True)
class Change:
    """What runs from now on in the place of something slower.

    Attributes:
        what: a contraction, or an einsum with its gradients: its signature.
        before, after: the kernels.
        seconds_before, seconds_after: medians.
        ratio: how many times as fast, with its 95% interval.
    """

    what: str
    before: str
    after: str
    seconds_before: float
    seconds_after: float
    ratio: Ratio


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `tune` found: `print` it, `save` it, or decide for it in `with tuning.using():`.

    Attributes:
        machine: rates and winners.
        circumstances: what they hold for.
        measured: how many contractions and einsums were measured.
        changes: what differs from what the rates say, the greatest gain first.
    """

    machine: Machine
    circumstances: Circumstances
    measured: int
    changes: tuple[Change, ...]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it to a file, whole or not at all, for `machine` and `TF_EINSUM_GRAD_MACHINE`.

        Raises:
            OSError: it cannot be written.
        """
        write_whole(os.fspath(path), write_machine(self.machine, self.circumstances))

    def using(self) -> AbstractContextManager[Machine]:
        """A context in which this thread decides for the machine."""
        return using(self.machine)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows: what changed, and by how much."""
        return ["what", "was", "is", "before", "after", "faster"], [
            [
                change.what,
                change.before,
                change.after,
                duration(change.seconds_before),
                duration(change.seconds_after),
                f"{times(change.ratio.value)} ({change.ratio.low:.2f} to {change.ratio.high:.2f})",
            ]
            for change in self.changes
        ]

    def summary(self) -> str:
        """What was measured and what came of it, in a line."""
        if not self.measured:
            onednn = "with" if self.circumstances.onednn else "without"
            where = f"{self.circumstances.device}, {self.circumstances.threads} threads"
            return f"the rates of {where}, {onednn} oneDNN"
        return f"of {self.measured} measured, {len(self.changes) or 'none'} has something faster"

    def __str__(self) -> str:
        _, rows = self.table()
        lines = [f"  {'  '.join(row)}" for row in rows]
        return "\n".join([self.summary(), *lines])
