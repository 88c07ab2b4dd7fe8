"""One call of `einsum` on tensors: read, decide (once for each signature), execute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from tf_einsum_grad.algebra.equation import Equation, parse_call
from tf_einsum_grad.algebra.errors import OperandError, SizeError
from tf_einsum_grad.algebra.sizes import Binding, Shape, bind_call
from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.machines import current_target, machine_of
from tf_einsum_grad.execution.operands import (
    check_dtypes,
    convert_operands,
    eager_signature,
    eager_tensors,
    read_dtype,
    signature,
)
from tf_einsum_grad.execution.runtime_checks import (
    Guard,
    compare_sizes,
    give_ranks,
    split_ellipsis,
)
from tf_einsum_grad.execution.sliced import SlicedEinsum
from tf_einsum_grad.execution.sparse import find_sparse, run_sparse
from tf_einsum_grad.execution.steps import run_step
from tf_einsum_grad.execution.vjp import Rule, contract, eager_rule
from tf_einsum_grad.lowering import watch
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.planning.integers import adds_up_in_float32
from tf_einsum_grad.planning.limit import Memory, MemoryLimit, read_memory
from tf_einsum_grad.planning.path import Optimize, hashable_optimize
from tf_einsum_grad.planning.plan import Plan, make_plan
from tf_einsum_grad.planning.slices import make_sliced_plan

__all__ = ["Call", "run_call", "run_eager_call"]

# What is an operand without further questions, in eager mode.
_PLAIN = (private.EAGER_TENSOR, tf.Variable, np.ndarray, int, float)


def run_eager_call(text: str, operands: Sequence[Any], optimize: str) -> tf.Tensor | None:
    """An einsum of tensors, variables and arrays in eager mode; None where it is anything else.

    All that is decided follows from the operands' signature, so a call that came before is one
    lookup.
    """
    known = eager_signature(operands)
    if known is None:
        if not tf.executing_eagerly():
            return None
        tensors = eager_tensors(operands) if operands else None
        if tensors is None:
            if not all(isinstance(x, _PLAIN) for x in operands):
                return None
            tensors = convert_operands(text, operands)
        operands = tensors
        known = signature(operands)
    machine = machine_of(operands, "eager")
    return _run(text, _prepare_eagerly(text, *known, optimize, machine), operands, {})


# AutoGraph would rewrite this whole package, 2 seconds at the first trace; there is nothing to do.
@private.leave_unconverted
def run_call(
    text: str,
    operands: Sequence[Any],
    optimize: Optimize = "auto",
    sizes: Mapping[str, Any] | None = None,
    size_hints: Mapping[str, int] | None = None,
    name: str | None = None,
    dtype: Any = None,
    memory_limit: MemoryLimit = None,
    recompute: bool = False,
) -> tf.Tensor:
    """An einsum of whatever converts to tensors, in eager mode or in the graph being traced.

    Args:
        text: the equation.
        operands: one for each of its terms.
        optimize, sizes, size_hints, name, dtype, memory_limit, recompute: as for `einsum`.

    Raises:
        EinsumError: as `einsum` does.
    """
    memory = read_memory(memory_limit, recompute)
    target = current_target()
    with tf.name_scope(name or "einsum") if target != "eager" else nullcontext():
        watch.called(text, operands)
        parsed = parse_call(text, len(operands))
        given, given_tensors = _read_sizes(text, "sizes", sizes)
        hints, _ = _read_sizes(text, "size_hints", size_hints)
        wanted = read_dtype(text, dtype)
        # Casts as large as the operands are not for where memory is limited.
        if memory is None and wanted and _is_exact_in_float32(text, operands, wanted):
            floats = [tf.cast(x, tf.float32) for x in operands]
            product = run_call(text, floats, optimize, sizes, size_hints)
            return tf.cast(product, wanted)
        k = find_sparse(text, operands)
        if k is not None:
            if memory is not None:
                raise OperandError(
                    f"einsum {text!r} requires dense operands with memory_limit or recompute, got "
                    f"{type(operands[k]).__name__} for operand {k}"
                )
            options = (given, given_tensors, hints, target, optimize, wanted)
            return run_sparse(text, parsed, operands, k, *options)
        tensors = convert_operands(text, operands, wanted)
        machine = machine_of(tensors, target)
        plain = sizes is size_hints is None and memory is None
        if target == "eager" and type(optimize) is str and plain:
            prepared = _prepare_eagerly(text, *signature(tensors), optimize, machine)
            return _run(text, prepared, tensors, {})
        merged, tensors, ellipsis_dims = give_ranks(parsed, tensors)
        shapes: list[Any] = [private.shape_tuple(x) for x in tensors]  # they have ranks now
        call = (text, merged, tuple(shapes), tensors[0].dtype.name, given, hints, target, machine)
        key = hashable_optimize(optimize)
        cached = key is not None and all(_is_key(size) for _, size in given + hints)
        how = (key, memory) if cached else (optimize, memory)
        prepared = (_prepare_cached if cached else _prepare)(*call, *how)
        result = _run(text, prepared, tensors, given_tensors)
        if ellipsis_dims is None:
            return result
        return split_ellipsis(result, parsed.output, ellipsis_dims)


def _is_exact_in_float32(text: str, operands: Sequence[Any], wanted: tf.DType) -> bool:
    """Whether float32 computes the integers that are asked for, of two tensors of int8."""
    if wanted not in (tf.int32, tf.int64) or len(operands) != 2:
        return False
    if not all(isinstance(x, tf.Tensor) and x.dtype == tf.int8 for x in operands):
        return False
    shapes = [private.shape_tuple(x) for x in operands]
    known = tuple(shape for shape in shapes if shape is not None)
    return len(known) == 2 and adds_up_in_float32(text, known)


def _read_sizes(
    text: str, name: str, sizes: Mapping[str, Any] | None
) -> tuple[tuple[tuple[str, Any], ...], Mapping[str, tf.Tensor]]:
    """Sizes as what a cache key needs, None for those that are tensors of a graph, and these."""
    if not sizes:
        return (), {}
    if not isinstance(sizes, Mapping) or not all(isinstance(label, str) for label in sizes):
        raise SizeError(f"einsum {text!r} requires {name} to map labels to sizes, got {sizes!r}")
    items = {}
    tensors = {}
    for label, size in sorted(sizes.items()):
        if size is None:  # which would mean a tensor further on
            raise SizeError(
                f"einsum {text!r} requires an integer in {name} for label {label!r}, got None"
            )
        items[label] = tuple(size) if isinstance(size, list) else size
        if isinstance(size, tf.Tensor):
            if tf.executing_eagerly() and size.dtype.is_integer and size.shape.rank == 0:
                items[label] = int(size)
            elif size.dtype.is_integer and size.shape.rank in (0, None):
                items[label] = None
                tensors[label] = tf.cast(size, tf.int32)
    try:
        hash(tuple(items.values()))
    except TypeError as error:
        raise SizeError(
            f"einsum {text!r} requires {name} to be integers, got {dict(sizes)!r}"
        ) from error
    return tuple(items.items()), tensors


def _is_key(size: object) -> bool:
    """Whether what equals this size means the same: `True` and `1.0` equal 1, and are errors."""
    if isinstance(size, tuple):
        return all(map(_is_key, size))
    return size is None or type(size) is int


@dataclass(frozen=True, slots=True)
class Call:
    """An einsum that was planned, for whoever watches (`lowering.watch`)."""

    text: str
    shapes: tuple[Shape, ...]
    dtype: str
    target: Target


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that is decided about a call.

    Attributes:
        binding: sizes, and what has to be compared when the tensors are there.
        plan: the steps.
        widened: what operands are cast to, and the result back from; None for no cast.
        rules: the rule for each step, in eager mode; None in graphs.
        compiled: all of it as XLA compiles it, in place of the steps; None where they run.
        sliced: what runs in place of the steps where memory is limited; None where it is not.
    """

    binding: Binding
    plan: Plan
    widened: str | None
    rules: tuple[Rule, ...] | None
    compiled: Callable[..., tf.Tensor] | None
    sliced: SlicedEinsum | None = None


