"""The public `einsum`, and the one custom gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import tensorflow as tf

from tf_einsum_grad import _private, kernels
from tf_einsum_grad.alignment import align, merge_ellipses, split_ellipsis
from tf_einsum_grad.dtypes import is_differentiable
from tf_einsum_grad.equation import ELLIPSIS, Equation, expand_ellipses, parse_equation
from tf_einsum_grad.errors import EquationError, SizeError
from tf_einsum_grad.lowering import lower
from tf_einsum_grad.operands import convert_operands, read_call
from tf_einsum_grad.path import Optimize, hashable_optimize
from tf_einsum_grad.plan import Plan, make_plan
from tf_einsum_grad.recipe import Contraction
from tf_einsum_grad.sizes import Binding, Shape, bind_sizes

__all__ = ["einsum"]


def einsum(
    equation: Any,
    *operands: Any,
    optimize: Optimize = "auto",
    sizes: Mapping[str, Any] | None = None,
    size_hints: Mapping[str, int] | None = None,
    name: str | None = None,
) -> tf.Tensor:
    """A drop-in for `tf.einsum` whose gradients are einsums.

    Args:
        equation: what `np.einsum` takes: explicit or implicit output, ellipses, any white space,
            any letters, repeated labels (in the output too: `i->ii` is a diagonal matrix). Or, in
            NumPy's other form, operands and sublists: `einsum(a, [0, 1], b, [1, 2], [0, 2])`.
        *operands: tensors, variables and arrays of one dtype; Python numbers and lists take the
            dtype of the others. Dimensions of size 1 broadcast.
        optimize: the contraction path: a bool, the name of an opt_einsum optimiser (or a name and
            a memory limit in elements), a path, what `np.einsum_path` returns, or an optimiser.
        sizes: sizes of output labels that no operand has, `{"j": 5}`; `{"...": (2, 3)}` for an
            ellipsis that only the output has.
        size_hints: sizes to plan with where they are unknown: `{"b": 32}`. They change the speed,
            never the result.
        name: a name for the op, in graphs.

    Returns:
        A tensor of the operands' dtype. float16 and bfloat16 accumulate in float32.

    Raises:
        EinsumError: before anything is computed; its kinds say what is wrong: EquationError,
            OperandError, SizeError, PathError.
        tf.errors.InvalidArgumentError: sizes that were unknown when a graph was traced differ.

    Example:
        >>> einsum("ij,jk->ik", [[1.0, 2.0]], [[3.0], [4.0]]).numpy()
        array([[11.]], dtype=float32)
    """
    text, operands = read_call(equation, operands)
    parsed = parse_equation(text)
    if len(parsed.inputs) != len(operands):
        raise EquationError(
            f"einsum {text!r} requires {len(parsed.inputs)} operands, got {len(operands)}"
        )
    tensors = convert_operands(text, operands)
    if tf.executing_eagerly():
        return _einsum(text, parsed, tensors, optimize, sizes, size_hints, "kernels")
    target = "xla" if _private.in_xla_context() else "kernels"
    with tf.name_scope(name or "einsum"):
        return _einsum(text, parsed, tensors, optimize, sizes, size_hints, target)


def _einsum(
    text: str,
    parsed: Equation,
    tensors: Sequence[tf.Tensor],
    optimize: Optimize,
    sizes: Mapping[str, Any] | None,
    size_hints: Mapping[str, int] | None,
    target: str,
) -> tf.Tensor:
    original, ellipsis_dims = parsed, None
    if any(
        _private.shape_tuple(x) is None and ELLIPSIS in subscripts
        for x, subscripts in zip(tensors, parsed.inputs, strict=True)
    ):
        parsed, tensors, ellipsis_dims = merge_ellipses(parsed, tensors)
    shapes = tuple(map(_private.shape_tuple, tensors))
    if None in shapes:
        tensors = [
            tf.ensure_shape(x, [None] * len(subscripts)) if shape is None else x
            for x, shape, subscripts in zip(tensors, shapes, parsed.inputs, strict=True)
        ]
        shapes = tuple(map(_private.shape_tuple, tensors))
    given = tuple(sorted(sizes.items())) if sizes else ()
    hints = tuple(sorted(size_hints.items())) if size_hints else ()
    call = (text, parsed, shapes, tensors[0].dtype.name, given, hints, target)
    key = hashable_optimize(optimize)
    prepared = _prepare(*call, optimize) if key is None else _prepare_cached(*call, key)
    result = _run(text, prepared, tensors)
    if ellipsis_dims is None:
        return result
    return split_ellipsis(result, original.output, ellipsis_dims)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that is decided about a call: its sizes, its plan, and the sizes for each step."""

    binding: Binding
    plan: Plan
    step_sizes: tuple[Mapping[str, int], ...] | None  # None where some are unknown


