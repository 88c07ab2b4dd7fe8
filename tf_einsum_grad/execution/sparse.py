"""One call of `einsum` with a sparse operand, which stays sparse: read, decide, execute.

`planning.sparse_plan` says how: values and looked-up rows are dense tensors with one label more,
that of the entries. All that is differentiated is a contraction or one of `lookup`'s three maps,
which are closed under transposition; so gradients are right to any order, that of the values is the
transposed equation sampled at their indices, and none makes the operand dense.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.dtypes import DTYPES
from tf_einsum_grad.algebra.equation import ELLIPSIS, Equation
from tf_einsum_grad.algebra.errors import OperandError, SizeError
from tf_einsum_grad.algebra.names import show_names
from tf_einsum_grad.algebra.sizes import Binding, Check, Shape, bind_call
from tf_einsum_grad.execution import lookup, private
from tf_einsum_grad.execution.entries import Entries, Sparse, ensure_rank, shape_as_known
from tf_einsum_grad.execution.extents import (
    Extent,
    extent,
    flatten,
    fold,
    shape_of,
    unfold,
    vector_of,
)
from tf_einsum_grad.execution.machines import machine_of
from tf_einsum_grad.execution.operands import convert_operands
from tf_einsum_grad.execution.runtime_checks import (
    Guard,
    compare_sizes,
    give_ranks,
    op_name,
    require_size,
    split_ellipsis,
)
from tf_einsum_grad.execution.shapes import product
from tf_einsum_grad.execution.steps import run_step
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.planning.path import Optimize, hashable_optimize
from tf_einsum_grad.planning.plan import Step
from tf_einsum_grad.planning.sparse_plan import make_sparse_plan
from tf_einsum_grad.planning.sparse_steps import (
    Gather,
    Scatter,
    SparseMatMul,
    SparseOperand,
    SparsePlan,
    SparseStep,
)

__all__ = ["find_sparse", "run_sparse"]

_ops: Any = tf.raw_ops  # generated, and without types


def find_sparse(text: str, operands: Sequence[Any]) -> int | None:
    """The number of the operand that is sparse; None where none is.

    Several IndexedSlices, or one beside a SparseTensor, are dense tensors to TensorFlow's ops.

    Raises:
        OperandError: there are several SparseTensors.
    """
    found = [k for k, x in enumerate(operands) if isinstance(x, tf.SparseTensor)]
    if len(found) > 1:
        raise OperandError(
            f"einsum {text!r} requires at most one sparse operand, got SparseTensor for operands "
            f"{' and '.join(map(str, found))}; make the others dense with tf.sparse.to_dense"
        )
    if not found:
        found = [k for k, x in enumerate(operands) if isinstance(x, tf.IndexedSlices)]
    return found[0] if len(found) == 1 else None


def run_sparse(
    text: str,
    parsed: Equation,
    operands: Sequence[Any],
    k: int,
    given: tuple[tuple[str, Any], ...],
    given_tensors: Mapping[str, tf.Tensor],
    hints: tuple[tuple[str, int], ...],
    target: Target,
    optimize: Optimize,
    dtype: tf.DType | None = None,
) -> tf.Tensor:
    """An einsum whose operand `k` is sparse.

    Args:
        text: the equation.
        parsed: the same.
        operands: one for each of its terms.
        k: the number of the sparse one.
        given: sizes of labels; None for those in `given_tensors`.
        hints: sizes to decide with.
        target: where it runs.
        optimize: as for `einsum`.
        dtype: what every operand is widened to, if any.

    Raises:
        EinsumError: as `einsum` does.
    """
    x = operands[k]
    dense = [x.values if i == k else y for i, y in enumerate(operands)]
    tensors = convert_operands(text, dense, dtype)
    merged, tensors, ellipsis_dims = _give_ranks(text, parsed, k, tensors)
    shapes: list[Any] = [private.shape_tuple(y) for y in tensors]
    shapes[k] = shape_as_known(text, x, parsed.inputs[k])
    n_index = 1
    if isinstance(x, tf.SparseTensor):
        n_index = len(shapes[k])
        x = ensure_rank(x, n_index, k)
    key = hashable_optimize(optimize)
    prepare = _prepare if key is None else _prepare_cached
    prepared = prepare(
        text,
        merged,
        tuple(shapes),
        tensors[k].dtype.name,
        given,
        hints,
        target,
        machine_of(tensors, target),
        optimize if key is None else key,
        (k, n_index, _about(x.values.shape[0])),
    )
    result = _Run(text, prepared, x, shapes[k], tensors, given_tensors, target).run()
    if ellipsis_dims is None:
        return result
    return split_ellipsis(result, parsed.output, ellipsis_dims)


def _give_ranks(
    text: str, parsed: Equation, k: int, tensors: Sequence[tf.Tensor]
) -> tuple[Equation | None, list[tf.Tensor], tf.Tensor | None]:
    """What `give_ranks` does, with the sparse operand's values in its place."""
    if ELLIPSIS in parsed.inputs[k]:
        for i, (x, subscripts) in enumerate(zip(tensors, parsed.inputs, strict=True)):
            if x.shape.rank is None and ELLIPSIS in subscripts:
                raise SizeError(
                    f"einsum {text!r} requires a known rank for operand {i}, which has an ellipsis "
                    f"as sparse operand {k} has; set it with tf.ensure_shape"
                )
    return give_ranks(parsed, tensors)


