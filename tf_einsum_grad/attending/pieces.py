"""One of batch and heads after the other: slices of operands, and results put together again.

A block of scores of one head is a matrix, and fits a cache with many more rows and keys than one of
all heads has; and a matrix product of long rows runs at a higher rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_einsum_grad.attending.masks import take

__all__ = ["Pieces"]


@dataclass(frozen=True)
class Pieces:
    """The places of batch and heads, in order.

    Attributes:
        sizes: each label with its size, a number or a tensor.
    """

    sizes: Mapping[str, Any]

    @property
    def count(self) -> Any:
        """How many there are, at least one: loops and arrays need that."""
        return math.prod(map(_some, self.sizes.values()))

    def cut(self, x: Any, subscripts: str, i: Any) -> Any:
        """What piece `i` has of a tensor: one place of each label, or its only one."""
        for label, place in self._places(i).items() if x is not None else ():
            axis = subscripts.find(label)
            if axis >= 0 and x.shape[axis] != 1:
                size: Any = 1
                if x.shape[axis] is None:  # it may turn out to be empty, or to be 1
                    there = tf.shape(x)[axis]
                    place, size = tf.maximum(tf.minimum(place, there - 1), 0), tf.minimum(there, 1)
                x = take(x, axis, place, size)
        return x

    def _places(self, i: Any) -> dict[str, Any]:
        places = {}
        for label, size in reversed(list(self.sizes.items())):
            places[label], i = i % _some(size), i // _some(size)
        return places

    def of(self, subscripts: str) -> Pieces:
        """Those of a tensor that may lack some of the labels."""
        return Pieces({label: n for label, n in self.sizes.items() if label in subscripts})

    def array(self, x: tf.Tensor, subscripts: str) -> tf.TensorArray:
        """What the pieces of a tensor like `x` are added to."""
        own = self.of(subscripts)
        array = tf.TensorArray(x.dtype, own.count, clear_after_read=False)
        if len(own.sizes) == len(self.sizes):  # each is written once
            return array
        dims, known = tf.unstack(tf.shape(x)), x.shape.as_list()
        sizes = [
            tf.minimum(n, 1) if label in own.sizes else n
            for label, n in zip(subscripts, dims, strict=True)
        ]
        zeros: Any = tf.zeros(tf.stack([own.count, *sizes]), x.dtype)
        one = [
            n and min(n, 1) if label in own.sizes else n
            for label, n in zip(subscripts, known, strict=True)
        ]
        return array.unstack(tf.ensure_shape(zeros, [None, *one]))

    def add(self, array: tf.TensorArray, i: Any, x: tf.Tensor, subscripts: str) -> tf.TensorArray:
        """Writes piece `i`, or adds it to those that belong to the same place."""
        own, places, place = self.of(subscripts), self._places(i), 0
        if len(own.sizes) == len(self.sizes):
            return array.write(i, x)
        for label, size in own.sizes.items():
            place = place * _some(size) + places[label]
        return array.write(place, array.read(place) + x)

    def joined(self, array: tf.TensorArray, subscripts: str) -> tf.Tensor:
        """All pieces as one tensor."""
        own, stacked = self.of(subscripts), array.stack()
        known, sizes = stacked.shape.as_list()[1:], tf.shape(stacked)[1:]
        rest = [label for label in subscripts if label not in own.sizes]
        axes = [subscripts.index(label) for label in rest]
        dims = [sizes[axis] if known[axis] is None else known[axis] for axis in axes]
        whole = tf.reshape(stacked, tf.stack([*own.sizes.values(), *dims]))
        order = [*own.sizes, *rest]
        return tf.transpose(whole, [order.index(label) for label in subscripts])


def _some(size: Any) -> Any:
    return size if isinstance(size, int) else tf.maximum(size, 1)
