"""The sparse operand as its entries: what each is, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from tf_einsum_grad.execution.extents import Extent

__all__ = ["Entries", "Sparse"]

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
