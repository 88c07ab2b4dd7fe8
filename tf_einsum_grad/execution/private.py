"""Every private TensorFlow API that the package uses, with what happens where it is missing.

* The eager tape's `record_operation`: `tf.custom_gradient` costs 40 to 70 us a call in eager mode
  and records the kernels inside it a second time. Without it, `tf.custom_gradient` is used.
* The mark by which AutoGraph leaves a function as it is: `do_not_convert` puts it on a wrapper that
  costs each call 8 us. Without it, `do_not_convert` is used.
* An op's own gradient function, which is freed with its graph: `tf.custom_gradient` keeps every
  graph, under a name that a loaded one does not know. Without it, `tf.custom_gradient` is used.
* The class of eager tensors, to tell them apart without making one. Without it, one is made.
* How a graph makes an op, and how tapes are told of it: what `tf.raw_ops` does around that takes as
  long again. Without it, or where `tf.debugging` looks at each op, `tf.raw_ops` is used.
* The class of plain variables, which eager mode reads in a shorter way. Without it, the long one.
* Whether XLA will compile the graph being traced: XLA wants other lowerings. Without it, "no".
* Whether forward mode follows a tensor: what runs in loops is then done at once. Without it, "no".
* The device scope of the graph being traced: a GPU wants other lowerings. Without it, none.
* XLA's update of a part of a tensor, in place. Without it, the tensor is turned and copied.
* Whether oneDNN's kernels are on: they want other lowerings. Without it, "no".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, TypeVar

import tensorflow as tf

__all__ = [
    "EAGER_TENSOR",
    "HAS_OP_GRADIENT",
    "HAS_RECORD",
    "VARIABLE",
    "add_op",
    "belongings",
    "bring_here",
    "can_add_ops",
    "device_scope",
    "give_gradient",
    "give_gradients",
    "has_tangents",
    "in_xla_context",
    "is_plain_function",
    "leave_unconverted",
    "needs_gradient",
    "note",
    "noted",
    "onednn_is_on",
    "record",
    "record_several",
    "recording",
    "shape_tuple",
    "stopped",
    "update_slice",
]

Attribute = bool | int | str | tuple[tf.DType, ...]
_Function = TypeVar("_Function", bound=Callable[..., Any])

try:
    from tensorflow.python.eager import record as _record

    HAS_RECORD = all(
        hasattr(_record, name)
        for name in ("could_possibly_record", "record_operation", "stop_recording", "pywrap_tfe")
    ) and hasattr(_record.pywrap_tfe, "TFE_Py_TapeSetPossibleGradientTypes")
except ImportError:
    HAS_RECORD = False

HAS_OP_GRADIENT = hasattr(tf.Graph, "_override_gradient_function")  # which sets it

try:
    from tensorflow.python.eager import execute as _execute
    from tensorflow.python.framework import op_callbacks as _op_callbacks

    _HAS_ADD_OP = (
        HAS_RECORD
        and hasattr(tf.Graph, "_create_op_internal")
        and all(hasattr(_execute, name) for name in ("must_record_gradient", "record_gradient"))
        and hasattr(_op_callbacks, "should_invoke_op_callbacks")
    )
except ImportError:
    _HAS_ADD_OP = False

try:
    EAGER_TENSOR: type = tf.__internal__.EagerTensor
except AttributeError:
    with tf.init_scope():
        EAGER_TENSOR = type(tf.constant(0))

try:
    from tensorflow.python.ops.resource_variable_ops import ResourceVariable as VARIABLE
except ImportError:
    VARIABLE = type(None)

try:
    from tensorflow.python.ops import (
        control_flow_util as _control_flow_util,
    )

    _HAS_XLA_CONTEXT = hasattr(_control_flow_util, "GraphOrParentsInXlaContext")
except ImportError:
    _HAS_XLA_CONTEXT = False


try:
    from tensorflow.compiler.tf2xla.ops import (  # type: ignore[import-not-found]
        gen_xla_ops as _xla_ops,
    )

    _HAS_XLA_UPDATE = hasattr(_xla_ops, "xla_dynamic_update_slice")
except ImportError:
    _HAS_XLA_UPDATE = False

try:
    from tensorflow.python.util import _pywrap_util_port
except ImportError:
    _pywrap_util_port = None

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


def record_several(
    results: Sequence[tf.Tensor],
    operands: Sequence[tf.Tensor],
    vjp: Callable[..., list[tf.Tensor | None]],
) -> None:
    """Tells tapes and accumulators how several `results` came from `operands`."""
    _record.record_operation("TfEinsumGrad", list(results), list(operands), vjp)


def can_add_ops() -> bool:
    """Whether `add_op` may make the ops of graphs."""
    return HAS_RECORD and _HAS_ADD_OP and not _op_callbacks.should_invoke_op_callbacks()


def add_op(
    kind: str, inputs: Sequence[tf.Tensor], attributes: Mapping[str, Attribute]
) -> Sequence[tf.Tensor]:
    """Makes an op in the graph being traced.

    Args:
        kind: of op.
        inputs: in the op's own order, those in lists too.
        attributes: those that neither follow from single inputs nor have a default.

    Returns:
        Its outputs.
    """
    graph: Any = tf.compat.v1.get_default_graph()
    attrs = {name: _encode(type(value).__name__, value) for name, value in attributes.items()}
    op = graph._create_op_internal(kind, inputs, attrs=attrs)
    outputs: Sequence[tf.Tensor] = op.outputs
    if _execute.must_record_gradient() and any(needs_gradient(x) for x in op.inputs):
        names = [attribute.name for attribute in op.op_def.attr]
        values = tuple([x for name in names for x in (name, op.get_attr(name))])
        _execute.record_gradient(kind, op.inputs, values, outputs)
    return outputs


@lru_cache(maxsize=4096)
def _encode(kind: str, value: Attribute) -> Any:
    """An attribute as a graph has it; True is not 1."""
    encoded = tf.compat.v1.AttrValue()
    if kind == "bool":
        encoded.b = value
    elif kind == "int":
        encoded.i = value
    elif kind == "str":
        encoded.s = value.encode()  # type: ignore[union-attr]
    else:
        encoded.list.type.extend([dtype.as_datatype_enum for dtype in value])  # type: ignore[union-attr]
    return encoded


def _pass_on(tensors: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """The same tensors, by one op."""
    if can_add_ops():
        return add_op("IdentityN", tensors, {"T": tuple([x.dtype for x in tensors])})
    passed: Sequence[tf.Tensor] = tf.raw_ops.IdentityN(input=list(tensors))
    return passed


def belongings(graph: tf.Graph) -> dict[Any, Any]:
    """What this package keeps with a graph, for as long as it lives."""
    kept: dict[Any, Any] | None = getattr(graph, "_tf_einsum_grad", None)
    if kept is None:
        kept = {}
        graph._tf_einsum_grad = kept  # type: ignore[attr-defined]
    return kept


def is_plain_function(graph: tf.Graph) -> bool:
    """Whether a graph is a function's, outside of branches and loops of TensorFlow 1.

    There, what one op made serves all that come after it.
    """
    return hasattr(graph, "capture") and getattr(graph, "_control_flow_context", None) is None


def bring_here(x: tf.Tensor) -> tf.Tensor:
    """A tensor as one of the graph being traced, where tapes can still see how it came here."""
    graph = tf.compat.v1.get_default_graph()
    if not isinstance(x, EAGER_TENSOR) and x.graph is graph:
        return x
    if hasattr(graph, "capture"):  # a function's graph
        captured: tf.Tensor = graph.capture(x)
        return captured
    here: tf.Tensor = tf.identity(x)
    return here


def give_gradient(
    result: tf.Tensor,
    operands: Sequence[tf.Tensor],
    pull_back: Callable[[Sequence[tf.Tensor], tf.Tensor], list[tf.Tensor | None]],
    always: bool = True,
) -> tf.Tensor:
    """Makes `pull_back` the gradient of what computes `result` in a graph.

    Where one op made it of the operands and constants, that op is given the gradient; else one that
    passes all of them on, so that the gradient goes past what is between.

    Args:
        result: of the graph being traced.
        operands: what it was computed from, of the same graph.
        pull_back: of the operands, which are handed to it as that op has them, and the cotangent.
        always: whether it is worth another op; without it the kernels are differentiated one by
            one, where several made the result.

    Returns:
        The tensor to go on with.
    """
    op: Any = result.op
    places = _places(op, operands)
    if places is None:
        if not always:
            return result
        result = _pass_on([result, *operands])[0]
        op, places = result.op, list(range(1, len(operands) + 1))

    def gradient(op: tf.Operation, cotangent: tf.Tensor, *_: object) -> list[tf.Tensor | None]:
        gradients: list[tf.Tensor | None] = [None] * len(op.inputs)
        pulled = pull_back([op.inputs[place] for place in places], cotangent)
        for place, own in zip(places, pulled, strict=True):
            gradients[place] = own
        return gradients

    op._gradient_function = gradient
    op._tf_einsum_grad_places = tuple(places)
    return result


def give_gradients(
    results: Sequence[tf.Tensor],
    operands: Sequence[tf.Tensor],
    pull_back: Callable[[Sequence[tf.Tensor], Sequence[Any]], list[tf.Tensor | None]],
) -> list[tf.Tensor]:
    """`give_gradient` for several results: of the operands, and the cotangent of each result."""
    n = len(results)
    passed = _pass_on([*results, *operands])

    def gradient(op: tf.Operation, *cotangents: Any) -> list[tf.Tensor | None]:
        return [None] * n + pull_back(list(op.inputs)[n:], cotangents[:n])

    passed[0].op._gradient_function = gradient  # type: ignore[attr-defined]
    return list(passed[:n])


def note(result: tf.Tensor, computed: object) -> None:
    """Writes on the op that `give_gradient` gave one what it computes."""
    if not isinstance(result, EAGER_TENSOR) and hasattr(result.op, "_tf_einsum_grad_places"):
        result.op._tf_einsum_grad = computed  # type: ignore[attr-defined]


def noted(op: tf.Operation) -> tuple[Any, tuple[int, ...]] | None:
    """What was noted on an op, and at which of its inputs the operands are; None for any other."""
    computed, places = (
        getattr(op, name, None) for name in ("_tf_einsum_grad", "_tf_einsum_grad_places")
    )
    return None if computed is None or places is None else (computed, places)


def _places(op: tf.Operation, operands: Sequence[tf.Tensor]) -> list[int] | None:
    """At which of an op's inputs the operands are; None where one is not."""
    inputs, places = list(op.inputs), []
    for x in operands:
        free = [place for place, y in enumerate(inputs) if y is x and place not in places]
        if not free:
            return None
        places.append(free[0])
    return places


