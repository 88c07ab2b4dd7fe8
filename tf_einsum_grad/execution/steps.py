"""One step of a plan, where sizes are read when it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.names import show_names
from tf_einsum_grad.execution.runtime_checks import op_name
from tf_einsum_grad.execution.vjp import contract_in_graph
from tf_einsum_grad.planning.plan import Step

__all__ = ["run_step"]


def run_step(
    text: str,
    step: Step,
    values: Sequence[tf.Tensor],
    given: Mapping[str, tf.Tensor],
    n_operands: int,
) -> tf.Tensor:
    """Contracts what a step says.

    Args:
        text: the equation, for messages.
        step: of a plan.
        values: the einsum's operands and the results so far.
        given: sizes of labels that no operand has, where only tensors know them.
        n_operands: how many of the values are the einsum's own operands, which messages number.
    """
    operands = [values[k] for k in step.operands]
    names = zip(step.contraction.equation.labels, step.equation.labels, strict=True)
    sizes = {new: given[old] for new, old in names if old in given}
    with _check_scope(text, step, operands, n_operands):
        return contract_in_graph(step.contraction, operands, sizes)


def _check_scope(
    text: str, step: Step, operands: Sequence[tf.Tensor], n_operands: int
) -> AbstractContextManager[Any]:
    """A scope for kernels that compare sizes, which says what they require."""
    names = zip(step.contraction.equation.labels, step.equation.labels, strict=True)
    labels = [show_names(text, old) for new, old in names if new in step.contraction.elastic]
    kind = "label"
    if not labels and len(operands) == 1:
        shape, term = operands[0].shape, step.equation.inputs[0]
        unknown = [x for axis, x in enumerate(term) if shape[axis] is None and term.count(x) > 1]
        labels = [show_names(text, label) for label in dict.fromkeys(unknown)]
        kind = "the repeated label"
    if not labels:
        return nullcontext()
    words = ["requires one size for", " and ".join(f"{kind} {label}" for label in labels)]
    if max(step.operands) < n_operands:
        words += ["of operand" + "s" * (len(operands) > 1), " and ".join(map(str, step.operands))]
    return tf.name_scope(op_name(*words, "in", show_names(text, str(step.equation))))
