"""How a gradient comes about, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from tf_einsum_grad.algebra.dtypes import DTYPES
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.roles import label_roles
from tf_einsum_grad.algebra.sizes import Binding
from tf_einsum_grad.explaining.names import operand_name

__all__ = ["derivation"]


def derivation(binding: Binding, k: int, dtype: str) -> str:
    """Derives the gradient with respect to operand `k`, in words.

    Args:
        binding: the equation, and what broadcasts.
        k: the operand.
        dtype: of the operands.
    """
    conjugate = "conj " if DTYPES[dtype].kind == "complex" else ""
    return " ".join([_chain_rule(binding.equation, k, conjugate), *_consequences(binding, k)])


def _chain_rule(equation: Equation, k: int, conjugate: str) -> str:
    name = operand_name(k)
    linear = f"Y[{equation.output}] is linear in {name}[{equation.inputs[k]}]."
    so = f"So by the chain rule dL/d{name} is the incoming gradient dL/dY,"
    others = [operand_name(i) for i in range(len(equation.inputs)) if i != k]
    if not others:
        return f"{linear} {so} brought back along the same labels."
    return (
        f"With {' and '.join(others)} held fixed, {linear} {so} multiplied by "
        f"{' and '.join(conjugate + other for other in others)} and summed over every label that "
        f"{name} does not have."
    )


def _consequences(binding: Binding, k: int) -> Iterator[str]:
    equation, name = binding.equation, operand_name(k)
    subscripts, output = equation.inputs[k], equation.output
    summed = [x for x in equation.transpose(k).labels if x not in subscripts]
    yield (
        f"That is the same einsum with '{subscripts}' and '{output}' in each other's places"
        + (f"; it sums over {', '.join(summed)}." if summed else "; nothing is left to sum.")
    )
    roles = label_roles(equation)
    alone = [x for x in dict.fromkeys(subscripts) if roles[x] == "summed"]
    if alone:
        yield (
            f"{', '.join(alone)} was summed out of {name} alone: every element along it had the "
            "same weight, so the gradient is repeated along it."
        )
    if len(set(subscripts)) < len(subscripts):
        yield f"{name} was read on a diagonal only, so its gradient is zero everywhere else."
    broadcast = [binding.expanded.inputs[k][axis] for axis in binding.dropped[k]]
    if broadcast:
        yield (
            f"{name} has size 1 along {', '.join(broadcast)}, which broadcasts: it is left out of "
            "the equation, and put back into the gradient's shape."
        )
