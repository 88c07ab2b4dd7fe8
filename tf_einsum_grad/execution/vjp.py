"""The one custom gradient: a contraction of one or two operands, which is its own VJP's kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import tensorflow as tf

from tf_einsum_grad.algebra.dtypes import is_differentiable
from tf_einsum_grad.execution import kernels, private
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.lower import lower

__all__ = ["Rule", "contract", "eager_rule"]

Vjp = Callable[[tf.Tensor], list[tf.Tensor | None]]


class Rule:
    """A contraction with its sizes, ready to run; and its transposes, made when they are needed."""

    __slots__ = ("contraction", "differentiable", "is_identity", "run", "sizes", "transposes")

    def __init__(self, contraction: Contraction, sizes: kernels.Sizes) -> None:
        lowering = lower(contraction)
        self.contraction = contraction
        self.sizes = {label: _bring_here(size) for label, size in sizes.items()}
        self.run = kernels.assemble(lowering, self.sizes)
        self.is_identity = lowering.is_identity
        self.differentiable = is_differentiable(contraction.dtype)
        self.transposes: dict[int, Rule] = {}

    def transpose(self, k: int) -> Rule:
        """The rule for the VJP with respect to operand `k`."""
        if not tf.executing_eagerly():
            names = self.contraction.transposed_labels(k)
            sizes = {new: self.sizes[old] for new, old in names.items()}
            return Rule(self.contraction.transpose(k), sizes)
        if k not in self.transposes:
            self.transposes[k] = eager_rule(self.contraction.transpose(k))
        return self.transposes[k]


@lru_cache(maxsize=4096)
def eager_rule(contraction: Contraction) -> Rule:
    """Sizes are always known in eager mode, so a rule serves every call with them."""
    return Rule(contraction, {x: size for x, size in contraction.sizes if size is not None})


def contract(rule: Rule, operands: Sequence[tf.Tensor]) -> tf.Tensor:
    """One contraction of one or two operands, with its gradient: the rule of this package.

    A contraction is linear in each operand, so its VJP with respect to operand k is the transposed
    contraction, with the cotangent in slot k and the other operand conjugated. That is again a
    contraction, so the rule differentiates itself, to any order and in forward mode.
    """
    if rule.is_identity:
        same: tf.Tensor = tf.identity(operands[0])
        return same
    eager = tf.executing_eagerly()
    if not rule.differentiable or (eager and not private.recording()):
        return rule.run(*operands)
    if not eager:
        # Branches and backward passes are graphs of their own. `tf.custom_gradient` records a
        # tensor of the graph around them as it is; the second order would find it out of scope.
        operands = [tf.identity(x) for x in operands]

    def vjp(cotangent: tf.Tensor, needed: Sequence[bool]) -> list[tf.Tensor | None]:
        if not isinstance(cotangent, tf.Tensor):  # the sparse gradient of a gather
            cotangent = tf.convert_to_tensor(cotangent)
        return [
            contract(
                rule.transpose(k),
                [cotangent if i == k else _conjugate(x) for i, x in enumerate(operands)],
            )
            if needed[k]
            else None
            for k in range(len(operands))
        ]

    if eager and private.HAS_RECORD:
        return _record_eagerly(rule, operands, vjp)

    def run(*operands: tf.Tensor) -> tuple[tf.Tensor, Vjp]:
        everything = [True] * len(operands)
        return rule.run(*operands), lambda cotangent: vjp(cotangent, everything)

    result: tf.Tensor = tf.custom_gradient(run)(*operands)
    return result


def _record_eagerly(
    rule: Rule,
    operands: Sequence[tf.Tensor],
    vjp: Callable[[tf.Tensor, Sequence[bool]], list[tf.Tensor | None]],
) -> tf.Tensor:
    """What `tf.custom_gradient` does, at a third of its cost, for the operands that need it."""
    needed = [private.needs_gradient(x) for x in operands]
    if not any(needed):
        return rule.run(*operands)
    with private.stopped():
        result = rule.run(*operands)
    private.record(result, operands, lambda cotangent: vjp(cotangent, needed))
    return result


def _bring_here(size: kernels.Dim) -> kernels.Dim:
    """A size as a tensor of the graph being traced: `contract` says what for."""
    if isinstance(size, int) or size.graph is tf.compat.v1.get_default_graph():
        return size
    here: tf.Tensor = tf.identity(size)
    return here


def _conjugate(x: tf.Tensor) -> tf.Tensor:
    return tf.math.conj(x) if x.dtype.is_complex else x
