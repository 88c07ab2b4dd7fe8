"""The two layers: a drop-in for Keras' `EinsumDense`, and an einsum of several inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.algebra.errors import EquationError
from tf_einsum_grad.algebra.sizes import Shape
from tf_einsum_grad.keras.backend import backend_einsum, compute_output_spec, output_shape
from tf_einsum_grad.keras.config import read_options, write_options
from tf_einsum_grad.keras.dense_shapes import dense_shapes
from tf_einsum_grad.keras.lora import finish, lora_product
from tf_einsum_grad.keras.private import lora_factors
from tf_einsum_grad.planning.limit import MemoryLimit, read_memory
from tf_einsum_grad.planning.path import Optimize, check_optimize

__all__ = ["Einsum", "EinsumDense"]

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "tf_einsum_grad.keras requires Keras on its TensorFlow backend, got "
        f"{keras.backend.backend()!r}; set KERAS_BACKEND=tensorflow before Keras is imported"
    )


@keras.saving.register_keras_serializable(package="tf_einsum_grad")
class EinsumDense(keras.layers.EinsumDense):  # type: ignore[misc]  # Keras is untyped
    """`keras.layers.EinsumDense` with this package's einsum and its gradients.

    Takes the same arguments, and has the same config and the same weights, so each loads the
    other's. Quantization is Keras' own; with LoRA, kernel and factors run apart where that costs
    less, without a gradient of the kernel's size. With `"...x,xy->...y"` (from Keras' docstring) a
    training step never builds the kernel's gradient once for each position before it sums. Sizes
    that `output_shape` leaves out (None) are the inputs', also in the shape of a symbolic result;
    an `output_shape` of a length that the equation never gives is an error.

    Example:
        >>> layer = EinsumDense("...x,xy->...y", output_shape=64, bias_axes="y")
        >>> layer(keras.Input([32, 128])).shape
        (None, 32, 64)
    """

    partial_output_shape: Shape  # what `output_shape` was, as a tuple; Keras sets it

    def build(self, input_shape: Shape) -> None:
        """Makes the weights.

        Raises:
            SizeError: the inputs' rank or `output_shape`'s length does not fit the equation, a
                label has two sizes, or one of the kernel's has none.
            ValueError: the equation is not one of inputs and kernel; the message is Keras'.
        """
        shapes = dense_shapes(self.equation, input_shape, self.partial_output_shape)
        if shapes is None:
            super().build(input_shape)
            return
        given = self.partial_output_shape
        self.partial_output_shape = shapes.named  # from which Keras takes the weights' sizes
        try:
            super().build(shapes.inputs)
        finally:
            self.partial_output_shape = given

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Infers the shape of the result; raises what `build` would.

        Example:
            >>> EinsumDense("abc,cd->abd", (None, 64)).compute_output_shape((None, 32, 128))
            (None, 32, 64)
        """
        shapes = dense_shapes(self.equation, input_shape, self.partial_output_shape)
        if shapes is None:
            inferred: Shape = super().compute_output_shape(input_shape)
            return inferred
        return shapes.output

    def quantize(self, mode: Any = None, type_check: bool = True, **kwargs: Any) -> None:
        """Quantizes as Keras' own does.

        Keras refuses subclasses, whose `call` might be anything; ours is the same computation.
        """
        check = type_check and type(self) is not EinsumDense
        super().quantize(mode, type_check=check, **kwargs)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Computes the einsum of inputs and kernel, plus the bias, through the activation.

        Raises:
            EinsumError: the inputs' rank or sizes do not fit the equation.
        """
        x = lora_product(self, self.equation, inputs, lora_factors, training)
        if x is None:
            x = backend_einsum(self.equation, inputs, self.kernel)
        return finish(self, x)


@keras.saving.register_keras_serializable(package="tf_einsum_grad")
class Einsum(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """An einsum of its inputs, without weights: attention scores, bilinear forms, any contraction.

    Args:
        equation: what `tf_einsum_grad.einsum` takes.
        optimize: the contraction path, as there; an optimiser that is a function is saved by its
            name, and has to be registered with Keras.
        sizes: sizes of output labels that no input has, as there: `{"j": 5}`.
        size_hints: sizes to choose the path with where they are unknown, as there: `{"b": 32}`.
        memory_limit: what neither pass may take beyond inputs, result and gradients, as there:
            "512MB".
        recompute: whether to keep only the inputs for the backward pass, as there.
        **kwargs: those of every Keras layer: name, dtype (or a mixed precision policy), ...

    Raises:
        EquationError: the equation cannot be read.
        PathError: `optimize`, `memory_limit` or `recompute` is nothing that it may be.

    Example:
        >>> query, key = keras.Input([7, 4, 16]), keras.Input([9, 4, 16])
        >>> Einsum("bqhd,bkhd->bhqk")([query, key]).shape
        (None, 4, 7, 9)
    """

    def __init__(
        self,
        equation: str,
        optimize: Optimize = "auto",
        sizes: Mapping[str, Any] | None = None,
        size_hints: Mapping[str, int] | None = None,
        memory_limit: MemoryLimit = None,
        recompute: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_optimize(optimize)
        read_memory(memory_limit, recompute)
        self.equation = equation
        self.optimize = optimize
        self.sizes = sizes
        self.size_hints = size_hints
        self.memory_limit = memory_limit
        self.recompute = recompute
        self._n_operands = len(parse_equation(equation).inputs)

    def call(self, inputs: Any) -> Any:
        """Computes the einsum of a list of tensors, or of one where the equation has one operand.

        Raises:
            EinsumError: their number, ranks, sizes or dtypes do not fit the equation.
        """
        return backend_einsum(
            self.equation,
            *self._operands(inputs),
            optimize=self.optimize,
            sizes=self.sizes,
            size_hints=self.size_hints,
            memory_limit=self.memory_limit,
            recompute=self.recompute,
        )

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Infers the shape of the result from those of the inputs; raises what `call` would."""
        several = bool(input_shape) and isinstance(input_shape[0], list | tuple)
        shapes = self._operands(input_shape if several else [input_shape])
        return output_shape(self.equation, [tuple(shape) for shape in shapes], self.sizes)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Infers the shape and dtype of the result; raises what `call` would."""
        operands = [
            keras.KerasTensor(x.shape, dtype=self._cast_dtype(x.dtype))
            for x in self._operands(inputs)
        ]
        return compute_output_spec(self.equation, *operands, sizes=self.sizes)

    def _cast_dtype(self, dtype: Any) -> str:
        """Returns the dtype of an input as `call` sees it: floats are cast to the policy's."""
        name: str = keras.backend.standardize_dtype(dtype)
        return str(self.compute_dtype) if self.autocast and "float" in name else name

    def _operands(self, inputs: Any) -> list[Any]:
        operands = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if len(operands) != self._n_operands:
            raise EquationError(
                f"Einsum({self.equation!r}) requires a list of {self._n_operands} tensors, got "
                f"{len(operands)}"
            )
        return operands

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is made of, as Keras saves it; the reverse of `from_config`.

        Raises:
            SizeError: a size is a tensor of a graph.
        """
        own = {"equation": self.equation, "autocast": self.autocast}
        memory = self.memory_limit, self.recompute
        options = write_options(self.optimize, self.sizes, self.size_hints, *memory)
        return {**super().get_config(), **own, **options}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Einsum:
        """Makes the layer that `get_config` was asked of."""
        layer: Einsum = super().from_config(read_options(config))
        return layer
