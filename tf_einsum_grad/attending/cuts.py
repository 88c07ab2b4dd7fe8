"""Where blocks of rows and keys begin and end, and operands of whole blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_einsum_grad.attending.blocks import Blocks
from tf_einsum_grad.attending.equation import AttentionEquation
from tf_einsum_grad.attending.masks import Extra, Place

__all__ = ["Cuts", "Operands", "dims_of", "size_of"]


@dataclass(frozen=True)
class Operands:
    """The tensors of one call; query, key and value in the dtype that all is computed in."""

    query: tf.Tensor
    key: tf.Tensor
    value: tf.Tensor
    mask: Any
    bias: Any
    seed: Any


@dataclass(frozen=True)
class Cuts:
    """Where blocks begin and end; numbers where sizes are known, else tensors.

    Attributes:
        equation, blocks: what is computed, and how.
        extras: mask and bias.
        all_rows, all_keys: how many there are.
        piece: which of batch and heads it is of, where that is one.
    """

    equation: AttentionEquation
    blocks: Blocks
    extras: tuple[Extra | None, Extra | None]
    all_rows: Any
    all_keys: Any
    piece: Any

    @property
    def n_rows(self) -> int:
        """Rows of a block."""
        return self.blocks.rows

    @property
    def n_keys(self) -> int:
        """Keys of a block."""
        return self.blocks.keys

    @property
    def row_blocks(self) -> Any:
        """How many blocks of rows there are."""
        return _n_blocks(self.all_rows, self.n_rows)

    @property
    def key_blocks(self) -> Any:
        """How many blocks of keys there are."""
        return _n_blocks(self.all_keys, self.n_keys)

    @property
    def one_block(self) -> bool:
        """Whether all keys are known to be in one block."""
        return isinstance(self.all_keys, int) and self.all_keys <= self.n_keys

    @property
    def pads_keys(self) -> bool:
        """Whether the last block of keys may be longer than what is left."""
        return not isinstance(self.all_keys, int) or self.all_keys % self.n_keys != 0

    def place(self, i: Any, j: Any) -> Place:
        """Where the block of rows `i` and keys `j` is."""
        return Place(i * self.n_rows, j * self.n_keys, self.n_rows, self.n_keys, self.piece)

    def pad_rows(self, x: tf.Tensor, axis: int) -> tf.Tensor:
        """Makes an axis of rows whole blocks."""
        return _pad(x, axis, self.row_blocks * self.n_rows - self.all_rows)

    def pad_keys(self, x: tf.Tensor, axis: int) -> tf.Tensor:
        """Makes an axis of keys whole blocks."""
        return _pad(x, axis, self.key_blocks * self.n_keys - self.all_keys)

    def pad(self, x: Operands) -> Operands:
        """Operands of whole blocks."""
        e, (mask, bias) = self.equation, self.extras

        def extra(y: tf.Tensor | None, which: Extra | None) -> tf.Tensor | None:
            if y is None or which is None:
                return None
            for label, pad in ((e.rows, self.pad_rows), (e.keys, self.pad_keys)):
                axis = which.subscripts.find(label)
                if axis >= 0 and y.shape[axis] != 1:
                    y = pad(y, axis)
            return y

        return Operands(
            self.pad_rows(x.query, e.query.index(e.rows)),
            self.pad_keys(x.key, e.key.index(e.keys)),
            self.pad_keys(x.value, e.value.index(e.keys)),
            extra(x.mask, mask),
            extra(x.bias, bias),
            x.seed,
        )

    def start(self, x: Operands) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The maximum, the sum and the result before any key."""
        e = self.equation
        sizes = dict(zip(e.key, dims_of(x.key), strict=True))
        sizes |= dict(zip(e.value, dims_of(x.value), strict=True))
        sizes |= dict(zip(e.query, dims_of(x.query), strict=True)) | {e.rows: self.n_rows}
        dtype = x.query.dtype
        rows = _full([sizes[label] for label in e.normaliser], dtype.min / 2, dtype)
        return (
            rows,
            _full([sizes[label] for label in e.normaliser], 0.0, dtype),
            _full([sizes[label] for label in e.result], 0.0, dtype),
        )

    def zeros(self, x: tf.Tensor, subscripts: str) -> Any:
        """An array of a gradient of zeros for each block of keys, keys last."""
        axis = subscripts.index(self.equation.keys)
        dims = dims_of(x)
        dims = [self.key_blocks, *dims[:axis], *dims[axis + 1 :], self.n_keys]
        array = tf.TensorArray(x.dtype, self.key_blocks, clear_after_read=False)
        return array.unstack(_full(dims, 0.0, x.dtype))


def _n_blocks(size: Any, block: int) -> Any:
    n = -(-size // block)
    # Loops and arrays need one block, of padding alone, where a size turns out to be 0.
    return n if isinstance(n, int) else tf.maximum(n, 1)


def _full(dims: Sequence[Any], value: float, dtype: tf.DType) -> tf.Tensor:
    filled = tf.fill(tf.stack(dims), tf.constant(value, dtype))
    known: tf.Tensor = tf.ensure_shape(filled, [n if isinstance(n, int) else None for n in dims])
    return known


def dims_of(x: tf.Tensor) -> list[Any]:
    """The sizes of a tensor, numbers where they are known."""
    sizes = tf.shape(x)
    return [sizes[axis] if n is None else n for axis, n in enumerate(x.shape.as_list())]


def size_of(x: tf.Tensor, subscripts: str, label: str) -> Any:
    """The size of a label of a tensor."""
    return dims_of(x)[subscripts.index(label)]


def _pad(x: tf.Tensor, axis: int, more: Any) -> tf.Tensor:
    if isinstance(more, int) and not more:
        return x
    return tf.pad(x, [[0, more if k == axis else 0] for k in range(x.shape.rank)])
