"""What the reference repeats instead of computing: stop_gradients, assignments, random numbers.

A stop_gradient says: treat this as a constant when differentiating. Finite differences know nothing
of it, so in the reference each StopGradient node becomes a small Python function that records what
passes through it at the base point, and hands out the same values while the point is perturbed. A
node in a loop hands them out in the order in which it saw them. The same goes for what the function
assigns to variables, since TensorFlow does not differentiate through that either.

The same random op draws other numbers in eager mode, in a graph and under XLA. Eager mode only
chooses other seeds, which are computed here. XLA has other generators, so what it drew is an output
of the compiled function here, and the reference is given these numbers.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.samplers import Quantile

# Draws depend on the dtype, so these ops stay native.
RANDOM_OPS = re.compile("Random|Multinomial|TruncatedNormal|StatefulUniform|StatefulStandardNormal")
_LARGEST_SEED = 2**31 - 1

Values = np.ndarray[Any, Any]
Concrete = Any  # a ConcreteFunction; what TensorFlow types as one has neither inputs nor graph


class Recorder:
    """Records and replays the values of the nodes that it gave a token to."""

    def __init__(self) -> None:
        self.recording = True
        self._values: list[list[Any]] = []
        self._position: Counter[int] = Counter()
        self.offsets: dict[str, Values] = {}  # how far each resource has moved
        self._keep_alive: list[object] = []  # TensorFlow holds tokens weakly

    def token(self, dtype: tf.DType, resource: str = "") -> str:
        """Returns the token of a new recording function, for the attribute of a PyFunc node.

        What is assigned to a `resource` moves with it: TensorFlow differentiates with respect to
        what a variable holds when it is read.
        """
        values: list[Values] = []
        index = len(self._values)
        self._values.append(values)

        def record_or_replay(x: Values) -> Values:
            position = self._position[index]
            self._position[index] += 1
            if self.recording:
                values.append(np.array(x))
            elif position < len(values) and values[position].shape == np.shape(x):
                offset = self.offsets.get(resource)
                return values[position] if offset is None else values[position] + offset
            return x  # while recording; or in a branch that the base point did not take

        return self._token(record_or_replay, dtype, 1)

    def sampler(self, dtype: tf.DType, parameters: int, moved: Quantile) -> str:
        """Returns the token of a function of a sample and its parameters: what it moves to.

        Args:
            dtype: of both.
            parameters: how many there are.
            moved: see `samplers`.
        """
        values: list[Any] = []
        index = len(self._values)
        self._values.append(values)

        def draw_or_move(sample: Values, *now: Values) -> Values:
            position = self._position[index]
            self._position[index] += 1
            if self.recording:
                values.append((np.array(sample), [np.array(p) for p in now]))
            elif position < len(values) and values[position][0].shape == np.shape(sample):
                drawn, then = values[position]
                return drawn if all(map(np.array_equal, then, now)) else moved(drawn, then, now)
            return sample

        return self._token(draw_or_move, dtype, 1 + parameters)

    def _token(self, function: Callable[..., Values], dtype: tf.DType, inputs: int) -> str:
        any_shape: Any = None
        traced = tf.function(
            lambda *given: tf.numpy_function(function, given, dtype), autograph=False
        ).get_concrete_function(*[tf.TensorSpec(any_shape, dtype)] * inputs)
        self._keep_alive.append(traced)
        (node,) = [n for n in traced.graph.as_graph_def().node if n.op == "PyFunc"]
        return str(node.attr["token"].s.decode())

    def record(self) -> None:
        """Forgets; what passes next is the base point."""
        self.recording = True
        for values in self._values:
            values.clear()
        self.rewind()

    def replay(self) -> None:
        """Hands out what was recorded from now on."""
        self.recording = False
        self.rewind()

    def rewind(self) -> None:
        """Starts again from the first recorded value, before each evaluation."""
        self._position.clear()


def all_nodes(concrete: Concrete) -> list[tf.compat.v1.NodeDef]:
    """Returns the nodes of a traced function and of all that it may call."""
    graph_def = concrete.graph.as_graph_def()
    return [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]


def draws(concrete: Concrete, stateless: bool = False) -> bool:
    """Whether a traced function holds random state that only a new global seed resets.

    A `tf.py_function` may, so it counts; with `stateless`, any random op does.
    """
    ops = {node.op for node in all_nodes(concrete)}
    found = {op for op in ops if RANDOM_OPS.search(op)}
    return "EagerPyFunc" in ops or any(stateless or "Stateless" not in op for op in found)


def seed_as_eager(graph_def: tf.compat.v1.GraphDef, seed: int) -> bool:
    """Gives the main graph's random ops the seeds that they would have in eager mode.

    Without a seed of its own, an op gets its number within the graph, but in eager mode the next
    draw of a generator that `tf.random.set_seed` seeds. Returns whether any op was concerned; if
    TensorFlow ever does this differently, values differ and another reference is used.
    """
    generator, number = random.Random(seed), 0
    for node in graph_def.node:
        if "seed2" not in node.attr or node.attr["seed"].i != seed:
            continue
        if node.attr["seed2"].i == (number or (0 if seed else _LARGEST_SEED)):
            number += 1
            node.attr["seed2"].i = generator.randint(0, _LARGEST_SEED) % _LARGEST_SEED
    return number > 0


@dataclass(frozen=True)
class Drawn:
    """What the random ops of a function's main graph drew, in the order of the trace."""

    ops: tuple[str, ...]
    values: tuple[Values, ...]

    def replacements(self, concrete: Concrete) -> dict[str, Values]:
        """Returns them by the names of the tensors of another trace; {} if that differs."""
        found = _drawing(concrete.graph)
        same = tuple(op.type for op in found[: len(self.ops)]) == self.ops and all(
            op.outputs[0].shape.is_compatible_with(value.shape)
            for op, value in zip(found, self.values, strict=False)
        )
        names = [op.outputs[0].name for op in found]
        return dict(zip(names, self.values, strict=False)) if same else {}


def drawn_by_xla(
    call: Callable[[Sequence[tf.Tensor]], object], args: Sequence[tf.Tensor]
) -> Drawn | None:
    """Runs a function compiled by XLA and returns what it draws; None if it draws nothing.

    Only stateless ops draw the same each time; the caller compares values.
    """
    ops: list[str] = []

    def run(*given: tf.Tensor) -> tuple[object, list[tf.Tensor]]:
        outputs = call(given)
        found = _drawing(tf.compat.v1.get_default_graph())
        ops[:] = [op.type for op in found]
        return outputs, [tf.identity(op.outputs[0]) for op in found]

    _, values = tf.function(run, autograph=False, jit_compile=True)(*args)
    return Drawn(tuple(ops), tuple(v.numpy() for v in values)) if values else None


def _drawing(graph: tf.Graph) -> list[tf.Operation]:
    """Returns the ops that draw numbers that depend on no tensor that may be differentiated."""
    return [
        op
        for op in graph.get_operations()
        if RANDOM_OPS.search(op.type)
        and "Get" not in op.type  # StatelessRandomGetKeyCounter
        and not any(t.dtype.is_floating or t.dtype.is_complex for t in op.inputs)
    ]
