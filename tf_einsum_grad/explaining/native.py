"""What TensorFlow's own einsum runs for a gradient, and where that is worse: a model of it.

Read from `tensorflow/python/ops/linalg_grad.py` (`_EinsumGrad`) and the Einsum kernel, 2.16 to
2.21: the gradient with respect to one operand contracts the cotangent, always first, with the
other operand; the kernel permutes whatever is not (batch, free, contracting) in the order in which
labels appear; broadcast ellipsis dimensions are kept in the gradient and summed afterwards; labels
that were summed out of the operand alone are put back by a broadcast.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.equation import ELLIPSIS, Equation
from tf_einsum_grad.algebra.roles import label_roles, num_elements
from tf_einsum_grad.algebra.sizes import Binding, Size
from tf_einsum_grad.lowering.einsum_layout import einsum_layout
from tf_einsum_grad.text.numbers import show_bytes

__all__ = ["NativeGradient", "drawbacks", "native_gradient"]


@dataclass(frozen=True, slots=True)
class NativeGradient:
    """What native einsum runs for the gradient with respect to one operand.

    Attributes:
        call: the einsum that it runs.
        drawbacks: what that does worse than need be, as phrases.
    """

    call: str
    drawbacks: tuple[str, ...]


def native_gradient(
    parsed: Equation,
    binding: Binding,
    k: int,
    names: Sequence[str],
    sizes: Mapping[str, Size],
    dtype: str,
) -> NativeGradient | None:
    """Finds what native einsum runs for the gradient with respect to operand `k`.

    Args:
        parsed: the equation, which may hold ellipses.
        binding: the same without, and what broadcasts.
        k: the operand.
        names: what stands in each slot of the gradient's equation.
        sizes: each label with its size.
        dtype: of the operands.

    Returns:
        None where native has no such einsum, and where it runs several: of three operands or more.
    """
    if len(parsed.inputs) > 2 or not _takes(parsed, binding):
        return None
    inputs, output = list(parsed.inputs), parsed.output
    if len(inputs) == 2 and ELLIPSIS in output:
        inputs = [term if ELLIPSIS in term else term + ELLIPSIS for term in inputs]
    subscripts, others = inputs[k], inputs[:k] + inputs[k + 1 :]
    alone = [x for x in dict.fromkeys(subscripts) if x not in "".join([*others, output, "."])]
    if alone and not others:
        return None  # a broadcast, which no einsum is needed for
    kept = "".join(x for x in subscripts if x not in alone)
    operands = [names[k], *names[:k], *names[k + 1 :]]
    call = f"einsum('{Equation((output, *others), kept)}', {', '.join(operands)})"
    if alone:
        return NativeGradient(call, (f"puts {', '.join(alone)} back in a second step",))
    worse = _drawbacks(parsed, binding.equation, k, sizes, dtype) if others else ()
    return NativeGradient(call, tuple(worse))


def _takes(parsed: Equation, binding: Binding) -> bool:
    """Whether native einsum takes such an equation, as far as that follows from labels."""
    inputs, output = "".join(parsed.inputs), parsed.output.replace(ELLIPSIS, "")
    narrow = [
        subscripts[axis]
        for subscripts, axes in zip(binding.expanded.inputs, binding.dropped, strict=True)
        for axis in axes
    ]
    return (
        set(parsed.labels) <= set(string.ascii_letters) & set(inputs)
        and len(set(output)) == len(output)
        and (ELLIPSIS in parsed.output) == (ELLIPSIS in inputs)
        and not set(narrow) & set(parsed.labels)
    )


def _drawbacks(
    parsed: Equation, equation: Equation, k: int, sizes: Mapping[str, Size], dtype: str
) -> Iterator[str]:
    subscripts, other = equation.inputs[k], equation.inputs[1 - k]
    hidden = [x for x in equation.output if x not in parsed.labels and x not in subscripts]
    if hidden:
        size = itemsize(dtype) * num_elements(dict.fromkeys([*hidden, *subscripts]), sizes)
        yield f"materialises the summed ellipsis ({show_bytes(size)})"
        return
    yield from drawbacks(Equation((equation.output, other), subscripts), sizes, dtype)


def drawbacks(dot: Equation, sizes: Mapping[str, Size], dtype: str) -> Iterator[str]:
    """What the Einsum op does for two operands that is worse than need be, as phrases.

    Args:
        dot: an equation of two operands without ellipses.
        sizes: each label with its size.
        dtype: of the operands.
    """
    roles = set(label_roles(dot).values())
    if any(len(set(term)) < len(term) for term in (*dot.inputs, dot.output)):
        return
    if not roles <= {"batch", "contracting", "free"}:
        return
    if roles <= {"batch"}:
        yield f"runs {num_elements(dot.output, sizes):,} products of 1x1 matrices"
        return
    moved = [term for term in einsum_layout(dot).permuted if num_elements(term, sizes) > 1]
    if moved:
        total = 2 * itemsize(dtype) * sum(num_elements(term, sizes) for term in moved)
        yield f"permutes {' and '.join(map(repr, moved))} ({show_bytes(total)})"
