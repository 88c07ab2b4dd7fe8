"""What the traced function says about its leaves: who uses them, in what order, and where.

A graph knows what differences of numbers cannot tell: that a leaf is not used at all, that one lies
upstream of another, which value a stop_gradient holds fixed, and on which line of whose file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property

import keras
import tensorflow as tf

from tf_einsum_grad.gradcheck import private
from tf_einsum_grad.gradcheck.problem import Problem
from tf_einsum_grad.gradcheck.promote import differentiable

_PASSES_ON = ("ReadVariableOp", "Cast", "Identity")  # early, but not yet a use
_ASSIGNS = ("Assign", "ResourceScatter", "ResourceApply")
_OURS = os.path.dirname(__file__) + os.sep
_THEIRS = tuple(os.path.dirname(str(module.__file__)) + os.sep for module in (tf, keras))
_WRAPPERS = ("traceback_utils.py", "dispatch.py", "weak_tensor_ops.py")  # around each function


class Flow:
    """The graph of a problem's function; without one, nothing is known and answers are empty."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._graph = problem.concrete.graph if problem.concrete is not None else tf.Graph()
        self._ops = self._graph.get_operations()
        self._beyond: dict[int, set[int]] = {}  # what each leaf leads to

    @cached_property
    def first_uses(self) -> dict[int, tf.Operation]:
        """The first op on the way to an output that uses each leaf, in the order of the trace."""
        leaf_of = {tensor.name: leaf for leaf, tensor in self._sources.items()}
        uses: dict[int, tf.Operation] = {}
        for op in self._ops:
            for leaf in [leaf_of[tensor.name] for tensor in op.inputs if tensor.name in leaf_of]:
                if op.type in _PASSES_ON:
                    leaf_of[op.outputs[0].name] = leaf
                elif op.name in self._needed:
                    uses.setdefault(leaf, op)
        return uses

    @cached_property
    def unused(self) -> frozenset[int]:
        """The leaves that no output depends on."""
        if self.problem.concrete is None:
            return frozenset()
        used = {leaf for leaf, t in self._sources.items() if t.op.name in self._needed}
        return frozenset(range(len(self.problem.leaves))) - used

    def leads_to(self, leaf: int, others: Collection[int]) -> bool:
        """Whether what first uses a leaf leads to what first uses one of the others."""
        if leaf not in self._beyond:
            uses = self.first_uses
            after = _reached([uses[leaf]], _consumers) - {uses[leaf].name} if leaf in uses else ()
            self._beyond[leaf] = {other for other, op in uses.items() if op.name in after}
        return not self._beyond[leaf].isdisjoint(others)

    def held(self) -> tuple[list[str], int]:
        """Names the stop_gradients between leaves and outputs, each with its place.

        Returns:
            those that stand in code that is neither TensorFlow's nor Keras', and how many do not.
        """
        moved = _reached((t.op for t in self._sources.values()), _consumers)
        on_the_way, primal = moved & self._needed, self.problem.primal
        ops = [
            op
            for op in self._ops
            if op.name in on_the_way and (primal is None or op.name in primal)
        ]
        found = [op for op in _with_inner(ops) if op.type == "StopGradient"]
        found = [op for op in found if differentiable(op.outputs[0].dtype)]
        named = [describe(op) for op in found if _written_by_user(op)]
        return named, len(found) - len(named)

    def assigned(self) -> list[str]:
        """Names the variables with a derivative that the function assigns to."""
        variables = {v.handle.ref(): v for v in self._graph.variables} if self._ops else {}
        outer = {inner.name: variables.get(out.ref()) for out, inner in self._captures}
        found = [outer.get(handle) for handle in dict.fromkeys(_assigned(self._graph))]
        return [v.name.removesuffix(":0") for v in found if v is not None and _has_derivative(v)]

    def place_of(self, kind: str) -> str:
        """Describes the first op of a kind, in the function or in what it calls; "" if none."""
        found = (op for op in _with_inner(self._ops) if op.type == kind)
        return next(map(describe, found), "")

    @property
    def _captures(self) -> Iterable[tuple[tf.Tensor, tf.Tensor]]:
        return getattr(self._graph, "captures", ())

    @cached_property
    def _sources(self) -> dict[int, tf.Tensor]:
        """The tensor of the graph that holds each leaf, or its variable's handle."""
        captured = {external.ref(): internal for external, internal in self._captures}
        inputs = getattr(self.problem.concrete, "inputs", ())
        found: dict[int, tf.Tensor] = {}
        for i, leaf in enumerate(self.problem.leaves if self._ops else ()):
            if isinstance(leaf.source, int):
                found[i] = inputs[leaf.source]
            elif leaf.source.handle.ref() in captured:
                found[i] = captured[leaf.source.handle.ref()]
        return found

    @cached_property
    def _needed(self) -> set[str]:
        """The ops whose values go into the outputs."""
        outputs = getattr(self.problem.concrete, "outputs", ())
        return _reached((t.op for t in outputs), lambda op: (t.op for t in op.inputs))


