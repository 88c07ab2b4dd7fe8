"""TensorFlow's raw ops; those that einsums are made of, in half the time where a graph is traced.

Around the making of an op, TensorFlow converts each argument, fills in defaults, asks dispatchers
and opens a name scope. Nothing of that is needed where arguments are tensors already, and it is
more than half of the time that a trace takes. In eager mode, and where the shorter way is not to be
had, all is as `tf.raw_ops` has it, and the same op, name and gradient come of both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_einsum_grad.execution import private

__all__ = ["MADE_HERE", "ops"]

# Kinds that are made here; they are called with tensors, or lists of them, in the order of the op's
# own inputs, and with attributes that are bools and strings.
MADE_HERE = (
    "BatchMatMulV2",
    "BroadcastArgs",
    "BroadcastGradientArgs",
    "BroadcastTo",
    "ConcatV2",
    "Einsum",
    "MatMul",
    "Mul",
    "Reshape",
    "Shape",
    "StridedSlice",
    "Sum",
    "Transpose",
)


class _Ops:
    """`tf.raw_ops`, with another function for each of `MADE_HERE`."""

    def __init__(self) -> None:
        for kind in MADE_HERE:
            setattr(self, kind, _maker(kind))

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        raw: Callable[..., Any] = getattr(tf.raw_ops, kind)
        setattr(self, kind, raw)
        return raw


def _maker(kind: str) -> Callable[..., Any]:
    raw: Any = getattr(tf.raw_ops, kind)

    def make(**arguments: Any) -> Any:
        if tf.executing_eagerly() or not private.can_add_ops():
            return raw(**arguments)
        inputs: list[tf.Tensor] = []
        attributes: dict[str, bool | int | str] = {}
        for name, value in arguments.items():
            if isinstance(value, bool | str):
                attributes[name] = value
            elif isinstance(value, list):
                inputs += value
                attributes["N"] = len(value)
            else:
                inputs.append(value)
        outputs = private.add_op(kind, inputs, attributes)
        return outputs[0] if len(outputs) == 1 else outputs

    return make


ops: Any = _Ops()
