"""Runs one lowering with TensorFlow ops; the only place that handles unknown sizes.

Nothing is decided here: each instruction is one function. Sizes are Python integers where they are
known and scalar int32 tensors where they are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import tensorflow as tf

from tf_einsum_grad.instructions import (
    Broadcast,
    Diagonal,
    EmbedDiagonal,
    Instruction,
    MatMul,
    Multiply,
    NativeEinsum,
    Permute,
    Reshape,
    Sum,
)
from tf_einsum_grad.recipe import Lowering

__all__ = ["Sizes", "run"]

Sizes = Mapping[str, Any]  # label -> int or scalar int32 tensor


def run(lowering: Lowering, operands: Sequence[tf.Tensor], sizes: Sizes) -> tf.Tensor:
    """Follows a recipe.

    Args:
        lowering: what `lowering.lower` gave for these operands.
        operands: one or two tensors.
        sizes: the size of every label.
    """
    dtype = operands[0].dtype
    prepared = []
    for x, instructions in zip(operands, lowering.prepare, strict=True):
        if lowering.compute_dtype is not None:
            x = tf.cast(x, lowering.compute_dtype)
        for instruction in instructions:
            x = _APPLY[type(instruction)](x, instruction, sizes)
        prepared.append(x)
    if lowering.combine is None:
        (result,) = prepared
    else:
        if lowering.swap:
            prepared.reverse()
        result = _COMBINE[type(lowering.combine)](*prepared, lowering.combine)
    for instruction in lowering.finish:
        result = _APPLY[type(instruction)](result, instruction, sizes)
    return result if lowering.compute_dtype is None else tf.cast(result, dtype)


def product(factors: Sequence[Any]) -> Any:
    """The product of sizes; an integer if all are."""
    known = math.prod(f for f in factors if isinstance(f, int))
    unknown = [f for f in factors if not isinstance(f, int)]
    if not unknown:
        return known
    rest = reduce(tf.multiply, unknown)
    return rest if known == 1 else rest * known


def _dims(groups: Sequence[str], sizes: Sizes) -> list[Any]:
    return [product([sizes[label] for label in group]) for group in groups]


def _reshape_to(x: tf.Tensor, dims: Sequence[Any]) -> tf.Tensor:
    """Reshapes; a single unknown dimension is left to TensorFlow where that is unambiguous."""
    unknown = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    if len(unknown) == 1 and all(dims[axis] for axis in range(len(dims)) if axis not in unknown):
        dims = [-1 if axis in unknown else dim for axis, dim in enumerate(dims)]
    return tf.reshape(x, dims)


def _permute(x: tf.Tensor, instruction: Permute, sizes: Sizes) -> tf.Tensor:
    return tf.transpose(x, instruction.axes)


def _reshape(x: tf.Tensor, instruction: Reshape, sizes: Sizes) -> tf.Tensor:
    return _reshape_to(x, _dims(instruction.groups, sizes))


def _broadcast(x: tf.Tensor, instruction: Broadcast, sizes: Sizes) -> tf.Tensor:
    return tf.broadcast_to(x, _dims(instruction.groups, sizes))


def _sum(x: tf.Tensor, instruction: Sum, sizes: Sizes) -> tf.Tensor:
    return tf.reduce_sum(x, instruction.axes)


def _with_shape(x: tf.Tensor, dims: Sequence[Any]) -> tf.Tensor:
    """Says what TensorFlow does not infer from sizes that are tensors."""
    x.set_shape([dim if isinstance(dim, int) else None for dim in dims])
    return x


def _diagonal(x: tf.Tensor, instruction: Diagonal, sizes: Sizes) -> tf.Tensor:
    """Every (n + 1)-th element of the two axes as one: the diagonal, and nothing else is read."""
    dims, axis = _dims(instruction.groups, sizes), instruction.axis
    n = dims[axis]
    flat = _reshape_to(x, [*dims[:axis], product([n, n]), *dims[axis + 1 :]])
    return _with_shape(flat[(*[slice(None)] * axis, slice(None, None, n + 1))], dims)


def _embed_diagonal(x: tf.Tensor, instruction: EmbedDiagonal, sizes: Sizes) -> tf.Tensor:
    """Each element followed by n zeros, cut to n * n: the mirror image of `_diagonal`."""
    dims, axis = _dims(instruction.groups, sizes), instruction.axis
    n, before, after = dims[axis], dims[:axis], dims[axis + 1 :]
    if not after:
        return _with_shape(tf.linalg.diag(x), [*dims, n])
    rows = tf.expand_dims(x, axis + 1)
    paddings = [[0, 0]] * (axis + 1) + [[0, n]] + [[0, 0]] * len(after)
    flat = _reshape_to(tf.pad(rows, paddings), [*before, product([n, n + 1]), *after])
    kept = flat[(*[slice(None)] * axis, slice(None, product([n, n])))]
    return _reshape_to(kept, [*before, n, n, *after])


def _matmul(a: tf.Tensor, b: tf.Tensor, instruction: MatMul) -> tf.Tensor:
    return tf.linalg.matmul(
        a, b, transpose_a=instruction.transpose_a, transpose_b=instruction.transpose_b
    )


def _multiply(a: tf.Tensor, b: tf.Tensor, instruction: Multiply) -> tf.Tensor:
    return tf.multiply(a, b)


def _native_einsum(a: tf.Tensor, b: tf.Tensor, instruction: NativeEinsum) -> tf.Tensor:
    return tf.raw_ops.Einsum(inputs=[a, b], equation=instruction.equation)


_APPLY: dict[type[Instruction], Callable[..., tf.Tensor]] = {
    Permute: _permute,
    Reshape: _reshape,
    Broadcast: _broadcast,
    Sum: _sum,
    Diagonal: _diagonal,
    EmbedDiagonal: _embed_diagonal,
}
_COMBINE: dict[type[Instruction], Callable[..., tf.Tensor]] = {
    MatMul: _matmul,
    Multiply: _multiply,
    NativeEinsum: _native_einsum,
}
