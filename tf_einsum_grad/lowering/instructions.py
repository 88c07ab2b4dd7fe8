"""The instructions that a lowering is made of; `execution.kernels` has one function for each.

A *group* is the labels that make up one dimension of a tensor: "" is a dimension of size 1, "ab"
one of the size of `a` times that of `b`. `result` is the groups that an instruction leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Broadcast",
    "Combine",
    "Diagonal",
    "DiagonalKernel",
    "EmbedDiagonal",
    "EmbedKernel",
    "Groups",
    "Instruction",
    "MatMul",
    "Multiply",
    "NativeEinsum",
    "Permute",
    "PermuteKernel",
    "Reshape",
    "Stretch",
    "Sum",
    "Transform",
    "Zeros",
    "align",
    "alternations",
    "last_run",
]

Groups = tuple[str, ...]
PermuteKernel = Literal["transpose", "gather"]
DiagonalKernel = Literal["stride", "diag_part", "gather"]
EmbedKernel = Literal["set_diag", "diag", "segment_sum", "select"]


@dataclass(frozen=True, slots=True)
class Permute:
    """Reorders axes: axis `i` of the result is axis `axes[i]`.

    Attributes:
        axes: of the operand, in the order of the result.
        kernel: "transpose", or "gather", which looks up each row that stays together.
    """

    axes: tuple[int, ...]
    kernel: PermuteKernel = "transpose"

    def result(self, groups: Groups) -> Groups:
        """The groups that it leaves."""
        return tuple([groups[axis] for axis in self.axes])


@dataclass(frozen=True, slots=True)
class Reshape:
    """One dimension for each group of labels."""

    groups: Groups

    def result(self, groups: Groups) -> Groups:
        """The groups that it leaves."""
        return self.groups

    def only_ones(self, groups: Groups) -> bool:
        """Whether it only puts in and takes out dimensions of size 1."""
        return [x for x in groups if x] == [x for x in self.groups if x]


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Repeats dimensions of size 1 to the size of their group."""

    groups: Groups

    def result(self, groups: Groups) -> Groups:
        """The groups that it leaves."""
        return self.groups


@dataclass(frozen=True, slots=True)
class Stretch:
    """Repeats dimensions that turn out to be 1 to the size that the other operand has there.

    Attributes:
        labels: of both operands; their sizes are only known when the tensors are there.
    """

    labels: str

    def result(self, groups: Groups) -> Groups:
        """The groups that it leaves."""
        return groups


@dataclass(frozen=True, slots=True)
class Sum:
    """Sums over axes."""

    axes: tuple[int, ...]

    def result(self, groups: Groups) -> Groups:
        """The groups that it leaves."""
        return tuple([group for axis, group in enumerate(groups) if axis not in self.axes])


@dataclass(frozen=True, slots=True)
class Diagonal:
    """Keeps what stands where two axes are equal, without the second of them.

    Attributes:
        first: an axis of the operand, and of the result.
        second: a later axis of the operand, of the same size.
        groups: the dimensions of the result.
        kernel: "stride" or "diag_part", for the last two axes, or "gather".
    """

    first: int
    second: int
    groups: Groups
    kernel: DiagonalKernel

    def result(self, groups: Groups) -> Groups:
        """The groups that it leaves."""
        return self.groups


@dataclass(frozen=True, slots=True)
class EmbedDiagonal:
    """The transpose of `Diagonal`: zeros, but for where two axes are equal.

    Attributes:
        first: an axis of the operand, and of the result.
        second: a later axis of the result, which the operand has not.
        groups: the dimensions of the operand.
        kernel: "set_diag" or "diag", for the last two axes; "segment_sum" or "select".
    """

    first: int
    second: int
    groups: Groups
    kernel: EmbedKernel

    def result(self, groups: Groups) -> Groups:
        """The groups that it leaves."""
        return (*groups[: self.second], groups[self.first], *groups[self.second :])


@dataclass(frozen=True, slots=True)
class MatMul:
    """A matrix product, or a batch of them."""

    transpose_a: bool
    transpose_b: bool
    batched: bool

    def result(self, a: Groups, b: Groups) -> Groups:
        """The groups of the product."""
        return (*a[:-2], a[-1 if self.transpose_a else -2], b[-2 if self.transpose_b else -1])


@dataclass(frozen=True, slots=True)
class Multiply:
    """An elementwise product with broadcasting."""

    def result(self, a: Groups, b: Groups) -> Groups:
        """The groups of the product."""
        return tuple([x or y for x, y in zip(*align(a, b), strict=True)])


@dataclass(frozen=True, slots=True)
class NativeEinsum:
    """TensorFlow's own Einsum op, on labels that it can read."""

    equation: str

    def result(self, a: Groups, b: Groups) -> Groups:
        """The groups of the product."""
        inputs, _, output = self.equation.partition("->")
        names = dict(zip(inputs.replace(",", ""), a + b, strict=True))
        return tuple([names[letter] for letter in output])


@dataclass(frozen=True, slots=True)
class Zeros:
    """What is left of a contraction of nothing: it reads no operand."""

    groups: Groups

    def result(self, a: Groups, b: Groups = ()) -> Groups:
        """The groups of the result."""
        return self.groups


Transform = Permute | Reshape | Broadcast | Stretch | Sum | Diagonal | EmbedDiagonal
Combine = MatMul | Multiply | NativeEinsum | Zeros
Instruction = Transform | Combine


def align(a: Groups, b: Groups) -> tuple[Groups, Groups]:
    """Both with as many dimensions, as broadcasting aligns them: on the right."""
    rank = max(len(a), len(b))
    return ("",) * (rank - len(a)) + a, ("",) * (rank - len(b)) + b


def alternations(flags: Sequence[object]) -> int:
    """How many runs of equal flags there are."""
    return sum(axis == 0 or flag != flags[axis - 1] for axis, flag in enumerate(flags))


def last_run(groups: Groups, flags: Sequence[object]) -> Groups:
    """The innermost groups whose flags are equal."""
    start = len(groups)
    while start and flags[start - 1] == flags[-1]:
        start -= 1
    return groups[start:]
