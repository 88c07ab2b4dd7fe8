"""A training step of whatever is profiled, as it is and as installed; and what it multiplies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.errors import OperandError
from tf_einsum_grad.benchmark.subjects import as_tensors, call, differentiable, is_keras
from tf_einsum_grad.benchmark.workloads import Mode
from tf_einsum_grad.installation import installed
from tf_einsum_grad.profiling.graph import Graph, Product
from tf_einsum_grad.profiling.recording import Recorded, recording

__all__ = ["Subject", "Traced", "find_products", "make_step", "read_subject"]

Loss = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is profiled.

    Attributes:
        name: what it is called in reports.
        call: runs it on its inputs.
        inputs: tensors, or structures of them, one for each argument.
        loss: a number from its outputs.
        training: whether gradients are taken.
    """

    name: str
    call: Callable[..., Any]
    inputs: tuple[Any, ...]
    loss: Loss
    training: bool


def read_subject(function: Any, inputs: Any, loss: Loss | None, training: bool) -> Subject:
    """Reads what a user wants to have profiled.

    Raises:
        OperandError: it cannot be called, or an input is no tensor.
    """
    signatures = getattr(function, "signatures", None)
    if not callable(function) and signatures:
        function = signatures.get("serving_default") or next(iter(signatures.values()))
    if not callable(function):
        kind = type(function).__name__
        raise OperandError(f"profile requires a model or a function, got {kind}")
    by_name = isinstance(inputs, dict) and not is_keras(function)
    arguments = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    tensors = tuple(as_tensors("profile", arguments))

    def run(*given: Any) -> Any:
        return function(**given[0]) if by_name else call(function, given, training)

    if not getattr(function, "built", True):
        run(*tensors)  # which makes its variables
    name = getattr(function, "name", None) or getattr(function, "__name__", None)
    name = str(name or type(function).__name__)
    return Subject(name, run, tensors, loss or _distance, training)


def _distance(outputs: Any) -> tf.Tensor:
    """The loss where nobody says: the mean square distance from numbers that do not change.

    Not from 0: the mean square of what a normalization returns is constant, so all gradients
    would be rounding, and nothing to compare.
    """
    leaves = differentiable(outputs)
    if not leaves:
        raise OperandError("profile requires floating outputs, or training=False, got none")
    flat = [tf.reshape(y, [-1]) for y in leaves]
    targets = [tf.cast(tf.cos(tf.range(tf.size(y), dtype=tf.float32)), y.dtype) for y in flat]
    distances = [tf.cast(tf.abs(y - t), tf.float32) for y, t in zip(flat, targets, strict=True)]
    return tf.add_n([tf.reduce_mean(distance**2) for distance in distances])


class Traced:
    """A step as a graph; `function` is of the leaves of the inputs, for `leaves`."""

    def __init__(self, subject: Subject, mode: Mode, place: Callable[[], Any]) -> None:
        def step(*leaves: tf.Tensor) -> list[tf.Tensor]:
            return _step(subject, tf.nest.pack_sequence_as(subject.inputs, leaves))

        self.leaves = tf.nest.flatten(subject.inputs)
        function = tf.function(step, jit_compile=mode == "xla")
        with place():
            self.function: Any = _trace(function, self.leaves)

    def __call__(self) -> list[tf.Tensor]:
        """Runs it."""
        results: list[tf.Tensor] = self.function(*self.leaves)
        return results


def make_step(subject: Subject, mode: Mode, ours: bool) -> Callable[[], list[tf.Tensor]]:
    """A step that returns the loss and every gradient; or without training, the outputs.

    Args:
        subject: what runs.
        mode: how.
        ours: whether it runs as under `installed()`.
    """
    place: Callable[[], Any] = installed if ours else nullcontext
    if mode == "eager":

        def eagerly() -> list[tf.Tensor]:
            with place():
                return _step(subject, subject.inputs)

        return eagerly
    return Traced(subject, mode, place)


def _step(subject: Subject, inputs: Sequence[Any]) -> list[tf.Tensor]:
    if not subject.training:
        return list(tf.nest.flatten(subject.call(*inputs)))
    floats = differentiable(inputs)
    with tf.GradientTape() as tape:
        tape.watch(floats)
        loss = tf.reduce_mean(subject.loss(subject.call(*inputs)))
    sources: list[Any] = list(tape.watched_variables()) or floats
    gradients = [x for x in tape.gradient(loss, sources) if x is not None]
    return [loss, *(getattr(x, "values", x) for x in gradients)]


def _trace(function: Any, inputs: Sequence[Any], again: Callable[[], None] | None = None) -> Any:
    """Traces a function, and anew every `tf.function` that it calls.

    Where these take AutoGraph, it is traced a second time, and calls them as they are; `again` is
    told before.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # calls inside run Python, of which the graph is made
    try:
        return function.get_concrete_function(*inputs)
    except tf.errors.OperatorNotAllowedInGraphError:
        if again is not None:
            again()
    finally:
        tf.config.run_functions_eagerly(before)
    return function.get_concrete_function(*inputs)


def find_products(subject: Subject) -> tuple[list[Product], dict[str, Any], list[tf.Variable]]:
    """What a forward pass multiplies, each with the gradients that a step needs.

    Returns:
        The products, once for each call; what was called by each name; and the variables that the
        function has.
    """
    watched: list[Any] = []

    def forward(*inputs: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = subject.call(*inputs)
        watched.extend(tape.watched_variables())
        return outputs

    def again() -> None:
        watched.clear()
        calls.clear()

    with recording() as calls:
        concrete = _trace(tf.function(forward), subject.inputs, again)
    graph = concrete.graph
    captured = len(concrete.captured_inputs)
    names = [x.op.name for x in graph.inputs]
    handles = dict(
        zip((id(x) for x in concrete.captured_inputs), names[len(names) - captured :], strict=True)
    )
    sources = [handles[id(x.handle)] for x in watched if id(x.handle) in handles]
    if not watched:
        sources = [x.op.name for x in differentiable(graph.inputs[: len(names) - captured])]
    results = [x.op.name for x in tf.nest.flatten(graph.structured_outputs) if x is not None]
    definition = graph.as_graph_def(add_shapes=True)
    found = Graph(definition, sources if subject.training else (), results)
    made = [[node for node in found.names() if one.made(node)] for one in calls]
    pairs = zip(calls, made, strict=True)
    trained = {id(x.handle) for x in watched} if subject.training else set()
    products = [_of_call(one, nodes, found, trained) for one, nodes in pairs if nodes]
    products += found.products(leave_out={node for nodes in made for node in nodes})
    return products, {one.name: one.function for one in calls}, list(graph.variables)


def _of_call(recorded: Recorded, nodes: Sequence[str], graph: Graph, trained: set[int]) -> Product:
    needed = [
        k
        for k, x in enumerate(recorded.operands)
        if (x in trained if isinstance(x, int) else graph.is_differentiated(x))
    ]
    loop = any(map(graph.in_loop, nodes))
    r = recorded
    return Product(r.path, r.name, r.equation, r.shapes, r.dtype, tuple(needed), loop)
