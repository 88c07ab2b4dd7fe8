"""What a whole einsum costs, with the gradients that are wanted of it."""

from __future__ import annotations

from collections.abc import Collection

from tf_einsum_grad.algebra.sizes import Shape, bind_call
from tf_einsum_grad.lowering.lower import cost_of
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.planning.plan import make_plan

__all__ = ["einsum_cost"]


def einsum_cost(
    text: str,
    shapes: tuple[Shape, ...],
    dtype: str,
    needed: Collection[int],
    target: Target,
    machine: Machine,
) -> float:
    """The microseconds of an einsum, and of its gradients with respect to the operands `needed`.

    Raises:
        SizeError: the shapes do not fit the equation.

    Example:
        >>> from tf_einsum_grad.lowering.machine import CPU
        >>> call = ("ij,jk->ik", ((64, 64), (64, 64)), "float32")
        >>> price = [einsum_cost(*call, needed, "graph", CPU) for needed in ((), (0,))]
        >>> price[0] < price[1]
        True
    """
    binding = bind_call(text, shapes)
    plan = make_plan(
        binding.equation,
        binding.sizes,
        dtype,
        target=target,
        machine=machine,
        elastic=binding.elastic,
    )
    needs = [k in needed for k in range(len(shapes))]
    total = 0.0
    for step in plan.steps:
        total += cost_of(step.contraction).microseconds
        for k, number in enumerate(step.operands):
            if needs[number]:
                total += cost_of(step.contraction.transpose(k)).microseconds
        needs.append(any(needs[number] for number in step.operands))
    return total