def _prepare(
    text: str,
    merged: Equation | None,
    shapes: tuple[Shape, ...],
    dtype: str,
    given: tuple[tuple[str, Any], ...],
    hints: tuple[tuple[str, int], ...],
    target: Target,
    machine: Machine,
    optimize: Optimize,
    memory: Memory | None = None,
) -> _Prepared:
    """Decides everything about a call that follows from its shapes and dtype."""
    binding = bind_call(text, shapes, dict(given), merged)
    if memory is not None:
        return _prepare_sliced(text, binding, dtype, hints, target, machine, optimize, memory)
    plan = make_plan(
        binding.equation,
        binding.sizes,
        dtype,
        optimize,
        hints,
        target,
        machine,
        binding.elastic,
    )
    if target != "xla" and not given:
        watch.report(Call(text, shapes, dtype, target))
    eager = target == "eager"
    rules = tuple(eager_rule(step.contraction) for step in plan.steps) if eager else None
    compiled = _compile(text, optimize) if plan.compiled and not given else None
    return _Prepared(binding, plan, None if plan.dtype == dtype else plan.dtype, rules, compiled)


def _prepare_sliced(
    text: str,
    binding: Binding,
    dtype: str,
    hints: tuple[tuple[str, int], ...],
    target: Target,
    machine: Machine,
    optimize: Optimize,
    memory: Memory,
) -> _Prepared:
    """The same where memory is limited; slices run in graphs, in eager mode too."""
    equation, sizes = binding.equation, dict(binding.sizes)
    inputs = "".join(equation.inputs)
    sliced = make_sliced_plan(
        equation,
        binding.sizes,
        dtype,
        optimize,
        hints,
        "graph" if target == "eager" else target,
        machine,
        binding.elastic,
        memory.limit,
        fixed="".join([x for x, n in binding.sizes if n is None and x not in inputs]),
    )

    run = SlicedEinsum(text, sliced, sizes, target == "xla")
    return _Prepared(binding, sliced.plan, None, None, None, run)


