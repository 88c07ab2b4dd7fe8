"""Sizes of what is sparse: their products are large, so they are int64; and what has such sizes."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.shapes import product

__all__ = ["Extent", "extent", "flatten", "fold", "shape_of", "unfold", "vector_of"]

Extent = int | tf.Tensor  # a size; a tensor is a scalar of int64


def extent(x: tf.Tensor, axis: int) -> Extent:
    """The size of a dimension, as an integer where that is known."""
    static = x.shape[axis]
    return tf.shape(x, tf.int64)[axis] if static is None else int(static)


def flatten(index: Sequence[tf.Tensor], sizes: Sequence[Extent]) -> tf.Tensor:
    """Where entries stand along several labels as if these were one.

    What is outside of one of them is outside of all, so that kernels refuse it.
    """
    if len(index) == 1:
        return index[0]
    flat, total, inside = tf.zeros([], tf.int64), tf.ones([], tf.int64), []
    for column, size in zip(index, sizes, strict=True):
        size = tf.cast(size, tf.int64)
        flat, total = flat * size + column, total * size
        inside.append((column >= 0) & (column < size))
    found: tf.Tensor = tf.where(tf.reduce_all(tf.stack(inside), 0), flat, total)
    return found


def vector_of(size: Extent) -> tf.Tensor:
    """A shape of one dimension."""
    return tf.reshape(tf.cast(size, tf.int64), [1])


def fold(x: tf.Tensor, n: int) -> tf.Tensor:
    """A tensor as a matrix, whose rows are its first `n` axes."""
    if n == 1 and x.shape.rank == 2:
        return x
    sizes = [extent(x, axis) for axis in range(x.shape.rank)]
    folded: tf.Tensor = tf.reshape(x, shape_of([product(sizes[:n]), product(sizes[n:])]))
    return folded


def unfold(rows: tf.Tensor, leading: Sequence[Extent], x: tf.Tensor, n: int) -> tf.Tensor:
    """A matrix as a tensor: rows are the axes `leading`, columns those of `x` from `n` on."""
    sizes = [*leading, *(extent(x, axis) for axis in range(n, x.shape.rank))]
    unfolded: tf.Tensor = (
        rows if len(leading) == 1 and len(sizes) == 2 else tf.reshape(rows, shape_of(sizes))
    )
    if not tf.executing_eagerly():
        unfolded.set_shape([size if isinstance(size, int) else None for size in sizes])
    return unfolded


def shape_of(sizes: Sequence[Extent]) -> tf.Tensor:
    """A shape, of integers that XLA takes."""
    # Where XLA knows no size, it takes no int64.
    dtype = tf.int32 if private.in_xla_context() else tf.int64
    if all(isinstance(size, int) for size in sizes):
        return tf.constant(sizes, dtype)
    return tf.stack([tf.cast(size, dtype) for size in sizes])