def in_xla_context() -> bool:
    """Whether the graph being traced will be compiled by XLA (`jit_compile=True`)."""
    if not _HAS_XLA_CONTEXT or tf.executing_eagerly():
        return False
    return bool(_control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def update_slice(x: tf.Tensor, block: tf.Tensor, begin: tf.Tensor) -> tf.Tensor:
    """A tensor with a block of it replaced, under XLA, which does that in place."""
    if _HAS_XLA_UPDATE:
        updated: tf.Tensor = _xla_ops.xla_dynamic_update_slice(x, block, begin)
        return updated
    axes = list(range(len(x.shape)))
    turned = tf.roll(x, -begin, axes)
    dims = tf.shape(block)
    replaced = tf.raw_ops.TensorStridedSliceUpdate(
        input=turned, begin=0 * dims, end=dims, strides=[1] * len(axes), value=block
    )
    back: tf.Tensor = tf.roll(replaced, begin, axes)
    return back


def device_scope() -> str:
    """The device that the graph being traced puts ops on, as its scopes name it; "" for any."""
    stack: Any = getattr(tf.compat.v1.get_default_graph(), "_device_function_stack", None)
    for scope in stack.peek_objs() if hasattr(stack, "peek_objs") else ():  # the innermost first
        name = getattr(scope, "raw_string", None)
        if isinstance(name, str) and name:
            return name.upper()
        if getattr(scope, "display_name", "") == "None":  # sets aside the scopes around it
            break
    return ""


def onednn_is_on() -> bool:
    """Whether TensorFlow runs oneDNN's kernels and allocator on CPU."""
    asked = getattr(_pywrap_util_port, "IsMklEnabled", None)
    return asked is not None and bool(asked())


def has_tangents(tensors: Sequence[tf.Tensor]) -> bool:
    """Whether a `ForwardAccumulator` follows one of these tensors."""
    pack = getattr(_record.pywrap_tfe, "TFE_Py_PackJVPs", None) if HAS_RECORD else None
    return pack is not None and bool(pack(tuple(tensors))[1])


def shape_tuple(x: tf.Tensor) -> tuple[int | None, ...] | None:
    """The static shape of a tensor, None for an unknown rank."""
    try:
        return x._shape_tuple()  # type: ignore[no-any-return]  # 10 times faster than x.shape
    except AttributeError:
        return None if x.shape.rank is None else tuple(x.shape.as_list())
