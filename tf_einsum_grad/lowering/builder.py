"""Writes the instructions for one tensor, one after another; nothing is priced or decided here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.instructions import Groups, alternations
from tf_einsum_grad.lowering.machine import Target

__all__ = ["MAX_BROADCAST_DIMS", "MAX_PERMUTE_DIMS", "Builder"]

# TensorFlow's CPU kernels broadcast in at most 5 dimensions, after they joined neighbors that
# broadcast alike; pfor puts one more in front.
MAX_BROADCAST_DIMS = 4

# TensorFlow's CPU kernel permutes up to 8 dimensions as such, and more an element at a time; it
# does not see which of them stay together.
MAX_PERMUTE_DIMS = 8


@dataclass(slots=True)
class Builder:
    """Instructions for a tensor; `groups` is what its dimensions are made of at this point."""

    groups: Groups
    instructions: list[do.Transform] = field(default_factory=list)

    def emit(self, instruction: do.Transform) -> Builder:
        """Appends an instruction."""
        self.instructions.append(instruction)
        self.groups = instruction.result(self.groups)
        return self

    def reshape(self, groups: Groups) -> Builder:
        """Splits and merges dimensions; of two reshapes in a row the last is enough."""
        if groups != self.groups:
            if self.instructions and isinstance(self.instructions[-1], do.Reshape):
                self.instructions.pop()
            self.emit(do.Reshape(groups))
        return self

    def permute(self, groups: Groups) -> Builder:
        """Reorders dimensions; of many, those that stay side by side go as one."""
        if groups == self.groups:
            return self
        if len(groups) > MAX_PERMUTE_DIMS and all(groups):
            source, target = _neighbors(self.groups, groups), _neighbors(groups, self.groups)
            self.reshape(source).emit(do.Permute(_order(source, target)))
            return self.reshape(groups)
        return self.emit(do.Permute(_order(self.groups, groups)))

    def broadcast(self, groups: Groups) -> Builder:
        """Repeats the tensor along the groups it has not, in as few steps as kernels allow."""
        self.reshape(tuple([group if group in self.groups else "" for group in groups]))
        while self.groups != groups:
            missing = [not group for group in self.groups]
            at_once = alternations(missing) <= MAX_BROADCAST_DIMS
            start = 0 if at_once else _runs(missing)[-1][0]
            self.emit(do.Broadcast((*self.groups[:start], *groups[start:])))
        return self

    def sum_ways(self, labels: str, target: Target) -> list[list[do.Sum]]:
        """The ways to sum over the dimensions whose group is made of `labels`.

        At once, as XLA does; or a run at a time: TensorFlow's reduction reads a tensor whose kept
        and summed dimensions alternate more than twice only after a permute of all of it; sums
        over one run of dimensions, the innermost first, read it once and then ever smaller ones.
        """
        summed = [bool(group) and group[0] in labels for group in self.groups]
        together = [do.Sum(tuple([axis for axis, flag in enumerate(summed) if flag]))]
        apart = [do.Sum(run) for run in _runs(summed)[::-1]]
        if target == "xla" or together == apart:
            return [together]
        return [apart] if alternations(summed) > 3 else [together, apart]


def _order(source: Groups, target: Groups) -> tuple[int, ...]:
    return tuple([source.index(group) for group in target])


def _neighbors(groups: Groups, others: Groups) -> Groups:
    """Joins groups that stand side by side in both orders."""
    joined = [groups[0]]
    for previous, group in itertools.pairwise(groups):
        place = others.index(previous) if previous in others else -2
        if others[place + 1 : place + 2] == (group,):
            joined[-1] += group
        else:
            joined.append(group)
    return tuple(joined)


def _runs(flags: Sequence[bool]) -> list[tuple[int, ...]]:
    """The runs of adjacent axes whose flag is set."""
    runs: list[tuple[int, ...]] = []
    for axis, flag in enumerate(flags):
        if flag and axis and flags[axis - 1]:
            runs[-1] = (*runs[-1], axis)
        elif flag:
            runs.append((axis,))
    return runs