def _about(nnz: int | None) -> int | None:
    """A number of entries to decide with, so that not each one makes a new plan."""
    return nnz if not nnz else 1 << (nnz - 1).bit_length()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that is decided about a call."""

    binding: Binding
    plan: SparsePlan
    compute: str


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
    sparse: tuple[int, int, int | None],
) -> _Prepared:
    """Decides everything about a call.

    `sparse` is which operand is, how many of its axes its indices are for, how many entries it has.
    """
    binding = bind_call(text, shapes, dict(given), merged)
    k, n_index, nnz = sparse
    compute = DTYPES[dtype].accumulates_in
    plan = make_sparse_plan(
        binding.equation,
        SparseOperand.of(binding, k, n_index, nnz),
        binding.sizes,
        compute,
        optimize,
        hints,
        target,
        machine,
        binding.elastic,
    )
    return _Prepared(binding, plan, compute)


_prepare_cached = lru_cache(maxsize=4096)(_prepare)


class _Run:
    """Executes a plan.

    Args:
        text: the equation.
        prepared: what was decided.
        x: the sparse operand.
        shape: its shape, as far as it is known.
        tensors: the operands, with the values in the place of the sparse one.
        given: sizes that only tensors know.
        target: where it runs.
    """

    def __init__(
        self,
        text: str,
        prepared: _Prepared,
        x: Sparse,
        shape: Shape,
        tensors: Sequence[tf.Tensor],
        given: Mapping[str, tf.Tensor],
        target: Target,
    ) -> None:
        self.text, self.x, self.shape, self.given, self.target = text, x, shape, given, target
        self.plan, self.binding, self.compute = prepared.plan, prepared.binding, prepared.compute
        self.k = self.plan.sparse.number
        self.dtype = tensors[self.k].dtype
        self.tensors = tensors
        dropped = self.binding.dropped[self.k]
        self.axes = [axis for axis in range(len(shape)) if axis not in dropped]
        # Sizes of labels that several operands have, where one may turn out to be 1.
        self.sizes: dict[str, Extent] = {}

    def run(self) -> tf.Tensor:
        """The result of the einsum."""
        dense, guards = self._compare()
        with tf.control_dependencies(guards) if guards else nullcontext():
            values = [self._squeeze(i, x) for i, x in enumerate(dense)]
            self.entries = self._read()
            values[self.k] = self.entries.values
            if self.compute != self.dtype.name:
                values = [tf.cast(x, self.compute) for x in values]
            for step in self.plan.steps:
                values.append(self._step(step, values))
            results = [values[number] for number in self.plan.operands]
            for step in self.plan.rest.steps:
                results.append(run_step(self.text, step, results, self.given, 0))
        result = results[-1]
        if self.compute != self.dtype.name:
            result = tf.cast(result, self.dtype)
        if not tf.executing_eagerly():
            known = dict(self.binding.sizes)
            result.set_shape([known[label] for label in self.binding.equation.output])
        return result

    def _squeeze(self, i: int, x: tf.Tensor) -> tf.Tensor:
        """A dense operand without the dimensions of size 1 that broadcast."""
        axes = self.binding.dropped[i]
        return tf.squeeze(x, axes) if axes and i != self.k else x

    def _compare(self) -> tuple[list[tf.Tensor], list[Guard]]:
        """Compares the sizes that no kernel compares."""
        dense = [
            replace(check, occurrences=tuple(p for p in check.occurrences if p.operand != self.k))
            for check in self.binding.checks
        ]
        binding = replace(self.binding, checks=tuple(c for c in dense if c.occurrences))
        tensors, guards = compare_sizes(self.text, binding, self.tensors)
        for check in self.binding.checks:
            guards += self._compare_own(check)
        return tensors, guards

    def _compare_own(self, check: Check) -> list[Guard]:
        """Compares the sparse operand's sizes of a label, and finds out the label's size."""
        axes = [place.axis for place in check.occurrences if place.operand == self.k]
        if not axes:
            return []
        label, own = show_names(self.text, check.label), self._own_size(axes[0])
        words = ("the repeated label", label, f"operand {self.k}")
        guards = [
            guard
            for axis in axes[1:]
            for guard in require_size(f"einsum {self.text}", words, self._own_size(axis), own)
        ]
        if check.label not in self.plan.sparse.index or not (check.across or check.size):
            return guards
        vectors = [] if own is None else [vector_of(own)]
        for place in check.occurrences:
            if place.operand != self.k:
                vectors.append(vector_of(extent(self.tensors[place.operand], place.axis)))
        if check.size is not None:
            vectors.append(vector_of(check.size))
        name = op_name("requires one size for label", label, "in", show_names(self.text, self.text))
        size = vectors[0]
        with tf.name_scope(name):
            for vector in vectors[1:]:
                size = _ops.BroadcastArgs(s0=size, s1=vector)
        self.sizes[check.label] = size[0]
        if check.size is not None:
            words = ("label", label, f"operand {self.k}")
            guards += require_size(f"einsum {self.text}", words, size[0], check.size)
        return [*guards, size]

    def _own_size(self, axis: int) -> Extent | None:
        """The sparse operand's own size, as far as anybody knows it."""
        x = self.x
        if self.shape[axis] is not None:
            return self.shape[axis]
        if isinstance(x, tf.IndexedSlices) and axis > 0:
            return extent(x.values, axis)
        return None if x.dense_shape is None else tf.cast(x.dense_shape[axis], tf.int64)

    def _read(self) -> Entries:
        """The entries, repeated where the operand may turn out to have 1 of a label."""
        subscripts = self.binding.equation.inputs[self.k]
        entries = Entries.of(self.x, self.axes, subscripts)
        for label in self.plan.sparse.index:
            own = self._own_size(self.axes[subscripts.index(label)])
            if label in self.sizes and isinstance(own, tf.Tensor):
                entries = entries.stretch(label, own, self.sizes[label])
        return entries

    def _size(self, label: str) -> Extent:
        """The size of a label of the indices."""
        known = dict(self.binding.sizes)[label]
        own = self._own_size(self.axes[self.binding.equation.inputs[self.k].index(label)])
        if label in self.sizes:
            return self.sizes[label]
        if known is not None:
            return known
        if own is not None:
            return own
        for i, subscripts in enumerate(self.binding.expanded.inputs):
            if label in subscripts and i != self.k:
                return extent(self.tensors[i], subscripts.index(label))
        raise SizeError(
            f"einsum {self.text!r} requires IndexedSlices with a dense_shape for operand {self.k}, "
            f"since no other operand has label {label!r}; got none"
        )

    def _step(self, step: SparseStep, values: Sequence[tf.Tensor]) -> tf.Tensor:
        match step:
            case Step():
                return run_step(self.text, step, values, self.given, len(self.tensors))
            case Gather():
                x = values[step.operand]
                found = lookup.look_up(fold(x, len(step.labels)), self._places(x, step.labels))
                return unfold(found, [extent(found, 0)], x, len(step.labels))
            case Scatter():
                x = values[step.operand]
                sizes = [self._size(label) for label in step.labels]
                index = flatten([self.entries.index[label] for label in step.labels], sizes)
                summed = lookup.add_up(fold(x, 1), index, product(sizes))
                return unfold(summed, sizes, x, 1)
            case SparseMatMul():
                return self._multiply(step, values)

    def _multiply(self, step: SparseMatMul, values: Sequence[tf.Tensor]) -> tf.Tensor:
        dense, entries = values[step.dense], self.entries
        sizes = [self._size(label) for label in step.rows]
        n_columns = len(step.columns)
        rows = fold(dense, n_columns)
        indices = entries.indices
        as_they_came = [*entries.index] == [step.rows, step.columns]
        if indices is None or not as_they_came or self._may_be_one(dense, 0, step.columns):
            places = flatten([entries.index[label] for label in step.rows], sizes)
            indices = tf.stack([places, self._places(dense, step.columns)], axis=1)
        shape = shape_of([product(sizes), extent(rows, 0)])
        matrix = lookup.multiply(values[step.operand], indices, shape, rows, self.target)
        return unfold(matrix, sizes, dense, n_columns)

    def _places(self, x: tf.Tensor, labels: str) -> tf.Tensor:
        """Where the entries stand along the first axes of a tensor, as if these were one."""
        places, sizes = [], [extent(x, axis) for axis in range(len(labels))]
        for axis, label in enumerate(labels):
            place = self.entries.index[label]
            if self._may_be_one(x, axis, label):
                size = tf.cast(self._size(label), tf.int64)
                place = tf.where(tf.equal(sizes[axis], size), place, 0)
            places.append(place)
        return flatten(places, sizes)

    def _may_be_one(self, x: tf.Tensor, axis: int, label: str) -> bool:
        """Whether a dense tensor may turn out to have 1 of a label, and the entries more."""
        return label in self.binding.elastic and x.shape[axis] is None
