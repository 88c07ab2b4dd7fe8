"""Random ops: which there are, and how to make the reference draw what a variant draws.

The same op draws other numbers in eager mode, in a graph and under XLA. Eager mode only chooses
other seeds, which are computed here. XLA has other generators, so what it drew is an output of the
compiled function here, and the reference is given these numbers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

# Draws depend on the dtype, so these ops stay native.
RANDOM_OPS = re.compile("Random|Multinomial|TruncatedNormal|StatefulUniform|StatefulStandardNormal")
_LARGEST_SEED = 2**31 - 1


def draws(concrete: Any, stateless: bool = False) -> bool:
    """Whether a traced function holds random state that only a new global seed resets.

    A `tf.py_function` may, so it counts; with `stateless`, any random op does.
    """
    graph_def = concrete.graph.as_graph_def()
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    ops = {node.op for node in nodes}
    found = {op for op in ops if RANDOM_OPS.search(op)}
    return "EagerPyFunc" in ops or any(stateless or "Stateless" not in op for op in found)


def seed_as_eager(graph_def: Any, seed: int) -> bool:
    """Give the main graph's random ops the seeds that they would have in eager mode.

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
    values: tuple[np.ndarray[Any, Any], ...]

    def replacements(self, concrete: Any) -> dict[str, np.ndarray[Any, Any]]:
        """By the names of the tensors of another trace of the same function; {} if it differs."""
        found = _drawing(concrete.graph)
        shapes = [op.outputs[0].shape for op in found[: len(self.ops)]]
        same = tuple(op.type for op in found[: len(self.ops)]) == self.ops and all(
            shape.is_compatible_with(value.shape)
            for shape, value in zip(shapes, self.values, strict=True)
        )
        names = [op.outputs[0].name for op in found]
        return dict(zip(names, self.values, strict=False)) if same else {}


def drawn_by_xla(
    call: Callable[[Sequence[tf.Tensor]], Any], args: Sequence[tf.Tensor]
) -> Drawn | None:
    """Run a function compiled by XLA and return what it draws; None if it draws nothing.

    Only stateless ops draw the same each time; the caller compares values.
    """
    ops: list[str] = []

    def run(*given: tf.Tensor) -> tuple[Any, list[tf.Tensor]]:
        outputs = call(given)
        found = _drawing(tf.compat.v1.get_default_graph())
        ops[:] = [op.type for op in found]
        return outputs, [tf.identity(op.outputs[0]) for op in found]

    _, values = tf.function(run, autograph=False, jit_compile=True)(*args)
    return Drawn(tuple(ops), tuple(v.numpy() for v in values)) if values else None


def _drawing(graph: Any) -> list[Any]:
    """Ops that draw numbers that depend on no tensor that may be differentiated."""
    return [
        op
        for op in graph.get_operations()
        if RANDOM_OPS.search(op.type)
        and "Get" not in op.type  # StatelessRandomGetKeyCounter
        and not any(t.dtype.is_floating or t.dtype.is_complex for t in op.inputs)
    ]
