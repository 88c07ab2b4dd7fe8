"""Every private TensorFlow API that the package uses, with what happens where it is missing.

* The eager tape's `record_operation`: `tf.custom_gradient` costs 40 to 70 us a call in eager mode
  and records the kernels inside it a second time. Without it, `tf.custom_gradient` is used.
* The mark by which AutoGraph leaves a function as it is: `do_not_convert` puts it on a wrapper that
  costs each call 8 us. Without it, `do_not_convert` is used.
* Whether XLA will compile the graph being traced: XLA wants other lowerings. Without it, "no".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import tensorflow as tf

__all__ = [
    "HAS_RECORD",
    "in_xla_context",
    "leave_unconverted",
    "needs_gradient",
    "record",
    "recording",
    "shape_tuple",
    "stopped",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])

try:
    from tensorflow.python.eager import record as _record

    HAS_RECORD = all(
        hasattr(_record, name)
        for name in ("could_possibly_record", "record_operation", "stop_recording", "pywrap_tfe")
    ) and hasattr(_record.pywrap_tfe, "TFE_Py_TapeSetPossibleGradientTypes")
except ImportError:
    HAS_RECORD = False

try:
    from tensorflow.python.ops import (
        control_flow_util as _control_flow_util,
    )

    _HAS_XLA_CONTEXT = hasattr(_control_flow_util, "GraphOrParentsInXlaContext")
except ImportError:
    _HAS_XLA_CONTEXT = False


try:
    from tensorflow.python.autograph.impl.api import (
        autograph_artifact as _mark_unconverted,
    )
except ImportError:
    _mark_unconverted = tf.autograph.experimental.do_not_convert


def leave_unconverted(function: _Function) -> _Function:
    """`tf.autograph.experimental.do_not_convert`, for a function that calls back no user's code."""
    marked: _Function = _mark_unconverted(function)
    return marked


def recording() -> bool:
    """Whether any gradient tape or forward accumulator may be active in this thread."""
    return not HAS_RECORD or bool(_record.could_possibly_record())


def needs_gradient(x: tf.Tensor) -> bool:
    """Whether a tape or an accumulator follows this tensor."""
    return bool(_record.pywrap_tfe.TFE_Py_TapeSetPossibleGradientTypes([x]))


def stopped() -> AbstractContextManager[None]:
    """A context in which nothing is recorded."""
    context: AbstractContextManager[None] = _record.stop_recording()
    return context


def record(
    result: tf.Tensor,
    operands: Sequence[tf.Tensor],
    vjp: Callable[[tf.Tensor], list[tf.Tensor | None]],
) -> None:
    """Tells tapes and accumulators how `result` came from `operands`."""
    _record.record_operation("TfEinsumGrad", [result], list(operands), vjp)


def in_xla_context() -> bool:
    """Whether the graph being traced will be compiled by XLA (`jit_compile=True`)."""
    if not _HAS_XLA_CONTEXT or tf.executing_eagerly():
        return False
    return bool(_control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def shape_tuple(x: tf.Tensor) -> tuple[int | None, ...] | None:
    """The static shape of a tensor, None for an unknown rank."""
    try:
        return x._shape_tuple()  # type: ignore[no-any-return]  # 10 times faster than x.shape
    except AttributeError:
        return None if x.shape.rank is None else tuple(x.shape.as_list())
