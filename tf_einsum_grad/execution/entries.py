"""The sparse operand as its entries: what each is, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from tf_einsum_grad.algebra.equation import ELLIPSIS
from tf_einsum_grad.algebra.errors import SizeError
from tf_einsum_grad.algebra.sizes import Shape
from tf_einsum_grad.execution.extents import Extent
from tf_einsum_grad.execution.runtime_checks import op_name

__all__ = ["Entries", "Sparse", "ensure_rank", "shape_as_known"]

Sparse = tf.SparseTensor | tf.IndexedSlices


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of a sparse operand.

    Attributes:
        values: (n, ...): numbers, or the slices of an IndexedSlices.
        index: for each label of the indices, where the entries stand along it: int64 (n,).
        indices: the same as one tensor, (n, rank), as long as it is that.
    """

    values: tf.Tensor
    index: Mapping[str, tf.Tensor]
    indices: tf.Tensor | None

    @classmethod
    def of(cls, x: Sparse, axes: Sequence[int], subscripts: str) -> Entries:
        """Reads a sparse operand; of repeated labels, only entries on the diagonal count.

        Args:
            x: the operand.
            axes: those that are kept: all but those of size 1 that broadcast.
            subscripts: a label for each of these axes.
        """
        values, indices = x.values, x.indices
        labels, slices = subscripts, ""
        if isinstance(x, tf.IndexedSlices):
            labels, slices = subscripts[: 0 in axes], subscripts[0 in axes :]
            indices = tf.cast(indices, tf.int64)[:, tf.newaxis][:, : len(labels)]
            dropped = sorted({*range(1, len(values.shape))} - {*axes})
            values = tf.squeeze(values, dropped) if dropped else values
        elif indices.shape[1] != len(axes):
            indices = tf.gather(indices, tf.constant(axes, tf.int32), axis=1)
        columns = tf.unstack(indices, num=len(labels), axis=1) if labels else []
        first = {label: columns[labels.index(label)] for label in labels}
        entries = cls(values, first, indices)
        repeated = [
            tf.equal(column, first[label])
            for label, column in zip(labels, columns, strict=True)
            if column is not first[label]
        ]
        if repeated:
            entries = entries._keep(tf.reduce_all(tf.stack(repeated), 0))
        return entries._on_diagonals(slices)

    def _keep(self, mask: tf.Tensor) -> Entries:
        index = {label: tf.boolean_mask(x, mask) for label, x in self.index.items()}
        return Entries(tf.boolean_mask(self.values, mask), index, None)

    def _on_diagonals(self, slices: str) -> Entries:
        """Leaves of slices that have a label of the index what stands at the index."""
        values, axis = self.values, 1
        for label in slices:
            if label in self.index:
                values = tf.gather(values, self.index[label], axis=axis, batch_dims=1)
            else:
                axis += 1
        return replace(self, values=values)

    def stretch(self, label: str, own: Extent, size: Extent) -> Entries:
        """Repeats each entry along a label of which the operand may turn out to have just 1."""
        factor = tf.where(tf.equal(own, 1), tf.cast(size, tf.int64), 1)
        n = tf.shape(self.values, tf.int64)

        def repeat(x: tf.Tensor) -> tf.Tensor:
            shape = tf.shape(x, tf.int64)
            wide = tf.concat([shape[:1], [factor], shape[1:]], 0)
            repeated = tf.broadcast_to(tf.expand_dims(x, 1), wide)
            flat: tf.Tensor = tf.reshape(repeated, tf.concat([[n[0] * factor], shape[1:]], 0))
            flat.set_shape([None, *x.shape[1:]])
            return flat

        index = {name: repeat(x) for name, x in self.index.items()}
        index[label] += tf.tile(tf.range(factor), n[:1])
        return Entries(repeat(self.values), index, None)


def shape_as_known(text: str, x: Sparse, subscripts: str) -> Shape:
    """The shape of a sparse operand, as far as it is known; its rank always is.

    Raises:
        SizeError: the rank is not known, and subscripts have an ellipsis.
    """
    if isinstance(x, tf.IndexedSlices):
        rows = None if x.dense_shape is None else tf.get_static_value(x.dense_shape[0])
        return (None if rows is None else int(rows), *x.values.shape[1:].as_list())
    if x.shape.rank is not None:
        return tuple(x.shape.as_list())
    rank = x.indices.shape[1]
    if rank is None and ELLIPSIS in subscripts:
        raise SizeError(f"einsum {text!r} requires a known rank for a sparse operand with '...'")
    return (None,) * (len(subscripts) if rank is None else rank)


def ensure_rank(x: tf.SparseTensor, rank: int, k: int) -> tf.SparseTensor:
    """The operand with that rank; operand `k` of the einsum is refused where it has another."""
    if x.shape.rank is not None:
        return x
    name = op_name("requires rank", rank, "for operand", k)
    indices = tf.ensure_shape(x.indices, [None, rank], name=name)
    return tf.SparseTensor(indices, x.values, tf.ensure_shape(x.dense_shape, [rank], name=name))
