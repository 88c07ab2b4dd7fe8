"""LoRA: whether a kernel and its low-rank factors cost less apart, or merged into one kernel.

The kernel is `W + A B`, with factors that share a label of their own, the rank. Merged, each step
makes a kernel of it and, backward, the gradient of all its elements, only to contract that with the
factors. Apart, `einsum(x, W) + einsum(x, A, B)` are two einsums; where `W` is frozen, nothing of a
kernel's size is differentiated.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Sequence
from functools import lru_cache

from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.algebra.sizes import Shape, bind_call
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.lower import cost_of
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.planning.pricing import einsum_cost

__all__ = ["apart_costs_less", "factored_equation"]


@lru_cache(maxsize=1024)
def factored_equation(equation: str) -> str:
    """The einsum of inputs and kernel with, in the kernel's place, its two factors.

    Args:
        equation: of inputs and kernel; the kernel's subscripts are letters.

    Example:
        >>> factored_equation("abc,cde->abde")
        'abc,cdZ,Ze->abde'
    """
    parsed = parse_equation(equation)
    inputs, kernel = parsed.inputs
    rank = next(x for x in reversed(string.ascii_letters) if x not in equation)
    return f"{inputs},{kernel[:-1]}{rank},{rank}{kernel[-1]}->{parsed.output}"


@lru_cache(maxsize=4096)
def apart_costs_less(
    equation: str,
    inputs: Shape,
    kernel: Shape,
    rank: int,
    dtype: str,
    training: bool,
    target: Target,
    machine: Machine,
) -> bool:
    """Whether a frozen kernel and its factors cost less apart than merged.

    Args:
        equation: of inputs and kernel; the kernel's subscripts are letters.
        inputs, kernel: their shapes; of the inputs', sizes may be unknown.
        rank: the size that the factors share.
        dtype: of the computation.
        training: whether the gradients of inputs and factors count too.
        target: "eager", "graph" or "xla".
        machine: what kernels are priced on.

    Raises:
        SizeError: the shapes do not fit the equation.
    """
    factors = ((*kernel[:-1], rank), (rank, kernel[-1]))

    def einsum(text: str, shapes: Sequence[Shape], needed: Collection[int]) -> float:
        return einsum_cost(text, tuple(shapes), dtype, needed if training else (), target, machine)

    def elementwise(shape: Shape) -> float:
        labels = string.ascii_letters[: len(shape)]
        sizes = dict(zip(labels, shape, strict=True))
        same = Equation((labels, labels), labels)
        return cost_of(Contraction.of(same, sizes, dtype, target, machine=machine)).microseconds

    # A B, times alpha / rank, plus W; backward, the product with alpha / rank once more.
    own = string.ascii_letters[: len(kernel)]
    merged = einsum(f"{own[:-1]}Z,Z{own[-1]}->{own}", factors, (0, 1))
    merged += elementwise(kernel) * (3 if training else 2)
    merged += einsum(equation, (inputs, kernel), (0, 1))
    # The factor times alpha / rank, the sum of the two results, of the two gradients of the inputs.
    binding = bind_call(equation, (inputs, kernel))
    sizes = dict(binding.sizes)
    apart = elementwise(factors[1]) + elementwise(tuple(sizes[x] for x in binding.equation.output))
    if training:
        apart += elementwise(factors[1]) + elementwise(inputs)
    # A frozen kernel's gradient is pruned from graphs; tapes follow it in eager mode all the same.
    apart += einsum(equation, (inputs, kernel), (0, 1) if target == "eager" else (0,))
    apart += einsum(factored_equation(equation), (inputs, *factors), (0, 1, 2))
    return apart < merged
