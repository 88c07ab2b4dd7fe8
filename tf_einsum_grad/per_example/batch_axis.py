"""Where in a graph's tensors the examples are: the axis that the batch is, or is part of.

TensorFlow infers all shapes of the graph for two sizes of the batch, and the axis that differs is
the one. Reshapes may merge it with axes after it, the batch first, since they keep the order of
elements; no other op does. An op of examples whose result has no such axis mixes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_einsum_grad.execution import private

__all__ = ["BatchAxes", "BatchAxis", "known_shape"]

# What they give depends on shapes alone.
_OF_SHAPES = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "BroadcastGradientArgs"}
_SIZES = (1009, 1013)  # of the batch, to tell it from other axes

Shape = tuple[int, ...]


class BatchAxis(NamedTuple):
    """An axis of `batch * inner` elements, the batch first, in a tensor of this shape.

    The shape has any number at that axis.
    """

    axis: int
    inner: int
    shape: Shape


class BatchAxes:
    """The batch axis of every tensor of a graph that depends on the examples.

    Args:
        graph: of a function, whose ops stand in the order in which they were made.
        inputs: its tensors with the examples along their first axis.
    """

    def __init__(self, graph: tf.Graph, inputs: Sequence[tf.Tensor]) -> None:
        shapes = [_shapes(graph, inputs, size) for size in _SIZES]
        self._found: dict[str, BatchAxis | None] = {}
        for x in inputs:
            self._found[x.name] = _batch_axis(shapes[0].get(x.name), shapes[1].get(x.name))
        for op in graph.get_operations():
            sources = [x for x in op.inputs if x.name in self._found]
            if not sources or op.type in _OF_SHAPES:
                continue
            noted = private.noted(op)
            if noted is not None:  # a contraction, whatever its kernels do
                operands = [op.inputs[place] for place in noted[1]]
                sources = [x for x in sources if any(x is operand for operand in operands)]
            for y in op.outputs:
                passed = op.inputs[y.value_index] if op.type == "IdentityN" else None
                if passed is None or (noted is not None and y.value_index == 0):
                    axis = _batch_axis(shapes[0].get(y.name), shapes[1].get(y.name))
                    self._found[y.name] = self._checked(op, sources, axis)
                elif passed.name in self._found:
                    self._found[y.name] = self._found[passed.name]

    def depends(self, x: tf.Tensor) -> bool:
        """Whether a tensor depends on the examples."""
        return x.name in self._found

    def of(self, x: tf.Tensor) -> BatchAxis | None:
        """The batch axis of a tensor; None where there is none, or it is not plain which."""
        return self._found.get(x.name)

    def _checked(
        self, op: tf.Operation, sources: list[tf.Tensor], after: BatchAxis | None
    ) -> BatchAxis | None:
        """What an op's result has, if each example of it comes of the same one before."""
        for x in sources:
            before = self._found[x.name]
            if before is None or after is None:
                return None
            if op.type == "Reshape":
                if math.prod(before.shape[: before.axis]) != math.prod(after.shape[: after.axis]):
                    return None
            elif before.inner != after.inner:
                return None
        mixes = op.type.startswith("FusedBatchNorm") and op.get_attr("is_training")
        return None if mixes else after


def _shapes(graph: tf.Graph, inputs: Sequence[tf.Tensor], size: int) -> dict[str, Shape]:
    """The shapes of all tensors whose shape is known for a batch of that size, by name."""
    definition = graph.as_graph_def()
    given = {
        x.op.name: (x.dtype, tf.TensorShape([size]).concatenate(x.shape[1:]))
        for x in inputs
        if x.shape.rank
    }
    # A handle's copy does not know the shape of its variable.
    for op in graph.get_operations():
        if op.type == "ReadVariableOp" and op.outputs[0].shape.is_fully_defined():
            given[op.name] = (op.outputs[0].dtype, op.outputs[0].shape)
    for node in definition.node:
        node.attr.pop("_output_shapes", None)
        if node.name in given:
            dtype, known = given[node.name]
            del node.input[:]
            node.attr.clear()
            node.op = "Placeholder"
            node.attr["dtype"].type = dtype.as_datatype_enum
            node.attr["shape"].shape.CopyFrom(known.as_proto())
    with tf.Graph().as_default() as same:
        tf.graph_util.import_graph_def(definition, name="")
    found = ((y, known_shape(y)) for op in same.get_operations() for y in op.outputs)
    return {y.name: shape for y, shape in found if shape is not None}


def known_shape(x: tf.Tensor | tf.Variable) -> Shape | None:
    """The shape of a tensor of which every size is known; None of any other."""
    return tuple(int(n) for n in x.shape) if x.shape.is_fully_defined() else None  # type: ignore[arg-type]


def _batch_axis(one: Shape | None, other: Shape | None) -> BatchAxis | None:
    """The one axis that has two sizes for two sizes of the batch."""
    if one is None or other is None:
        return None
    differs = [k for k, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
    if len(differs) != 1:
        return None
    (inner, rest), again = (
        divmod(x[differs[0]], n) for x, n in zip((one, other), _SIZES, strict=True)
    )
    return BatchAxis(differs[0], inner, one) if not rest and again == (inner, 0) else None
