"""Hold `tf.stop_gradient` at the values that it had at the base point.

The same goes for what the function assigns to variables, since TensorFlow does not differentiate
through that either.

A stop_gradient says: treat this as a constant when differentiating. Finite differences know nothing
of it, so in the reference each StopGradient node becomes a small Python function that records what
passes through it at the base point, and hands out the same values while the point is perturbed. A
node in a loop hands them out in the order in which it saw them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


class Recorder:
    """Records and replays the values of the nodes that it gave a token to."""

    def __init__(self) -> None:
        self.recording = True
        self._values: list[list[np.ndarray[Any, Any]]] = []
        self._position: list[int] = []
        self.offsets: dict[str, np.ndarray[Any, Any]] = {}  # how far each resource has moved
        self._keep_alive: list[Any] = []  # TensorFlow holds tokens weakly

    def token(self, dtype: tf.DType, resource: str = "") -> str:
        """Return the token of a new recording function, for the attribute of a PyFunc node.

        What is assigned to a `resource` moves with it: TensorFlow differentiates with respect to
        what a variable holds when it is read.
        """
        index = len(self._values)
        self._values.append([])
        self._position.append(0)

        def record_or_replay(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            values, position = self._values[index], self._position[index]
            self._position[index] += 1
            if self.recording:
                values.append(np.array(x))
            elif position < len(values) and values[position].shape == np.shape(x):
                offset = self.offsets.get(resource)
                return values[position] if offset is None else values[position] + offset
            return x  # while recording; or in a branch that the base point did not take

        traced = tf.function(
            lambda x: tf.numpy_function(record_or_replay, [x], dtype), autograph=False
        ).get_concrete_function(tf.TensorSpec(None, dtype))
        self._keep_alive.append(traced)
        (node,) = [n for n in traced.graph.as_graph_def().node if n.op == "PyFunc"]
        return str(node.attr["token"].s.decode())

    def record(self) -> None:
        """Forget; what passes next is the base point."""
        self.recording = True
        for values in self._values:
            values.clear()
        self.rewind()

    def replay(self) -> None:
        """From now on hand out what was recorded."""
        self.recording = False
        self.rewind()

    def rewind(self) -> None:
        """Start again from the first recorded value, before each evaluation."""
        self._position = [0] * len(self._position)