def describe(op: tf.Operation) -> str:
    """Names an op with the line of the user's code that it comes from, if there is one."""
    frame = _user_frame(op)
    name: str = op.name
    if frame is None:
        return repr(name)
    return f"{name!r} ({os.path.basename(frame.filename)}:{frame.lineno} in {frame.name})"


def _user_frame(op: tf.Operation) -> tf.compat.v1.OpDef | None:
    """Returns the innermost frame of neither TensorFlow nor Keras, below the check's own."""
    found = None
    for frame in op.traceback:
        if frame.filename.startswith(_OURS):
            found = None
        elif not frame.filename.startswith(_THEIRS):
            found = frame
    return found


def _written_by_user(op: tf.Operation) -> bool:
    """Whether neither TensorFlow nor Keras called the function that made this op."""
    callers: list[str] = []  # names of functions of theirs since the last frame that is not
    for frame in op.traceback:
        if not frame.filename.startswith(_THEIRS):
            callers = []
        elif not frame.filename.endswith(_WRAPPERS):
            callers.append(frame.name)
    return callers[:1] == ["stop_gradient"]


def _with_inner(ops: Iterable[tf.Operation]) -> Iterator[tf.Operation]:
    """Yields ops, each followed by those of the functions that it calls."""
    for op in ops:
        yield op
        for graph in _called(op):
            yield from _with_inner(graph.get_operations())


def _called(op: tf.Operation) -> Iterator[tf.Graph]:
    names = [attr.func.name for attr in op.node_def.attr.values() if attr.HasField("func")]
    names += [f.name for attr in op.node_def.attr.values() for f in attr.list.func]
    for name in names:
        graph = private.function_graph(op.graph, name)
        if graph is not None:
            yield graph


def _assigned(graph: tf.Graph) -> Iterator[str]:
    """Yields the names of tensors of a graph that hold variables to which it assigns."""
    for op in graph.get_operations():
        if op.type.startswith(_ASSIGNS):
            yield op.inputs[0].name
        for inner in _called(op):
            written = set(_assigned(inner))
            given = list(op.inputs)[-len(inner.inputs) :]  # what selects a branch stands first
            for outside, inside in zip(given, inner.inputs, strict=False):
                if inside.name in written:
                    yield outside.name


def _has_derivative(variable: tf.Variable) -> bool:
    return differentiable(variable.dtype)


def _consumers(op: tf.Operation) -> Iterator[tf.Operation]:
    return (consumer for tensor in op.outputs for consumer in tensor.consumers())


def _reached(
    start: Iterable[tf.Operation], follow: Callable[[tf.Operation], Iterable[tf.Operation]]
) -> set[str]:
    """Returns the names of all ops that one comes to from some, and of these."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found.add(op.name)
            waiting.extend(follow(op))
    return found
