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
    """Replaces two adjacent, equal axes by their diagonal: axis `axis` of `groups`, the result."""

    axis: int
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmbedDiagonal:
    """The transpose of `Diagonal`: axis `axis` of `groups`, the operand, goes on the diagonal of
    two axes, with zeros elsewhere."""

    axis: int
    groups: tuple[str, ...]


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
