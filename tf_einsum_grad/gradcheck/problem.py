"""What is checked: a function from flat tensors to flat tensors, and the leaves to differentiate.

Everything that people may pass (nests, Keras models, tf.Modules, patterns of names) is made uniform
here, so that the rest of the checker sees one `Problem`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.directions import Array, wide
from tf_einsum_grad.gradcheck.promote import differentiable

Tensors = Sequence[tf.Tensor]


@dataclass(frozen=True)
class Leaf:
    """A tensor to differentiate with respect to: an argument (by position) or a variable."""

    name: str
    shape: tuple[int, ...]
    dtype: tf.DType
    position: int | None = None
    variable: tf.Variable | None = None

    def narrow(self, value: Array) -> np.ndarray[Any, Any]:
        """Round a wide value to this leaf's own dtype."""
        return np.asarray(value).astype(self.dtype.as_numpy_dtype)


@dataclass
class Problem:
    """A function of flat tensors, where to evaluate it, and its leaves.

    `call` takes all of `args` and returns the differentiable outputs as a flat list; `traced` does
    the same inside a tf.function (they differ where autograph has to convert Python control flow).
    `skipped` are the leaves that are not differentiated, for the report.
    """

    call: Callable[[Tensors], list[tf.Tensor]]
    args: list[tf.Tensor]
    leaves: list[Leaf]
    skipped: list[Leaf] = dataclasses.field(default_factory=list)
    variables: list[tf.Variable] = dataclasses.field(default_factory=list)
    traced: Callable[[Tensors], list[tf.Tensor]] | None = None
    model: Any = None  # the Keras layer itself, if it is one
    call_with: Callable[[Any, Tensors], list[tf.Tensor]] | None = None  # another model, same way
    concrete: Any = None  # the traced forward pass, or why there is none:
    untraceable: str = ""
    output_dtypes: list[tf.DType] = dataclasses.field(default_factory=list)
    output_leaves: list[int] = dataclasses.field(
        default_factory=list
    )  # second order: whose gradient
    primal: frozenset[str] | None = None  # traced nodes whose stop_gradients mean "a constant"

    def base(self) -> list[Array]:
        """The leaves' values, in float64 or complex128."""
        return [
            wide(self.args[leaf.position] if leaf.position is not None else leaf.variable)
            for leaf in self.leaves
        ]

    def native_args(self, values: Sequence[Array]) -> list[tf.Tensor]:
        """The arguments with the leaves among them at the values given."""
        args = list(self.args)
        for leaf, value in zip(self.leaves, values, strict=True):
            if leaf.position is not None:
                args[leaf.position] = tf.constant(leaf.narrow(value), leaf.dtype)
        return args

    def assign(self, values: Sequence[Array]) -> None:
        """Give the leaves that are variables the values given."""
        for leaf, value in zip(self.leaves, values, strict=True):
            if leaf.variable is not None:
                leaf.variable.assign(leaf.narrow(value))

    def sources(self, args: Tensors) -> list[Any]:
        """The leaves as a tape wants them."""
        return [
            args[leaf.position] if leaf.position is not None else leaf.variable
            for leaf in self.leaves
        ]

    def specs(self) -> list[tf.TensorSpec]:
        """Specs of all arguments, for tracing."""
        return [tf.TensorSpec(arg.shape, arg.dtype) for arg in self.args]


def flat_outputs(outputs: Any) -> list[tf.Tensor]:
    """Flatten any nest of outputs and keep what can be differentiated."""
    tensors = []
    for output in tf.nest.flatten(outputs, expand_composites=True):
        if isinstance(output, (float, complex, np.ndarray, np.generic)):
            output = tf.convert_to_tensor(output)
        elif not tf.is_tensor(output):
            output = getattr(output, "value", output)  # a Keras variable
        if tf.is_tensor(output) and differentiable(output.dtype):
            tensors.append(tf.convert_to_tensor(output))
    return tensors


def brief(error: BaseException) -> str:
    """The kind of an error and the line of its message that says most, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and line != "in user code:" and 'File "' not in line]
    return f"{type(error).__name__}: {telling[0][:200] if telling else ''}".rstrip(": ")
