"""Where in a graph its variables meet the examples, and what lies between them and there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.execution import private
from tf_einsum_grad.per_example.batch_axis import BatchAxes, BatchAxis, known_shape
from tf_einsum_grad.per_example.terms import read_product

__all__ = ["Step", "Unfit", "Use", "Uses"]

_CUT = {"StopGradient", "PreventGradient", "ZerosLike", "OnesLike"}
_PASSES_ON = {"Identity", "ReadVariableOp"}
_RESHAPES = {"Reshape", "ExpandDims", "Squeeze"}


class Unfit(Exception):
    """Why gradients of examples have to be computed one by one."""


@dataclass(frozen=True, slots=True)
class Step:
    """An op between a variable and where it meets the examples: linear, and without examples.

    Attributes:
        shape: of what goes into it.
        permutation: for a transpose.
        dtype: of what goes into it, for a cast.
        equation: of what goes into it and, where that is multiplied, of `other`.
        other: a tensor that depends on no example.
        sign: of what goes in.
    """

    shape: tuple[int, ...]
    permutation: tuple[int, ...] | None = None
    dtype: tf.DType | None = None
    equation: Equation | None = None
    other: tf.Tensor | None = None
    sign: int = 1


@dataclass(frozen=True, slots=True)
class Use:
    """One place where a variable, or what was made of it, meets the examples.

    Attributes:
        shape: of what meets them.
        output: the op's result, whose cotangent the gradient is computed from.
        output_axis: where the examples are in it.
        other: the op's other operand; None for a sum.
        other_axis: where the examples are in it.
        equation: of what meets them (and of `other`) to the result; None for rows that were
            looked up, by `other`.
        sign: -1 for what is subtracted.
        steps: from the variable on.
    """

    shape: tuple[int, ...]
    output: tf.Tensor
    output_axis: BatchAxis
    other: tf.Tensor | None
    other_axis: BatchAxis | None
    equation: Equation | None
    sign: int = 1
    steps: tuple[Step, ...] = ()


@dataclass(slots=True)
class Uses:
    """Finds every use of variables, or says why that cannot be.

    Args:
        graph: of a function of examples.
        losses: one for each of them.
        batch: where they are in each tensor.
    """

    graph: Any
    losses: tf.Tensor
    batch: BatchAxes
    live: set[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.live = _live(self.losses)
        for op in self.graph.get_operations():
            for y in op.outputs:
                if y.ref() in self.live and self.batch.depends(y) and self.batch.of(y) is None:
                    raise Unfit(f"{op.type} {op.name!r} mixes examples, or hides which is which")

    def of(self, variable: tf.Variable) -> list[Use]:
        """The uses of a variable, in any order.

        Raises:
            Unfit: it enters in another way than by a product or a sum.
        """
        handles = [inner for outer, inner in self.graph.captures if outer is variable.handle]
        found: list[Use] = []
        for handle in handles:
            for op in handle.consumers():
                if op.type == "ResourceGather":
                    if op.outputs[0].ref() in self.live:
                        found.append(self._looked_up(variable, op, op.inputs[1], (), op.inputs[0]))
                elif op.type == "ReadVariableOp":
                    found += self._follow(variable, op.outputs[0], ())
                elif any(y.ref() in self.live for y in op.outputs):
                    raise Unfit(f"variable {variable.name!r} enters {op.type} {op.name!r}")
        return found

    def _follow(
        self, variable: tf.Variable, x: tf.Tensor, steps: tuple[Step, ...]
    ) -> Iterator[Use]:
        for op in dict.fromkeys(x.consumers()):
            if op.outputs and op.outputs[0].ref() in self.live and x in _Tensors(_sources(op)):
                yield from self._enter(variable, x, op, steps)
            elif any(y.ref() in self.live for y in op.outputs[1:]) and not private.noted(op):
                raise Unfit(f"variable {variable.name!r} enters {op.type} {op.name!r}")

    def _enter(
        self, variable: tf.Variable, x: tf.Tensor, op: tf.Operation, steps: tuple[Step, ...]
    ) -> Iterator[Use]:
        """The uses behind one op that takes what was made of a variable."""
        result = op.outputs[0]
        met = self.batch.depends(result)
        if met and op.type == "GatherV2" and op.inputs[0] is x and _is_zero(op.inputs[2]):
            yield self._looked_up(variable, op, op.inputs[1], steps, x)
            return
        if not met and (step := _plain_step(op, x)) is not None:
            yield from self._follow(variable, result, (*steps, *step))
            return
        product, shape = read_product(op), known_shape(x)
        if product is None or shape is None:
            raise Unfit(f"variable {variable.name!r} enters {op.type} {op.name!r}")
        for k, place in enumerate(product.operands):
            if op.inputs[place] is not x:
                continue
            own, sign = product.equation.inputs[k], product.sign[k]
            others = [n for n in range(len(product.operands)) if n != k and not product.is_sum]
            other = op.inputs[product.operands[others[0]]] if others else None
            terms = (own, *(product.equation.inputs[n] for n in others))
            equation = Equation(terms, product.equation.output)
            if not met:
                step = (Step(shape, equation=equation, other=other, sign=sign),)
                yield from self._follow(variable, result, (*steps, *step))
                continue
            axis = self.batch.of(result)
            other_axis = None if other is None else self.batch.of(other)
            if axis is None or (other is not None and other_axis is None):
                raise Unfit(f"{op.type} {op.name!r} takes variable {variable.name!r} twice")
            yield Use(shape, result, axis, other, other_axis, equation, sign, steps)

    def _looked_up(
        self,
        variable: tf.Variable,
        op: tf.Operation,
        indices: tf.Tensor,
        steps: tuple[Step, ...],
        table: tf.Tensor,
    ) -> Use:
        axis, where = self.batch.of(op.outputs[0]), self.batch.of(indices)
        shape = known_shape(variable if table.dtype == tf.resource else table)
        first = [None if found is None else found[:2] for found in (axis, where)]
        if axis is None or shape is None or first != [(0, 1)] * 2 or op.get_attr("batch_dims"):
            raise Unfit(f"variable {variable.name!r} enters {op.type} {op.name!r}")
        return Use(shape, op.outputs[0], axis, indices, where, None, 1, steps)


class _Tensors(set[Any]):
    """Tensors of a graph, which compare by their elements."""

    def __init__(self, tensors: Sequence[tf.Tensor]) -> None:
        super().__init__(id(x) for x in tensors)

    def __contains__(self, x: object) -> bool:
        return super().__contains__(id(x))


def _sources(op: tf.Operation) -> list[tf.Tensor]:
    """The inputs of an op that a gradient goes on to."""
    noted = private.noted(op)
    if noted is not None:  # its own rule sends it to the operands, past the kernels
        return [op.inputs[place] for place in noted[1]]
    if op.type in _CUT:
        return []
    return [x for x in op.inputs if x.dtype.is_floating or x.dtype.is_complex]


def _live(losses: tf.Tensor) -> set[Any]:
    """The tensors that a gradient of the losses comes by."""
    live, waiting = set(), [losses]
    while waiting:
        x = waiting.pop()
        if x.ref() not in live:
            live.add(x.ref())
            waiting += _sources(x.op)
    return live


def _is_zero(x: tf.Tensor) -> bool:
    value = tf.get_static_value(x)
    return value is not None and not value.any()


def _plain_step(op: tf.Operation, x: tf.Tensor) -> tuple[Step, ...] | None:
    """What moves or casts, as steps; None for what computes."""
    if op.type in _PASSES_ON:
        return ()
    shape = known_shape(x)
    if shape is None or op.inputs[0] is not x:
        return None
    if op.type in _RESHAPES:
        return (Step(shape),)
    if op.type == "Cast":
        return (Step(shape, dtype=x.dtype),)
    order = tf.get_static_value(op.inputs[1]) if op.type == "Transpose" else None
    if order is not None:
        return (Step(shape, permutation=tuple(int(axis) for axis in order)),)
    return None
