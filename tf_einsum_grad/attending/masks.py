"""What scores are masked and weighted by, in a block of rows and keys or in all of them."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_einsum_grad.attending.equation import AttentionEquation

__all__ = ["Extra", "Place", "Rules", "keep_factors"]


@dataclass(frozen=True, slots=True)
class Place:
    """Which block of scores: where it starts, and how long it is; tensors or numbers.

    `piece` is the place of batch and heads among all, where a block has one of them alone.
    """

    row: Any
    key: Any
    n_rows: Any
    n_keys: Any
    piece: Any = 0


@dataclass(frozen=True, slots=True)
class Extra:
    """A mask or a bias with subscripts of its own, all of them labels of scores."""

    subscripts: str

    def block(self, x: tf.Tensor, equation: AttentionEquation, place: Place | None) -> tf.Tensor:
        """The part for a block, with the dimensions of scores; 1 for what it has not."""
        cuts = (
            ()
            if place is None
            else (
                (equation.rows, place.row, place.n_rows),
                (equation.keys, place.key, place.n_keys),
            )
        )
        for label, start, size in cuts:
            if label and label in self.subscripts:
                axis = self.subscripts.index(label)
                if x.shape[axis] != 1:
                    x = take(x, axis, start, size)
        order = [label for label in equation.scores if label in self.subscripts]
        x = tf.transpose(x, [self.subscripts.index(label) for label in order])
        for axis, label in enumerate(equation.scores):
            if label not in self.subscripts:
                x = tf.expand_dims(x, axis)
        return x


@dataclass(frozen=True, slots=True)
class Rules:
    """Which keys a row may look at, by where they stand.

    Attributes:
        causal: only those up to its own place.
        window: only those less than this far away.
    """

    causal: bool
    window: int | None

    def seen(self, n_rows: int | None, n_keys: int | None) -> float:
        """About which share of all scores is seen; 1 where sizes are unknown."""
        if not n_rows or not n_keys:
            return 1.0
        seen = 0.5 if self.causal else 1.0
        if self.window is None:
            return seen
        return min(seen, self.window * (1 if self.causal else 2) / n_keys)

    def range(self, place: Place, n_blocks: Any) -> tuple[Any, Any]:
        """The first and the last but one block of keys that a block of rows can see."""
        low, high = tf.constant(0), tf.convert_to_tensor(n_blocks)
        last = place.row + place.n_rows - 1
        if self.causal:
            high = tf.minimum(high, last // place.n_keys + 1)
        if self.window is not None:
            low = tf.maximum(low, (place.row - self.window + 1) // place.n_keys)
            if not self.causal:
                high = tf.minimum(high, (last + self.window - 1) // place.n_keys + 1)
        return low, tf.maximum(high, low)

    def valid(self, place: Place, n_keys: Any, padded: bool) -> tf.Tensor | None:
        """For each row and key of a block whether the row may see the key; None if all may."""
        rows = place.row + tf.range(place.n_rows)[:, tf.newaxis]
        keys = place.key + tf.range(place.n_keys)
        valid = [keys < n_keys] if padded else []
        if self.causal:
            valid.append(keys <= rows)
        if self.window is not None:
            valid.append(tf.abs(keys - rows) < self.window)
        if not valid:
            return None
        seen: tf.Tensor = functools.reduce(operator.and_, valid)
        return seen


def take(x: tf.Tensor, axis: int, start: Any, size: Any) -> tf.Tensor:
    """A slice of one axis, of a size that is known if that of the others is."""
    begin = [start if k == axis else 0 for k in range(x.shape.rank)]
    known, sizes = x.shape.as_list(), tf.shape(x)
    shape: list[Any] = [
        size if k == axis else (sizes[k] if known[k] is None else known[k])
        for k in range(x.shape.rank)
    ]
    taken: tf.Tensor = tf.slice(x, tf.stack(begin), tf.stack(shape))
    known[axis] = size if isinstance(size, int) else None
    sliced: tf.Tensor = tf.ensure_shape(taken, known)
    return sliced


_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: far from every neighbor


def keep_factors(
    scores: tf.Tensor, place: Place, n_rows: Any, rate: float, seed: tf.Tensor
) -> tf.Tensor:
    """What dropout multiplies weights by: 0, or 1 / (1 - rate).

    A hash of the seed and of where a weight stands among all, so that it is the same in a block of
    any size, forward and backward, and is never kept: the finaliser of MurmurHash3 (Appleby 2011),
    of the row and then of the key, each from where the seed says.
    """
    shape = tf.shape(scores)
    leading = tf.reduce_prod(shape[:-2])
    first = place.piece + tf.reshape(tf.range(leading), tf.concat([shape[:-2], [1, 1]], 0))
    rows = place.row + tf.range(shape[-2])[:, tf.newaxis]
    keys = place.key + tf.range(shape[-1])
    start = _mix(tf.cast(seed[0], tf.uint32) + tf.constant(_GOLDEN, tf.uint32))
    line = _mix(tf.cast(first * n_rows + rows, tf.uint32) + start)
    column = tf.cast(keys, tf.uint32) * tf.constant(_GOLDEN, tf.uint32)
    hashed = _mix(line + column + _mix(start + tf.cast(seed[1], tf.uint32)))
    uniform = tf.cast(tf.bitwise.right_shift(hashed, tf.constant(8, tf.uint32)), scores.dtype)
    kept = uniform >= rate * 2.0**24
    return tf.where(kept, tf.constant(1 / (1 - rate), scores.dtype), tf.zeros([], scores.dtype))


def _mix(h: tf.Tensor) -> tf.Tensor:
    def shifted(x: tf.Tensor, n: int) -> tf.Tensor:
        shift = tf.bitwise.right_shift(x, tf.constant(n, tf.uint32))
        mixed: tf.Tensor = tf.bitwise.bitwise_xor(x, shift)
        return mixed

    h = shifted(h, 16) * tf.constant(0x85EBCA6B, tf.uint32)
    h = shifted(h, 13) * tf.constant(0xC2B2AE35, tf.uint32)
    return shifted(h, 16)
