"""The instructions that a lowering is made of; `kernels` has one function for each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Broadcast",
    "Diagonal",
    "EmbedDiagonal",
    "Instruction",
    "MatMul",
    "Multiply",
    "NativeEinsum",
    "Permute",
    "Reshape",
    "Sum",
]

# A group is the labels that make up one dimension of a tensor: "" is a dimension of size 1, "ab"
# one of the size of `a` times that of `b`.


@dataclass(frozen=True, slots=True)
class Permute:
    """Reorders axes: axis `i` of the result is axis `axes[i]`."""

    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reshape:
    """One dimension for each group of labels."""

    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Repeats dimensions of size 1 to the size of their group."""

    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """Sums over axes."""

    axes: tuple[int, ...]


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
    groups: tuple[str, ...]
    kernel: str


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
    groups: tuple[str, ...]
    kernel: str


@dataclass(frozen=True, slots=True)
class MatMul:
    """A matrix product, or a batch of them."""

    transpose_a: bool
    transpose_b: bool
    batched: bool


@dataclass(frozen=True, slots=True)
class Multiply:
    """An elementwise product with broadcasting."""


@dataclass(frozen=True, slots=True)
class NativeEinsum:
    """TensorFlow's own Einsum op, on labels that it can read."""

    equation: str


Instruction = (
    Permute
    | Reshape
    | Broadcast
    | Sum
    | Diagonal
    | EmbedDiagonal
    | MatMul
    | Multiply
    | NativeEinsum
)
