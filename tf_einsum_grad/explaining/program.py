"""What runs for a contraction, as a call: `einsum('ijkn,imn->ijkm', B, dL/dY)`.

A call is written from the lowering itself, an instruction at a time, so it has the kernel's own
order of operands, every permute and every reshape. `tests/explaining/test_what_runs.py` writes the
same calls from the ops that TensorFlow ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.contraction import Lowering

__all__ = ["show_list", "show_program"]


def show_program(
    lowering: Lowering,
    equation: Equation,
    sizes: Mapping[str, Size],
    operands: Sequence[str],
) -> str:
    """Writes what a lowering runs as one call.

    Args:
        lowering: of a contraction.
        equation: the contraction's, in labels that people know.
        sizes: each label of the lowering's equation with its size, None where it is unknown.
        operands: what the operands are called.

    Example:
        >>> from tf_einsum_grad.lowering.contraction import Contraction
        >>> from tf_einsum_grad.lowering.lower import lower
        >>> equation = Equation(("imn", "ijkn"), "ijkm")
        >>> contraction = Contraction.of(equation, dict(zip("ijkmn", (8, 9, 9, 64, 64))), "float32")
        >>> lowering, sizes = lower(contraction), dict(contraction.sizes)
        >>> show_program(lowering, equation, sizes, ("dL/dY", "B"))
        "einsum('ijkn,imn->ijkm', B, dL/dY)"
    """
    if isinstance(lowering.combine, do.Zeros):
        return f"zeros({_Writer(sizes, {}).shape(lowering.combine.groups)})"
    compute = lowering.compute_dtype
    writer = _Writer(sizes, dict(zip(lowering.equation.labels, equation.labels, strict=True)))
    if compute is not None:
        operands = [f"cast({operand}, {compute})" for operand in operands]
    texts = [
        writer.follow(operand, instructions)
        for operand, instructions in zip(operands, lowering.prepare, strict=True)
    ]
    if lowering.combine is None:
        (result,) = texts
    else:
        order = slice(None, None, -1 if lowering.swap else 1)
        native = Equation(equation.inputs[order], equation.output)
        result = _combine(lowering.combine, native, texts[order])
    result = writer.follow(result, lowering.finish)
    return f"cast({result}, {lowering.dtype})" if compute is not None else result


def _combine(instruction: do.Combine, equation: Equation, operands: Iterable[str]) -> str:
    a, b = operands
    match instruction:
        case do.NativeEinsum():
            return f"einsum('{equation}', {a}, {b})"
        case do.MatMul(transpose_a=flip_a, transpose_b=flip_b):
            flags = ", transpose_a=True" * flip_a + ", transpose_b=True" * flip_b
            return f"matmul({a}, {b}{flags})"
        case do.Multiply():
            return f"multiply({a}, {b})"
    raise AssertionError(f"{instruction} combines nothing")


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes instructions on one tensor; `names` are the labels that people know."""

    sizes: Mapping[str, Size]
    names: Mapping[str, str]

    def follow(self, text: str, instructions: Iterable[do.Transform]) -> str:
        for instruction in instructions:
            text = self.transform(instruction, text)
        return text

    def transform(self, instruction: do.Transform, text: str) -> str:
        match instruction:
            case do.Permute(axes=axes, kernel=kernel):
                by = f", by={kernel!r}" if kernel != "transpose" else ""
                return f"permute({text}, {show_list(axes)}{by})"
            case do.Reshape(groups=groups):
                return f"reshape({text}, {self.shape(groups)})"
            case do.Broadcast(groups=groups):
                return f"broadcast({text}, {self.shape(groups)})"
            case do.Stretch(labels=labels):
                return f"stretch({text}, '{''.join(self.names[x] for x in labels)}')"
            case do.Sum(axes=axes):
                return f"sum({text}, {show_list(axes)})"
            case do.Diagonal(first=first, second=second, kernel=kernel):
                return f"diagonal({text}, [{first}, {second}], by={kernel!r})"
            case do.EmbedDiagonal(first=first, second=second, kernel=kernel):
                return f"embed_diagonal({text}, [{first}, {second}], by={kernel!r})"

    def shape(self, groups: do.Groups) -> str:
        dims: list[Size] = []
        for group in groups:
            dim: Size = 1
            for label in group:
                size = self.sizes[label]
                dim = None if dim is None or size is None else dim * size
            dims.append(dim)
        return show_list(dims)


def show_list(numbers: Iterable[Size]) -> str:
    """Writes axes or sizes, "?" for one that is unknown: `[2, ?]`."""
    return f"[{', '.join('?' if n is None else str(n) for n in numbers)}]"
