"""Runs an einsum slice by slice, forward and backward, in bounded memory.

Its custom gradient keeps the operands and nothing else; backward, each slice is computed once more,
and its gradients are added to theirs in place. The loop is a graph's `tf.while_loop`, in eager mode
inside a `tf.function`: only graphs write into a tensor without a copy of it. What is on the way in
a slice is computed one after the other, so that what is no longer needed is gone before the next.

The gradients' own gradients are einsums and gradients of the same plan, so second order and forward
mode keep the limit in each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.dtypes import is_differentiable
from tf_einsum_grad.algebra.names import show_names
from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.runtime_checks import op_name
from tf_einsum_grad.execution.shapes import Dim
from tf_einsum_grad.execution.steps import run_step
from tf_einsum_grad.execution.vjp import Gradients, pull_back_in_graph, several_with_rule, with_rule
from tf_einsum_grad.planning.slices import SlicedPlan

__all__ = ["SlicedEinsum"]

_ops: Any = tf.raw_ops  # generated, and without types
Given = Mapping[str, tf.Tensor]
Starts = Mapping[str, Dim]


class SlicedEinsum:
    """A sliced plan, ready to run.

    Args:
        text: the equation, for messages.
        plan: what runs.
        sizes: each label with its size, None where it is unknown.
        xla: whether XLA compiles the graphs that it runs in.
    """

    def __init__(
        self,
        text: str,
        plan: SlicedPlan,
        sizes: Mapping[str, int | None],
        xla: bool,
    ) -> None:
        self.text, self.plan, self.sizes, self.xla = text, plan, sizes, xla
        self._blocks = dict(plan.blocks)

        # Functions of their own: TensorFlow warns of a method that is traced for many objects.
        def forward(operands: list[tf.Tensor], given: dict[str, tf.Tensor]) -> tf.Tensor:
            return self._forward(operands, given)

        def backward(
            operands: list[tf.Tensor], cotangent: tf.Tensor, wanted: tuple[int, ...]
        ) -> list[tf.Tensor]:
            return self._backward(operands, cotangent, wanted)

        self._run_eagerly: Any = tf.function(forward, autograph=False)
        self._pull_eagerly: Any = tf.function(backward, autograph=False)

    def __call__(self, operands: Sequence[tf.Tensor], given: Given) -> tf.Tensor:
        """The einsum; `given` are sizes that no operand has, where only tensors know them."""

        def run(*operands: tf.Tensor) -> tf.Tensor:
            if tf.executing_eagerly():
                eager: tf.Tensor = self._run_eagerly(list(operands), dict(given))
                return eager
            graph: tf.Tensor = tf.identity(self._forward(operands, given))
            return graph

        if not is_differentiable(self.plan.dtype):
            return run(*operands)
        return with_rule(run, self._pull_back, operands, hidden=True)

    def _pull_back(
        self, operands: Sequence[tf.Tensor], cotangent: Any, needed: Sequence[bool]
    ) -> Gradients:
        """The gradients of all operands that need one, from one pass over the slices."""
        cotangent = tf.convert_to_tensor(cotangent)
        wanted = tuple([k for k, flag in enumerate(needed) if flag])

        def run(*inputs: tf.Tensor) -> list[tf.Tensor]:
            if tf.executing_eagerly():
                return list(self._pull_eagerly(list(inputs[:-1]), inputs[-1], wanted))
            return [tf.identity(x) for x in self._backward(inputs[:-1], inputs[-1], wanted)]

        def pull_back(inputs: Sequence[tf.Tensor], cotangents: Sequence[Any]) -> Gradients:
            return self._pull_back_again(inputs, dict(zip(wanted, cotangents, strict=True)))

        found = iter(several_with_rule(run, pull_back, [*operands, cotangent]))
        return [next(found) if flag else None for flag in needed]

    def _pull_back_again(
        self, inputs: Sequence[tf.Tensor], cotangents: Mapping[int, Any]
    ) -> Gradients:
        """The VJP of the gradients with respect to the operands and the cotangent.

        Let Y be the einsum, G_k its VJP with respect to operand k, at the cotangent c. Then
        <h, G_k(x, c)> = <Y(x with h in slot k), c>: what is linear in its operands is so again with
        one of them replaced. So the VJP is Y and its gradients, of operands with h among them.
        """
        *operands, cotangent = inputs
        sums: Gradients = [None] * len(inputs)
        for k, h in cotangents.items():
            if h is None:
                continue
            replaced = [*operands[:k], tf.convert_to_tensor(h), *operands[k + 1 :]]
            others = [i != k for i in range(len(operands))]
            pulled = self._pull_back(replaced, cotangent, others) if any(others) else [None]
            pulled = [*pulled, self(replaced, self._given(cotangent))]
            sums = [
                b if a is None else a if b is None else a + b
                for a, b in zip(sums, pulled, strict=True)
            ]
        return sums

    def _given(self, cotangent: tf.Tensor) -> dict[str, tf.Tensor]:
        """The sizes that only the result has, read off its cotangent."""
        inputs = "".join(self.plan.equation.inputs)
        return {
            x: tf.shape(cotangent)[axis]
            for axis, x in enumerate(self.plan.equation.output)
            if x not in inputs and self.sizes[x] is None
        }

    def _forward(self, operands: Sequence[tf.Tensor], given: Given) -> tf.Tensor:
        output = self.plan.equation.output

        def body(starts: Starts, results: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            values, n_steps = _Values(self, operands, starts), len(self.plan.plan.steps)
            for position in range(n_steps):
                values.run(position, given)
            result = values.get(len(operands) + n_steps - 1)
            return [self._write(results[0], result, output, starts, values.order)]

        def start() -> list[tf.Tensor]:
            dims = [self._size(x, operands, given) for x in output]
            return [self._zeros(dims, output)]

        return self._loop(body, start, operands, given, (output,))[0]

    def _backward(
        self, operands: Sequence[tf.Tensor], cotangent: tf.Tensor, wanted: Sequence[int]
    ) -> list[tf.Tensor]:
        equation, steps = self.plan.equation, self.plan.plan.steps
        n, given = len(equation.inputs), self._given(cotangent)

        def body(starts: Starts, results: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            written = dict(zip(wanted, results, strict=True))
            values = _Values(self, operands, starts)
            needs = [k in wanted for k in range(n)]
            for step in steps:
                needs.append(any(needs[k] for k in step.operands))
            with values.after():
                cotangents = {n + len(steps) - 1: self._block(cotangent, equation.output, starts)}
            for event in self.plan.events:
                position, step = event.position, steps[event.position]
                if not event.pulls:
                    values.run(position, given)
                    values.drop(event.drops)
                    continue
                own = [values.get(k) for k in step.operands]
                values.drop(event.drops)
                if not needs[n + position]:
                    continue  # nothing that it is made of is to have a gradient
                ahead = cotangents.pop(n + position)
                for place, k in enumerate(step.operands):
                    if not needs[k]:
                        continue
                    flags = [place == i for i in range(len(own))]
                    with values.after():
                        pulled = pull_back_in_graph(step.contraction, own, ahead, flags)
                    gradient = pulled[place]
                    assert gradient is not None
                    values.order = gradient
                    if k >= n:
                        cotangents[k] = gradient
                        continue
                    labels = equation.inputs[k]
                    written[k] = self._write(
                        written[k], gradient, labels, starts, values.order, operands[k]
                    )
                    values.order = written[k]
            return [written[k] for k in wanted]

        def start() -> list[tf.Tensor]:
            return [
                self._zeros([_dim(operands[k], a) for a in range(len(term))], term)
                for k, term in enumerate(equation.inputs)
                if k in wanted
            ]

        terms = tuple([equation.inputs[k] for k in wanted])
        return self._loop(body, start, operands, given, terms)

    def _loop(
        self,
        body: Callable[[Starts, Sequence[tf.Tensor]], list[tf.Tensor]],
        start: Callable[[], list[tf.Tensor]],
        operands: Sequence[tf.Tensor],
        given: Given,
        terms: Sequence[str],
    ) -> list[tf.Tensor]:
        """Runs `body` for every slice, on the results so far, which start as zeros."""
        if not self._blocks:
            results = body({}, [tf.zeros([], self.plan.dtype)] * len(terms))
            return [tf.cast(x, self.plan.dtype) for x in results]
        counts = {
            label: _divide(self._size(label, operands, given), block)
            for label, block in self._blocks.items()
        }
        total = tf.convert_to_tensor(math.prod(counts.values()), tf.int32)

        def one(i: tf.Tensor, *results: tf.Tensor) -> tuple[tf.Tensor, ...]:
            starts: dict[str, Dim] = {}
            rest: Any = i
            for label, count in counts.items():
                starts[label] = rest % count * self._blocks[label]
                rest = rest // count
            return i + 1, *body(starts, results)

        _, *results = tf.while_loop(
            lambda i, *_: i < total, one, [tf.constant(0), *start()], parallel_iterations=1
        )
        return [tf.cast(x, self.plan.dtype) for x in results]

    def _size(self, label: str, operands: Sequence[tf.Tensor], given: Given) -> Dim:
        """The size of a label; where several operands know it, it is compared."""
        known = self.sizes[label]
        if known is not None:
            return known
        if label in given:
            return given[label]
        dims = [
            _dim(x, term.index(label))
            for x, term in zip(operands, self.plan.equation.inputs, strict=True)
            if label in term
        ]
        name = op_name("requires one size for label", show_names(self.text, label))
        size = tf.reshape(dims[0], [1])
        with tf.name_scope(name):
            for other in dims[1:]:
                size = _ops.BroadcastArgs(s0=size, s1=tf.reshape(other, [1]))
        scalar: tf.Tensor = tf.reshape(size, [])
        return scalar

    def _zeros(self, dims: Sequence[Dim], subscripts: str) -> tf.Tensor:
        """What slices are written to; they add up in the plan's dtype."""
        adds = self.plan.accumulates(subscripts)
        dtype = self.plan.plan.dtype if adds else self.plan.dtype
        zeros: tf.Tensor = tf.zeros(_vector(dims), dtype)
        zeros.set_shape([dim if isinstance(dim, int) else None for dim in dims])
        return zeros

    def _place(
        self, x: tf.Tensor, subscripts: str, starts: Starts
    ) -> tuple[tf.Tensor, list[Dim]] | None:
        """Where in a tensor a slice's block begins, and its sizes; None where it is all of it."""
        if not any(label in self._blocks for label in subscripts):
            return None
        begin, dims = [], []
        for axis, label in enumerate(subscripts):
            own = _dim(x, axis)
            place: Dim = starts.get(label, 0)
            if label in self._blocks and not isinstance(own, int):
                place = tf.minimum(place, own - 1)  # one that turns out to be 1 broadcasts
            begin.append(place)
            dims.append(self._blocks.get(label, own))
        return _vector(begin), dims

    def _block(self, x: tf.Tensor, subscripts: str, starts: Starts) -> tf.Tensor:
        """A slice's block of an operand or cotangent, in the plan's dtype."""
        place = self._place(x, subscripts, starts)
        if place is not None:
            x = _read(x, *place)
        return x if x.dtype.name == self.plan.plan.dtype else tf.cast(x, self.plan.plan.dtype)

    def _write(
        self,
        result: tf.Tensor,
        block: tf.Tensor,
        subscripts: str,
        starts: Starts,
        order: tf.Tensor,
        like: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Writes a block where it belongs, or adds it to what is there."""
        if not self._blocks:
            return block
        with nullcontext() if self.xla else tf.control_dependencies([order]):
            block = tf.cast(block, result.dtype)
            place = self._place(result if like is None else like, subscripts, starts)
            clamps = like is not None and any(
                x in self._blocks and self.sizes[x] is None for x in subscripts
            )
            if self.plan.accumulates(subscripts) or clamps:
                there = result if place is None else _read(result, *place)
                block = tf.logical_or(there, block) if block.dtype == tf.bool else there + block
            if place is None:
                return block
            begin, dims = place
            if self.xla:
                updated = private.update_slice(result, block, begin)
            else:
                updated = _ops.TensorStridedSliceUpdate(
                    input=result,
                    begin=begin,
                    end=begin + _vector(dims),
                    strides=[1] * len(dims),
                    value=block,
                )
            updated.set_shape(result.shape)
            return updated


class _Values:
    """The tensors of one slice: blocks of operands, and results of steps; one after the other."""

    def __init__(self, einsum: SlicedEinsum, operands: Sequence[tf.Tensor], starts: Starts) -> None:
        self.einsum, self.operands, self.starts = einsum, operands, starts
        self.values: dict[int, tf.Tensor] = {}
        self.order: Any = None

    def after(self) -> AbstractContextManager[Any]:
        """A context whose ops wait for what came last; XLA orders them itself."""
        if self.einsum.xla or self.order is None:
            return nullcontext()
        context: AbstractContextManager[Any] = tf.control_dependencies([self.order])
        return context

    def get(self, number: int) -> tf.Tensor:
        """The tensor of that number: an operand's block is taken when it is first needed."""
        if number not in self.values:
            term = self.einsum.plan.equation.inputs[number]
            with self.after():
                block = self.einsum._block(self.operands[number], term, self.starts)
            self.values[number] = block
        return self.values[number]

    def drop(self, numbers: Sequence[int]) -> None:
        """Forgets tensors, which are computed or read again where they are needed again."""
        for number in numbers:
            self.values.pop(number, None)

    def run(self, position: int, given: Given) -> None:
        """Runs a step, whose operands are there."""
        step = self.einsum.plan.plan.steps[position]
        own = {k: self.get(k) for k in step.operands}
        n = len(self.operands)
        with self.after():
            result = run_step(self.einsum.text, step, own, given, n)  # type: ignore[arg-type]
        self.order = result
        self.values[n + position] = result


def _dim(x: tf.Tensor, axis: int) -> Dim:
    shape = private.shape_tuple(x)
    known = None if shape is None else shape[axis]
    return tf.shape(x)[axis] if known is None else known


def _divide(size: Dim, block: int) -> Dim:
    return size if block == 1 else size // block


def _vector(dims: Sequence[Dim]) -> tf.Tensor:
    vector: tf.Tensor = tf.stack(dims) if dims else tf.zeros([0], tf.int32)
    return tf.cast(vector, tf.int32)


def _read(x: tf.Tensor, begin: tf.Tensor, dims: Sequence[Dim]) -> tf.Tensor:
    block: tf.Tensor = _ops.Slice(input=x, begin=begin, size=_vector(dims))
    block.set_shape([dim if isinstance(dim, int) else None for dim in dims])
    return block
