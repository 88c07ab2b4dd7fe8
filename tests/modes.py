"""Ways to run a function of tensors: eager, and in graphs that know more or less of the shapes."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Mode:
    """`shape` says what a graph is told of an operand's shape; None is eager mode."""

    name: str
    shape: object = None
    xla: bool = False

    def __str__(self):
        return self.name

    def run(self, body, inputs):
        """`body(inputs)` where `inputs` are nested lists of arrays; results as arrays."""
        if self.shape is None:
            results = body(tf.nest.map_structure(tf.constant, inputs))
        else:
            specs = tf.nest.map_structure(lambda x: tf.TensorSpec(self.shape(x), x.dtype), inputs)
            function = tf.function(
                body, input_signature=[specs], jit_compile=self.xla, autograph=False
            )
            results = function(inputs)
        return tf.nest.map_structure(lambda x: x.numpy(), results)


def _static(x):
    return x.shape


def _unknown_dims(x):
    return [None] * x.ndim


def _unknown_rank(x):
    return None


EAGER = Mode("eager")
STATIC = Mode("static", _static)
UNKNOWN_DIMS = Mode("unknown dims", _unknown_dims)
UNKNOWN_RANK = Mode("unknown rank", _unknown_rank)
XLA = Mode("xla", _static, xla=True)
XLA_UNKNOWN_DIMS = Mode("xla, unknown dims", _unknown_dims, xla=True)
GRAPHS = (STATIC, UNKNOWN_DIMS, UNKNOWN_RANK)
COMPILED = (XLA, XLA_UNKNOWN_DIMS)
