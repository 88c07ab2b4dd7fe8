"""The shapes of `EinsumDense`: what the inputs' shape shows, and what `output_shape` says.

Keras' own takes `output_shape` as it is: `(None, 64)` loses a length that the inputs have, and one
that is too long is believed, or read as if its first sizes were those of other labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from tf_einsum_grad.algebra.equation import ELLIPSIS, Equation, expand_ellipses, parse_equation
from tf_einsum_grad.algebra.errors import SizeError
from tf_einsum_grad.algebra.sizes import Shape

__all__ = ["DenseShapes", "dense_shapes"]


@dataclass(frozen=True, slots=True)
class DenseShapes:
    """Shapes in which nothing that is known is missing.

    Attributes:
        inputs: the inputs'.
        named: the part of the output's that `output_shape` is about.
        output: the output's.
    """

    inputs: Shape
    named: Shape
    output: Shape


def dense_shapes(equation: str, input_shape: Shape, output_shape: Shape) -> DenseShapes | None:
    """Finds the shapes of a dense einsum.

    Args:
        equation: of inputs and kernel, `"abc,cd->abd"`.
        input_shape: the inputs', None for a size that is unknown.
        output_shape: a size for each label of the output but its first, the batch, or for each
            label where the output begins with `...`; None for one that the inputs show.

    Returns:
        The shapes; None where the equation is none that Keras' `EinsumDense` takes.

    Raises:
        SizeError: the inputs' rank does not fit the equation, `output_shape` has another length,
            a label has two sizes, or one of the kernel's has none.

    Example:
        >>> dense_shapes("abc,cd->abd", (None, 32, 128), (None, 64)).output
        (None, 32, 64)
    """
    parsed = parse_equation(equation)
    named = _named_labels(parsed)
    if named is None:
        return None
    name = f"EinsumDense({equation!r})"
    if len(output_shape) != len(named):
        raise SizeError(
            f"{name} requires an output_shape with one size for each of the labels {named!r}, got "
            f"{tuple(output_shape)}"
        )
    expanded = expand_ellipses(parsed, (len(input_shape), len(parsed.inputs[1])))
    inputs, kernel = expanded.inputs
    sizes = dict(zip(inputs, input_shape, strict=True))
    for label, size in zip(named, output_shape, strict=True):
        known = sizes.setdefault(label, size)
        if known is None and label in kernel:  # which holds the inputs to it
            sizes[label] = size
        elif size is not None and size != known:
            raise SizeError(
                f"{name} requires one size for label {label!r}, got {known} in its inputs (shape "
                f"{tuple(input_shape)}) and {size} in output_shape"
            )
    unknown = next((label for label in kernel if sizes.get(label) is None), None)
    if unknown:
        raise SizeError(
            f"{name} requires a size for label {unknown!r} of its kernel, got none in its inputs "
            f"(shape {tuple(input_shape)}) and none in output_shape {tuple(output_shape)}"
        )
    return DenseShapes(
        tuple(sizes[label] for label in inputs),
        tuple(sizes[label] for label in named),
        tuple(sizes.get(label) for label in expanded.output),
    )


def _named_labels(equation: Equation) -> str | None:
    """The output's labels that `output_shape` is about; None for an equation that Keras refuses."""
    if len(equation.inputs) != 2 or ELLIPSIS in equation.inputs[1]:
        return None
    inputs, output = equation.inputs[0], equation.output
    if ELLIPSIS not in inputs + output:
        return output[1:]
    if inputs.startswith(ELLIPSIS) and output.startswith(ELLIPSIS):
        return output.removeprefix(ELLIPSIS)
    if inputs.endswith(ELLIPSIS) and output.endswith(ELLIPSIS):
        return output.removesuffix(ELLIPSIS)[1:]
    return None
