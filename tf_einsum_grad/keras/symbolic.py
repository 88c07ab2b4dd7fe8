"""`tf_einsum_grad.einsum` on `keras.Input`s: a node of a functional model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_einsum_grad.algebra.errors import OperandError
from tf_einsum_grad.execution.call import run_call
from tf_einsum_grad.execution.operands import read_dtype
from tf_einsum_grad.keras.backend import output_shape
from tf_einsum_grad.keras.config import read_options, write_options
from tf_einsum_grad.planning.limit import MemoryLimit, read_memory
from tf_einsum_grad.planning.path import Optimize, check_optimize

__all__ = ["EinsumOperation"]


@keras.saving.register_keras_serializable(package="tf_einsum_grad")
class EinsumOperation(keras.Operation):  # type: ignore[misc]  # Keras is untyped
    """One einsum in a functional model; `tf_einsum_grad.einsum` makes it of symbolic operands.

    Args:
        equation: the equation.
        optimize: as in `tf_einsum_grad.einsum`; an optimiser that is a function is saved by its
            name, and has to be registered with Keras.
        sizes: as there.
        size_hints: as there.
        name: the operation's name in the model.
        result_dtype: what is `dtype` there.
        memory_limit, recompute: as there.

    Raises:
        PathError: `optimize`, `memory_limit` or `recompute` is nothing that it may be.

    Example:
        >>> x = keras.Input([32, 128])
        >>> EinsumOperation("...x,y->...y")(x, keras.ops.ones(4)).shape
        (None, 32, 4)
    """

    def __init__(
        self,
        equation: str,
        optimize: Optimize = "auto",
        sizes: Mapping[str, Any] | None = None,
        size_hints: Mapping[str, int] | None = None,
        name: str | None = None,
        result_dtype: Any = None,
        memory_limit: MemoryLimit = None,
        recompute: bool = False,
    ) -> None:
        super().__init__(name=name)
        check_optimize(optimize)
        read_memory(memory_limit, recompute)
        wanted = read_dtype(equation, result_dtype)
        self.result_dtype = None if wanted is None else wanted.name
        self.equation = equation
        self.optimize = optimize
        self.sizes = sizes
        self.size_hints = size_hints
        self.memory_limit = memory_limit
        self.recompute = recompute

    def call(self, *operands: Any) -> Any:
        """Runs the einsum on tensors."""
        return run_call(
            self.equation,
            operands,
            self.optimize,
            self.sizes,
            self.size_hints,
            dtype=self.result_dtype,
            memory_limit=self.memory_limit,
            recompute=self.recompute,
        )

    def compute_output_spec(self, *operands: Any) -> keras.KerasTensor:
        """Infers the shape and dtype of the result.

        Raises:
            EinsumError: the equation, a rank, a size or a dtype is wrong, and which.
        """
        shapes = [tuple(keras.ops.shape(x)) for x in operands]
        if self.result_dtype is not None:
            shape = output_shape(self.equation, shapes, self.sizes)
            return keras.KerasTensor(shape, dtype=self.result_dtype)
        named = [
            (k, keras.backend.standardize_dtype(x.dtype))
            for k, x in enumerate(operands)
            if hasattr(x, "dtype") and not isinstance(x, np.ndarray | np.generic)
        ]
        (first, dtype), *others = named
        own = tf.as_dtype(dtype).as_numpy_dtype
        others += [
            (k, x.dtype.name)
            for k, x in enumerate(operands)
            if isinstance(x, np.ndarray | np.generic) and not np.can_cast(x.dtype, own, "same_kind")
        ]
        for k, other in others:
            if other != dtype:
                raise OperandError(
                    f"einsum {self.equation!r} requires operands of one dtype, got {dtype} for "
                    f"operand {first} and {other} for operand {k}"
                )
        return keras.KerasTensor(output_shape(self.equation, shapes, self.sizes), dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns what the operation is made of, as Keras saves it; the reverse of `from_config`.

        Raises:
            SizeError: a size is a tensor of a graph.
        """
        memory = self.memory_limit, self.recompute
        options = write_options(self.optimize, self.sizes, self.size_hints, *memory)
        wide = {"result_dtype": self.result_dtype}
        return {"equation": self.equation, **options, "name": self.name, **wide}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EinsumOperation:
        """Makes the operation that `get_config` was asked of."""
        operation: EinsumOperation = super().from_config(read_options(config))
        return operation
