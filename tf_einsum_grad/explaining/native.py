"""What TensorFlow's own einsum would do, as far as it is worse: a model of it, for `explain`.

Read from `tensorflow/python/ops/linalg_grad.py` (`_EinsumGrad`) and the Einsum kernel, 2.16 to
2.21: the gradient with respect to one operand contracts the cotangent, always first, with the
other operand; the kernel permutes whatever is not (batch, free, contracting) in the order in which
labels appear; broadcast ellipsis dimensions are kept in the gradient and summed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.roles import label_roles, num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering.einsum_layout import einsum_layout

__all__ = ["native_gradient_drawbacks"]


def native_gradient_drawbacks(
    equation: Equation, k: int, ellipsis: str, sizes: Mapping[str, Size], dtype: str
) -> tuple[tuple[str, int], ...]:
    """Finds what native does worse in the gradient with respect to operand `k` of two.

    Args:
        equation: with ellipses expanded.
        k: the operand.
        ellipsis: the labels that `...` stands for.
        sizes: each label with its size.
        dtype: of the operands.

    Returns:
        Pairs of a phrase and the bytes it is about.
    """
    if len(equation.inputs) != 2:
        return ()
    subscripts, other = equation.inputs[k], equation.inputs[1 - k]
    item = itemsize(dtype)
    kept = "".join(x for x in ellipsis if x in equation.output and x not in subscripts)
    if kept:
        size = item * num_elements(dict.fromkeys(kept + subscripts), sizes)
        return (("materialises the summed ellipsis", size),)
    dot = Equation((equation.output, other), subscripts)
    roles = set(label_roles(dot).values())
    if any(len(set(term)) < len(term) for term in (*dot.inputs, dot.output)):
        return ()
    if not roles <= {"batch", "contracting", "free"}:
        return ()
    if roles <= {"batch"}:
        return ((f"runs {num_elements(subscripts, sizes):,} products of 1x1 matrices", 0),)
    moved = [term for term in einsum_layout(dot).permuted if num_elements(term, sizes) > 1]
    total = 2 * item * sum(num_elements(term, sizes) for term in moved)
    return ((f"permutes {', '.join(map(repr, moved))}", total),) if moved else ()
