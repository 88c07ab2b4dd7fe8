"""One contraction of one or two operands -> the cheapest known recipe of TensorFlow kernels.

Decided once for each equation, sizes, dtype and target; `kernels` only follows it.
"""

from __future__ import annotations

from functools import lru_cache

from tf_einsum_grad.lowering.binary import pairwise_lowerings
from tf_einsum_grad.lowering.recipe import Contraction, Lowering
from tf_einsum_grad.lowering.unary import lower_unary

__all__ = ["lower"]


@lru_cache(maxsize=16384)
def lower(contraction: Contraction) -> Lowering:
    """The recipe for a contraction: of the candidates, the one that costs least."""
    if len(contraction.equation.inputs) == 1:
        return lower_unary(contraction)
    return min(pairwise_lowerings(contraction), key=lambda lowering: lowering.cost.microseconds)
