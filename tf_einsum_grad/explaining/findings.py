"""What there is to know about an einsum and its gradients, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from tf_einsum_grad.algebra.sizes import Shape, Size
from tf_einsum_grad.explaining.memory import MemoryFindings
from tf_einsum_grad.explaining.native import NativeGradient
from tf_einsum_grad.explaining.sharding import Communication
from tf_einsum_grad.lowering.machine import Target

__all__ = ["Findings", "Gradient", "LabelRole", "Work"]


@dataclass(frozen=True, slots=True)
class LabelRole:
    """A label, its size, what the equation does with it, and the tensors that have it."""

    label: str
    size: Size
    role: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """One contraction that runs.

    Attributes:
        result: what it computes: "Y", "dL/dA", or of several steps "Z1", "dL/dZ1".
        equation: in the caller's labels.
        kernel: what computes it, in a word or two.
        call: what runs, to the letter: kernels, the operands in their order, axes and shapes.
        flops: multiplications and additions.
        bytes_moved: read and written by its kernels.
        result_bytes: of what it gives.
        scratch_bytes: of the largest tensor made on the way.
    """

    result: str
    equation: str
    kernel: str
    call: str
    flops: int
    bytes_moved: int
    result_bytes: int
    scratch_bytes: int


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient with respect to one operand.

    Attributes:
        operand: its number.
        equation: the transposed equation, the incoming gradient in the slot of the operand.
        operands: what stands in its slots.
        derivation: how it was obtained, in words.
        work: what runs for it; with three operands or more the steps that lead to it.
        native: what TensorFlow's own einsum runs for it, where that is one einsum.
    """

    operand: int
    equation: str
    operands: tuple[str, ...]
    derivation: str
    work: tuple[Work, ...]
    native: NativeGradient | None


@dataclass(frozen=True, slots=True)
class Findings:
    """An einsum and its gradients.

    Attributes:
        equation: as the caller wrote it.
        expanded: explicit, and with labels for ellipses.
        dtype: of the operands.
        target: where it runs: "eager", "graph", or "xla".
        machine: what it runs on, which decides on kernels: "cpu", "cpu-onednn", "gpu", or a name
            that `tune` gave.
        shapes: of the operands.
        output_shape: of the result.
        roles: what the equation does with each label.
        path: the contraction path.
        forward: what runs for the result.
        gradients: one for each operand.
        flops_forward: multiplications and additions of the forward pass.
        flops_backward: those of all gradients.
        largest_intermediate_bytes: of the largest tensor made on the way to the result.
        communication: what each pass sends, where labels are sharded.
        size_hints: what figures take for labels of unknown size, where the caller said so.
        memory: what a memory limit makes of it; None where memory is not limited.
    """

    equation: str
    expanded: str
    dtype: str
    target: Target
    machine: str
    shapes: tuple[Shape, ...]
    output_shape: Shape
    roles: tuple[LabelRole, ...]
    path: tuple[tuple[int, ...], ...]
    forward: tuple[Work, ...]
    gradients: tuple[Gradient, ...]
    flops_forward: int
    flops_backward: int
    largest_intermediate_bytes: int
    communication: tuple[Communication, ...]
    size_hints: tuple[tuple[str, int], ...] = ()
    memory: MemoryFindings | None = None
