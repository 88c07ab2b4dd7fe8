"""The one custom gradient: a contraction of one or two operands, which is its own VJP's kind.

What `tf.custom_gradient` does, in a form that keeps nothing alive. In a graph that registers a
gradient for each call under a new name, for the life of the process, with a closure over the graph;
what is saved asks for that name when it is loaded. So the rule is given to the op itself, which
frees it with its graph; and reads all it needs, sizes too, off that op's inputs, in whatever graph
the gradient is asked for: a branch, a loop's body, another function. Where a graph comes without it
(a SavedModel, a copy), TensorFlow differentiates the kernels one by one, to the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.dtypes import is_differentiable
from tf_einsum_grad.execution import kernels, private
from tf_einsum_grad.execution.raw import ops
from tf_einsum_grad.execution.shapes import Dim, Sizes, shape_of
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.lower import lower
from tf_einsum_grad.lowering.symmetry import mirrored

__all__ = [
    "Gradients",
    "Rule",
    "contract",
    "contract_in_graph",
    "eager_rule",
    "pull_back_in_graph",
    "several_with_rule",
    "with_rule",
]

Gradients = list[tf.Tensor | None]
Vjp = Callable[[tf.Tensor], Gradients]
# Of the operands, the cotangent, and whether each operand needs a gradient.
PullBack = Callable[[Sequence[tf.Tensor], Any, Sequence[bool]], Gradients]


def _pull_back(
    contraction: Contraction,
    run: Callable[[Contraction, Sequence[tf.Tensor]], tf.Tensor],
    run_transpose: Callable[[int, list[tf.Tensor]], tf.Tensor],
    operands: Sequence[tf.Tensor],
    cotangent: Any,
    needed: Sequence[bool],
) -> Gradients:
    """The VJP with respect to each operand that needs it: the rule of this package.

    A contraction is linear in each operand, so its VJP with respect to operand k is the transposed
    contraction, with the cotangent in slot k and the other operand conjugated. That is again a
    contraction, so the rule differentiates itself, to any order and in forward mode. Where both
    operands are one tensor, it has one gradient, of the cotangents of both, if that costs less.
    """
    if not isinstance(cotangent, tf.Tensor):  # the sparse gradient of a gather
        cotangent = tf.convert_to_tensor(cotangent)
    if len(operands) == 2 and operands[0] is operands[1] and all(needed):
        mirror = mirrored(contraction)
        if mirror is not None:
            both = cotangent + run(mirror, [cotangent])
            return [run_transpose(0, [both, _conjugate(operands[1])]), None]
    return [
        run_transpose(k, [cotangent if i == k else _conjugate(x) for i, x in enumerate(operands)])
        if needed[k]
        else None
        for k in range(len(operands))
    ]


def _conjugate(x: tf.Tensor) -> tf.Tensor:
    return tf.math.conj(x) if x.dtype.is_complex else x


class Rule:
    """A contraction in eager mode, ready to run; its transposes are made when they are needed."""

    __slots__ = ("contraction", "differentiable", "is_identity", "run", "transposes")

    def __init__(self, contraction: Contraction) -> None:
        lowering = lower(contraction)
        self.contraction = contraction
        self.run = kernels.assemble(lowering, Sizes(contraction))
        self.is_identity = lowering.is_identity
        self.differentiable = is_differentiable(contraction.dtype)
        self.transposes: dict[int, Rule] = {}

    def transpose(self, k: int) -> Rule:
        """The rule for the VJP with respect to operand `k`."""
        if k not in self.transposes:
            self.transposes[k] = eager_rule(self.contraction.transpose(k))
        return self.transposes[k]


@lru_cache(maxsize=4096)
def eager_rule(contraction: Contraction) -> Rule:
    """Sizes are always known in eager mode, so a rule serves every call with them."""
    return Rule(contraction)


def contract(rule: Rule, operands: Sequence[tf.Tensor]) -> tf.Tensor:
    """One contraction of one or two operands in eager mode, with its gradient."""
    if rule.is_identity:
        same: tf.Tensor = tf.identity(operands[0])
        return same
    if not rule.differentiable or not private.recording():
        return rule.run(*operands)

    def run_transpose(k: int, others: list[tf.Tensor]) -> tf.Tensor:
        if tf.executing_eagerly():
            return contract(rule.transpose(k), others)
        # A Jacobian pulls back inside the loop body of `tf.vectorized_map`.
        return contract_in_graph(rule.contraction.transpose(k), others)

    def run_other(other: Contraction, operands: Sequence[tf.Tensor]) -> tf.Tensor:
        if tf.executing_eagerly():
            return contract(eager_rule(other), operands)
        return contract_in_graph(other, operands)

    def vjp(cotangent: tf.Tensor, needed: Sequence[bool]) -> Gradients:
        return _pull_back(rule.contraction, run_other, run_transpose, operands, cotangent, needed)

    if not private.HAS_RECORD:
        return _by_custom_gradient(rule.run, vjp, operands)
    needed = [private.needs_gradient(x) for x in operands]
    if not any(needed):
        return rule.run(*operands)
    with private.stopped():
        result = rule.run(*operands)
    private.record(result, operands, lambda cotangent: vjp(cotangent, needed))
    return result


def contract_in_graph(
    contraction: Contraction,
    operands: Sequence[tf.Tensor],
    given: Mapping[str, Dim] | None = None,
    backward: bool = False,
    like: tf.Tensor | None = None,
) -> tf.Tensor:
    """One contraction of one or two operands in the graph being traced, with its gradient.

    In eager mode too, for sizes that differ from call to call: they are read off the operands.

    Args:
        contraction: what to compute.
        operands: of this graph, or of one around it.
        given: sizes of labels that no operand has, as far as the contraction does not know them.
        backward: whether it is a VJP of another. Few are differentiated again, those mostly under a
            tape that sees it: else nothing is added for that, and views are shared, which a tape
            that began in between would not follow.
        like: a tensor that has the result's shape, if there is one.
    """
    lowering = lower(contraction)
    if lowering.is_identity:
        same: tf.Tensor = tf.identity(operands[0])
        return same
    last = backward and not private.recording()

    def run(*operands: tf.Tensor) -> tf.Tensor:
        sizes = Sizes(contraction, operands, given, last, like)
        return kernels.assemble(lowering, sizes)(*operands)

    if not is_differentiable(contraction.dtype):
        return run(*operands)

    def pull_back(
        operands: Sequence[tf.Tensor], cotangent: Any, needed: Sequence[bool]
    ) -> Gradients:
        return pull_back_in_graph(contraction, operands, cotangent, needed)

    result = with_rule(run, pull_back, operands, last=last)
    private.note(result, contraction)
    return result


def with_rule(
    run: Callable[..., tf.Tensor],
    pull_back: PullBack,
    operands: Sequence[tf.Tensor],
    hidden: bool = False,
    last: bool = False,
) -> tf.Tensor:
    """Runs a function of tensors, with its gradient, in eager mode or in the graph being traced.

    Args:
        run: computes the result from the operands and constants.
        pull_back: its VJP, of the operands, the cotangent, and whether each operand needs one; it
            takes all it needs from these operands, which are of the graph that it runs in.
        operands: of this graph, or of one around it.
        hidden: whether what runs is kept from tapes and accumulators, which know the rule alone.
        last: whether no op is added to hold the rule, where TensorFlow can do without.
    """
    everything = [True] * len(operands)
    eager = tf.executing_eagerly()
    if not (private.HAS_RECORD and (eager or private.HAS_OP_GRADIENT)):
        return _by_custom_gradient(
            run, lambda cotangent, needed: pull_back(operands, cotangent, needed), operands
        )
    operands = operands if eager else [private.bring_here(x) for x in operands]
    needed = [private.recording() and private.needs_gradient(x) for x in operands]
    if eager:
        with private.stopped():
            result = run(*operands)
    else:
        # Tapes see the kernels too: where `tf.vectorized_map` leaves one as it is, since nothing in
        # it depends on the loop, they have to know what it comes from.
        with private.stopped() if hidden else nullcontext():
            result = private.give_gradient(
                run(*operands),
                operands,
                lambda residuals, cotangent: pull_back(residuals, cotangent, everything),
                not last,
            )
    if any(needed):
        private.record(result, operands, lambda cotangent: pull_back(operands, cotangent, needed))
    return result


def several_with_rule(
    run: Callable[..., list[tf.Tensor]],
    pull_back: Callable[[Sequence[tf.Tensor], Sequence[Any]], Gradients],
    operands: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """Runs a function of tensors with several results, as `with_rule` does those with one.

    Args:
        run: computes the results from the operands and constants.
        pull_back: its VJP, of the operands and the cotangent of each result.
        operands: of this graph, or of one around it.
    """
    eager = tf.executing_eagerly()
    if not (private.HAS_RECORD and (eager or private.HAS_OP_GRADIENT)):

        def run_and_rule(*operands: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Gradients]]:
            return run(*operands), lambda *cotangents: pull_back(operands, cotangents)

        computed: list[tf.Tensor] = tf.custom_gradient(run_and_rule)(*operands)
        return computed
    operands = operands if eager else [private.bring_here(x) for x in operands]
    followed = private.recording() and any(private.needs_gradient(x) for x in operands)
    with private.stopped():  # tapes and accumulators know the rule alone
        results = run(*operands)
        if not eager:
            results = private.give_gradients(results, operands, pull_back)
    if followed:
        private.record_several(
            results, operands, lambda *cotangents: pull_back(operands, cotangents)
        )
    return results


def pull_back_in_graph(
    contraction: Contraction,
    operands: Sequence[tf.Tensor],
    cotangent: Any,
    needed: Sequence[bool],
) -> Gradients:
    """The VJP of a contraction with respect to each operand that needs it; sizes are read here."""

    def run_transpose(k: int, others: list[tf.Tensor]) -> tf.Tensor:
        names = contraction.transposed_labels(k)
        transposed = contraction.transpose(k)
        unknown = [
            label
            for label in transposed.equation.output
            if not any(label in term for term in transposed.equation.inputs)
            and dict(transposed.sizes)[label] is None
        ]
        own = contraction.equation.inputs[k]
        given = {x: shape_of(operands[k])[own.index(names[x])] for x in unknown}
        like = None if contraction.stretches(k) else operands[k]
        result = contract_in_graph(transposed, others, given, backward=True, like=like)
        if not contraction.stretches(k):
            return result
        kept = contraction.equation.output
        return _fit(result, operands[k], any(x not in kept for x in contraction.elastic))

    return _pull_back(contraction, contract_in_graph, run_transpose, operands, cotangent, needed)


def _fit(gradient: tf.Tensor, operand: tf.Tensor, contracted: bool) -> tf.Tensor:
    """The gradient of an operand that may have been stretched: summed where it was.

    Where instead the other operand was, along a label that both contract, the gradient has this
    operand's 1, and is alike all along it: `contracted` says whether that may be.
    """
    shape = shape_of(operand)
    axes = ops.BroadcastGradientArgs(s0=shape, s1=shape_of(gradient))[0]
    fitted: tf.Tensor = ops.Sum(input=gradient, axis=axes, keep_dims=True)
    if contracted:
        fitted = ops.BroadcastTo(input=fitted, shape=shape)
    fitted.set_shape(operand.shape)
    return fitted


def _by_custom_gradient(
    run: Callable[..., tf.Tensor],
    vjp: Callable[[tf.Tensor, Sequence[bool]], Gradients],
    operands: Sequence[tf.Tensor],
) -> tf.Tensor:
    """The rule as TensorFlow's public API has it, where what the module says is not to be had."""
    everything = [True] * len(operands)

    def run_and_rule(*operands: tf.Tensor) -> tuple[tf.Tensor, Vjp]:
        return run(*operands), lambda cotangent: vjp(cotangent, everything)

    result: tf.Tensor = tf.custom_gradient(run_and_rule)(*operands)
    return result