def _compile(text: str, optimize: Optimize) -> Callable[..., tf.Tensor]:
    """The einsum as a function that XLA compiles; TensorFlow compiles its gradients likewise."""

    def compiled(*operands: tf.Tensor) -> tf.Tensor:
        return run_call(text, operands, optimize)

    function: Callable[..., tf.Tensor] = tf.function(compiled, autograph=False, jit_compile=True)
    return function


_prepare_cached = lru_cache(maxsize=4096)(_prepare)


@lru_cache(maxsize=4096)
def _prepare_eagerly(
    text: str,
    shapes: tuple[Shape, ...],
    dtypes: tuple[tf.DType, ...],
    optimize: str,
    machine: Machine,
) -> _Prepared:
    """All that is decided about an eager call without options."""
    parse_call(text, len(shapes))
    check_dtypes(text, dtypes)
    return _prepare(text, None, shapes, dtypes[0].name, (), (), "eager", machine, optimize)


def _run(
    text: str,
    prepared: _Prepared,
    tensors: Sequence[tf.Tensor],
    given: Mapping[str, tf.Tensor],
) -> tf.Tensor:
    """Executes a plan; what it holds is final."""
    if prepared.compiled is not None:
        return prepared.compiled(*tensors)
    if prepared.rules is None:
        return _run_in_graph(text, prepared, tensors, given)
    values = _read(prepared, tensors)
    for step, rule in zip(prepared.plan.steps, prepared.rules, strict=True):
        values.append(contract(rule, [values[k] for k in step.operands]))
    return values[-1] if prepared.widened is None else tf.cast(values[-1], tensors[0].dtype)


def _read(prepared: _Prepared, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Operands as the steps take them: without dimensions of size 1 that broadcast."""
    values = list(tensors)
    if any(prepared.binding.dropped):
        for k, axes in enumerate(prepared.binding.dropped):
            values[k] = tf.squeeze(values[k], axes) if axes else values[k]
    if prepared.widened is not None:
        values = [tf.cast(x, prepared.widened) for x in values]
    return values


def _run_in_graph(
    text: str,
    prepared: _Prepared,
    tensors: Sequence[tf.Tensor],
    given: Mapping[str, tf.Tensor],
) -> tf.Tensor:
    binding = prepared.binding
    guards: Sequence[Guard] = ()
    if binding.checks:
        tensors, guards = compare_sizes(text, binding, tensors)
    values = _read(prepared, tensors)
    with tf.control_dependencies(guards) if guards else nullcontext():
        if prepared.sliced is not None:
            return prepared.sliced(values, given)
        for step in prepared.plan.steps:
            values.append(run_step(text, step, values, given, len(tensors)))
    result = values[-1] if prepared.widened is None else tf.cast(values[-1], tensors[0].dtype)
    if None in (private.shape_tuple(result) or (None,)):
        known = dict(binding.sizes)
        result.set_shape([known[label] for label in binding.equation.output])
    return result
