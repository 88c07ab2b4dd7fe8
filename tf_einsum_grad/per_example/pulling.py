"""The gradient of each example, of a use of a variable: the transposed equation, the batch kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.execution.call import run_call
from tf_einsum_grad.execution.machines import current_target, machine_of
from tf_einsum_grad.per_example.batch_axis import BatchAxis
from tf_einsum_grad.per_example.uses import Step, Use
from tf_einsum_grad.planning.pricing import einsum_cost

__all__ = ["gradient_of_use", "squares_of_use", "sum_dtype"]


@dataclass(frozen=True, slots=True)
class _Factors:
    """A gradient of examples as an einsum: of the cotangent, and what the variable met.

    Attributes:
        terms: of `tensors`, each with the batch label.
        tensors: one or two.
        batch: the batch label.
        kept: the gradient's labels without it, and without those that were broadcast.
        shape: the gradient's without the batch.
        sizes: of labels that only the gradient has.
    """

    terms: tuple[str, ...]
    tensors: tuple[tf.Tensor, ...]
    batch: str
    kept: str
    shape: tuple[int, ...]
    sizes: tuple[tuple[str, int], ...]

    @classmethod
    def of(
        cls,
        terms: tuple[str, ...],
        tensors: tuple[tf.Tensor, ...],
        batch: str,
        own: str,
        shape: tuple[int, ...],
    ) -> _Factors:
        """The factors of a gradient with the labels `own` and, without the batch, this shape."""
        wide = {
            label
            for term, x in zip(terms, tensors, strict=True)
            for label, n in zip(term, x.shape, strict=True)
            if n != 1
        }
        kept = [
            (label, n) for label, n in zip(own, shape, strict=True) if n != 1 or label not in wide
        ]
        sizes = tuple((label, n) for label, n in kept if not any(label in term for term in terms))
        return cls(terms, tensors, batch, "".join(label for label, _ in kept), shape, sizes)


def gradient_of_use(
    use: Use, cotangent: tf.Tensor, other: tf.Tensor | None, others: Sequence[Any]
) -> tf.Tensor:
    """The gradient of each example, `[batch, *variable.shape]`.

    Args:
        use: of the variable.
        cotangent: of the use's result, of the sum of all losses.
        other: what the variable met, where that counts.
        others: what each of the use's steps takes besides; None where that is nothing.
    """
    if use.equation is None:
        gradient = _scattered(use, cotangent, other)
    else:
        factors = _factors(use, cotangent, other)
        gradient = _contract(factors)
        if use.sign < 0:
            gradient = -gradient
    for step, beside in zip(reversed(use.steps), reversed(others), strict=True):
        gradient = _pull_back(step, gradient, beside)
    return gradient


def squares_of_use(use: Use, cotangent: tf.Tensor, other: tf.Tensor | None) -> tf.Tensor | None:
    """The sum of squares of each example's gradient, without that, where it costs less; else None.

    The squares of `btx,bty->bxy` sum to `btx,bsx,bty,bsy->b`: products of the examples with
    themselves, which are small where there are fewer `t` than `x` and `y`.
    """
    moves = all(step.equation is None for step in use.steps)
    if use.equation is None or not moves or cotangent.dtype.is_complex:
        return None
    factors = _factors(use, cotangent, other)
    if len(factors.terms) < 2 or factors.sizes or len(set(factors.kept)) < len(factors.kept):
        return None
    labels = "".join(factors.terms)
    summed = {x for x in labels if x not in factors.kept + factors.batch}
    spare = iter(x for x in ascii_letters if x not in labels)
    renamed = str.maketrans({x: next(spare) for x in sorted(summed)})
    terms = [*factors.terms, *(term.translate(renamed) for term in factors.terms)]
    text = f"{','.join(terms)}->{factors.batch}"
    tensors = (*factors.tensors, *factors.tensors)
    shapes = tuple(tuple(x.shape) for x in tensors)
    made = f"{','.join(factors.terms)}->{factors.batch}{factors.kept}"
    target = current_target()
    rest = (cotangent.dtype.name, (), target, machine_of(tensors, target))
    gradient = (shapes[0][factors.terms[0].index(factors.batch)], math.prod(factors.shape))
    apart = einsum_cost(made, shapes[:2], *rest) + einsum_cost("bk,bk->b", (gradient,) * 2, *rest)
    if einsum_cost(text, shapes, *rest) >= apart:
        return None
    return run_call(text, tensors, dtype=sum_dtype(cotangent.dtype))


def sum_dtype(dtype: tf.DType) -> tf.DType:
    """The dtype to sum squares in."""
    return tf.float32 if dtype.size < 4 else dtype


def _factors(use: Use, cotangent: tf.Tensor, other: tf.Tensor | None) -> _Factors:
    assert use.equation is not None
    own, *rest = use.equation.inputs
    batch = _spare(use.equation)
    out, cotangent = _apart(use.equation.output, use.output_axis, cotangent, batch)
    if other is None or use.other_axis is None:
        return _Factors.of((out,), (cotangent,), batch, own, use.shape)
    term, other = _apart(rest[0], use.other_axis, other, batch)
    return _Factors.of((term, out), (_conjugate(other), cotangent), batch, own, use.shape)


def _spare(equation: Equation) -> str:
    return next(x for x in reversed(ascii_letters) if x not in equation.labels)


def _conjugate(x: tf.Tensor) -> tf.Tensor:
    return tf.math.conj(x) if x.dtype.is_complex else x


def _apart(term: str, where: BatchAxis, x: tf.Tensor, batch: str) -> tuple[str, tf.Tensor]:
    """A term and its tensor with the batch apart from what it was merged with."""
    axis, inner, _ = where
    if inner == 1:
        return term[:axis] + batch + term[axis + 1 :], x
    shape = [tf.shape(x)[k] if n is None else n for k, n in enumerate(x.shape)]
    shape[axis : axis + 1] = [shape[axis] // inner, inner]
    return term[:axis] + batch + term[axis:], tf.reshape(x, shape)


def _contract(factors: _Factors) -> tf.Tensor:
    text = f"{','.join(factors.terms)}->{factors.batch}{factors.kept}"
    gradient = run_call(text, factors.tensors, sizes=dict(factors.sizes) or None)
    return tf.reshape(gradient, [-1, *factors.shape])


def _scattered(use: Use, cotangent: tf.Tensor, indices: Any) -> tf.Tensor:
    """The gradient of rows that were looked up: each example adds to a table of its own."""
    n_rows, *row = use.shape
    batch = tf.shape(indices)[0]
    own = tf.reshape(indices, [batch, -1])
    places = own + tf.cast(tf.range(batch) * n_rows, own.dtype)[:, None]
    rows = tf.reshape(cotangent, [-1, *row])
    table = tf.math.unsorted_segment_sum(rows, tf.reshape(places, [-1]), batch * n_rows)
    return tf.reshape(table, [-1, *use.shape])


def _pull_back(step: Step, gradient: tf.Tensor, beside: tf.Tensor | None) -> tf.Tensor:
    """The gradient of each example before a step, of that behind it."""
    if step.permutation is not None:
        back = [1 + step.permutation.index(k) for k in range(len(step.permutation))]
        return tf.transpose(gradient, [0, *back])
    if step.dtype is not None:
        return tf.cast(gradient, step.dtype)
    if step.equation is None:
        return tf.reshape(gradient, [-1, *step.shape])
    own, *rest = step.equation.inputs
    batch = _spare(step.equation)
    terms = (*rest, batch + step.equation.output)
    tensors = (gradient,) if beside is None else (_conjugate(beside), gradient)
    pulled = _contract(_Factors.of(terms, tensors, batch, own, step.shape))
    return -pulled if step.sign < 0 else pulled
