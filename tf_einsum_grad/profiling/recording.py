"""Sees which einsums a function calls while it is traced, by whatever name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.names import read_call
from tf_einsum_grad.algebra.sizes import Shape
from tf_einsum_grad.benchmark.variants import native_einsum
from tf_einsum_grad.execution import private
from tf_einsum_grad.installation import replaced
from tf_einsum_grad.lowering import watch
from tf_einsum_grad.profiling.graph import scope

__all__ = ["Recorded", "recording"]

EinsumFunction = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call of an einsum.

    Attributes:
        name: what was called.
        function: the same, to time it; TensorFlow's own for an einsum of this package.
        equation: as it was called.
        shapes, dtype: of the operands.
        path: the name scope that it was in.
        operands: names of the nodes that give them, or `id`s of variables' handles.
        made: whether a node is one that it made, by name.
    """

    name: str
    function: EinsumFunction
    equation: str
    shapes: tuple[Shape | None, ...]
    dtype: str
    path: str
    operands: tuple[str | int, ...]
    made: Callable[[str], bool]


@contextmanager
def recording() -> Iterator[list[Recorded]]:
    """Gathers the einsums that are called until the block ends, in the order of their calls.

    Raises:
        RuntimeError: as `install` does, and where something is installed.
    """
    calls: list[Recorded] = []
    inside = False  # Keras' own calls TensorFlow's

    def wrap(name: str, function: EinsumFunction) -> EinsumFunction:
        @private.leave_unconverted
        def recorded(equation: Any, *operands: Any, **options: Any) -> Any:
            nonlocal inside
            if inside:
                return function(equation, *operands, **options)
            inside = True
            try:
                graph = tf.compat.v1.get_default_graph()
                known = {op.name for op in graph.get_operations()}
                result = function(equation, *operands, **options)
                made = {op.name for op in graph.get_operations()} - known
            finally:
                inside = False
            text, tensors = read_call(equation, operands)
            short = name if name.startswith("tf.") else "keras.ops.einsum"
            if short == "keras.ops.einsum" and not any("Einsum" in node for node in made):
                short += " as matmul"
            calls.append(_record(short, function, text, tensors, made.__contains__))
            return result

        return recorded

    def listener(text: str, operands: Sequence[Any]) -> None:
        prefix = tf.get_current_name_scope() + "/"
        own = "tf_einsum_grad.einsum"
        calls.append(_record(own, native_einsum(), text, operands, _within(prefix)))

    with replaced(wrap), watch.listening(listener):
        yield calls


def _within(prefix: str) -> Callable[[str], bool]:
    return lambda node: node.startswith(prefix)


def _record(
    name: str,
    function: EinsumFunction,
    text: str,
    tensors: Sequence[Any],
    made: Callable[[str], bool],
) -> Recorded:
    path = scope(tf.get_current_name_scope() + "/")
    producers = tuple(_producer(x) for x in tensors)
    return Recorded(name, function, text, *_describe(tensors), path, producers, made)


def _describe(operands: Any) -> tuple[tuple[Shape | None, ...], str]:
    tensors = [_tensor(x) for x in operands]
    shapes = [tf.TensorShape(getattr(x, "shape", ())) for x in tensors]
    known = tuple(None if s.rank is None else tuple(s.as_list()) for s in shapes)
    dtypes = [tf.as_dtype(x.dtype).name for x in tensors if hasattr(x, "dtype")]
    return known, dtypes[0] if dtypes else "float32"


def _tensor(x: Any) -> Any:
    """The variable in a variable of Keras'."""
    return x.value if hasattr(x, "value") and not isinstance(x, tf.Variable) else x


def _producer(x: Any) -> str | int:
    x = _tensor(x)
    if isinstance(x, tf.Variable):
        return id(x.handle)
    graph = tf.compat.v1.get_default_graph()
    if isinstance(x, tf.Tensor) and not hasattr(x, "numpy") and x.graph is graph:
        return str(x.op.name)
    capture = getattr(graph, "capture", None)
    if isinstance(x, tf.Tensor) and capture is not None:
        return str(capture(x).op.name)
    return ""