def _prepare(
    text: str,
    parsed: Equation,
    shapes: tuple[Shape, ...],
    dtype: str,
    given: tuple[tuple[str, Any], ...],
    hints: tuple[tuple[str, int], ...],
    target: str,
    optimize: Optimize,
) -> _Prepared:
    sizes = dict(given)
    ellipsis_sizes = sizes.pop(ELLIPSIS, None)
    if ellipsis_sizes is not None and ELLIPSIS not in parsed.output:
        raise SizeError(f"einsum {text!r} requires '...' in the output for sizes={{'...': ...}}")
    ranks = tuple(map(len, shapes))
    equation = expand_ellipses(
        parsed, ranks, None if ellipsis_sizes is None else len(ellipsis_sizes)
    )
    if ellipsis_sizes is not None:
        start = parsed.output.index(ELLIPSIS)
        labels = equation.output[start : start + len(ellipsis_sizes)]
        sizes |= dict(zip(labels, ellipsis_sizes, strict=True))
    binding = bind_sizes(equation, shapes, sizes, text)
    plan = make_plan(binding.equation, binding.sizes, dtype, optimize, hints, target)
    known = all(size is not None for _, size in binding.sizes)
    step_sizes = tuple(dict(step.contraction.sizes) for step in plan.steps) if known else None
    return _Prepared(binding, plan, step_sizes)


_prepare_cached = lru_cache(maxsize=4096)(_prepare)


def _run(text: str, prepared: _Prepared, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Executes a plan; what it holds is final."""
    binding = prepared.binding
    if binding.checks:
        tensors = align(text, binding, tensors)
    values = [
        tf.squeeze(x, axes) if axes else x for x, axes in zip(tensors, binding.dropped, strict=True)
    ]
    step_sizes = prepared.step_sizes or _runtime_sizes(prepared, values)
    for step, sizes in zip(prepared.plan.steps, step_sizes, strict=True):
        values.append(_contract(step.contraction, [values[k] for k in step.operands], sizes))
    return values[-1]


def _runtime_sizes(prepared: _Prepared, values: Sequence[tf.Tensor]) -> list[kernels.Sizes]:
    """The sizes of each step's labels, unknown ones read off the operands."""
    sizes: dict[str, Any] = {label: s for label, s in prepared.binding.sizes if s is not None}
    for x, subscripts in zip(values, prepared.binding.equation.inputs, strict=True):
        shape = None
        for axis, label in enumerate(subscripts):
            if label not in sizes:
                shape = tf.shape(x) if shape is None else shape
                sizes[label] = shape[axis]
    return [
        {
            new: sizes[old]
            for new, old in zip(step.contraction.equation.labels, step.equation.labels, strict=True)
        }
        for step in prepared.plan.steps
    ]


def _contract(
    contraction: Contraction, operands: Sequence[tf.Tensor], sizes: kernels.Sizes
) -> tf.Tensor:
    """One contraction of one or two operands, with its gradient: the rule of this package.

    A contraction is linear in each operand, so its VJP with respect to operand k is the transposed
    contraction, with the cotangent in slot k and the other operand conjugated. That is again a
    contraction, so the rule differentiates itself, to any order and in forward mode.
    """
    lowering = lower(contraction)
    if lowering.is_identity:
        return tf.identity(operands[0])
    if not is_differentiable(contraction.dtype):
        return kernels.run(lowering, operands, sizes)

    def vjp(cotangent: tf.Tensor, needed: Sequence[bool]) -> list[tf.Tensor | None]:
        cotangent = tf.convert_to_tensor(cotangent)
        return [
            _contract(
                contraction.transpose(k),
                [cotangent if i == k else _conjugate(x) for i, x in enumerate(operands)],
                sizes,
            )
            if needed[k]
            else None
            for k in range(len(operands))
        ]

    if tf.executing_eagerly() and _private.HAS_RECORD:
        if not _private.recording():
            return kernels.run(lowering, operands, sizes)
        followed = [_private.needs_gradient(x) for x in operands]
        with _private.stopped():
            result = kernels.run(lowering, operands, sizes)
        _private.record(result, operands, lambda cotangent: vjp(cotangent, followed))
        return result

    @tf.custom_gradient
    def rule(*operands: tf.Tensor) -> Any:
        everything = [True] * len(operands)
        return kernels.run(lowering, operands, sizes), lambda cotangent: vjp(cotangent, everything)

    return rule(*operands)


def _conjugate(x: tf.Tensor) -> tf.Tensor:
    return tf.math.conj(x) if x.dtype.is_complex else x
