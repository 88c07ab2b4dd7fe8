"""What dense tensors and the entries of a sparse one have to do with each other.

Looking rows up and adding rows up where they belong are each other's transposes; so their VJPs are
each other, to any order. A product with a sparse matrix is both at once, and its VJP the product
with the transposed matrix, and the sampled product: that of the rows which an entry connects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.execution.machines import machine_of
from tf_einsum_grad.execution.vjp import Gradients, contract_in_graph, with_rule
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.machine import Target

__all__ = ["add_up", "look_up", "multiply"]

_ROW_PRODUCTS = parse_equation("zk,zk->z")

_ops: Any = tf.raw_ops  # generated, and without types


def look_up(rows: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """The rows of a matrix at an index: a row for each entry of a vector of integers."""

    def run(rows: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        found: tf.Tensor = _ops.GatherV2(params=rows, indices=index, axis=0)
        return found

    def pull_back(
        operands: Sequence[tf.Tensor], cotangent: tf.Tensor, needed: Sequence[bool]
    ) -> Gradients:
        rows, index = operands
        return [add_up(cotangent, index, tf.shape(rows)[0]) if needed[0] else None, None]

    return with_rule(run, pull_back, [rows, index])


def add_up(rows: tf.Tensor, index: tf.Tensor, n: Any) -> tf.Tensor:
    """A matrix of `n` rows: at each the sum of those `rows` that the index sends there."""

    def run(rows: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        summed: tf.Tensor = _ops.UnsortedSegmentSum(data=rows, segment_ids=index, num_segments=n)
        return summed

    def pull_back(
        operands: Sequence[tf.Tensor], cotangent: tf.Tensor, needed: Sequence[bool]
    ) -> Gradients:
        return [look_up(cotangent, operands[1]) if needed[0] else None, None]

    return with_rule(run, pull_back, [rows, index])


def multiply(
    values: tf.Tensor, indices: tf.Tensor, shape: tf.Tensor, dense: tf.Tensor, target: Target
) -> tf.Tensor:
    """A sparse matrix times a dense one.

    Args:
        values: of the entries, (n,).
        indices: rows and columns of the entries, int64 (n, 2).
        shape: of the sparse matrix, int64 (2,).
        dense: the dense matrix.
        target: where it runs.
    """

    def run(values: tf.Tensor, indices: tf.Tensor, shape: tf.Tensor, dense: tf.Tensor) -> tf.Tensor:
        product: tf.Tensor = _ops.SparseTensorDenseMatMul(
            a_indices=indices, a_values=values, a_shape=shape, b=dense
        )
        return product

    def pull_back(
        operands: Sequence[tf.Tensor], cotangent: tf.Tensor, needed: Sequence[bool]
    ) -> Gradients:
        values, indices, shape, dense = operands
        gradients: Gradients = [None] * 4
        if needed[0]:
            rows, columns = tf.unstack(indices, num=2, axis=1)
            pair = [look_up(cotangent, rows), _conjugate(look_up(dense, columns))]
            sizes = {"z": None, "k": dense.shape[1]}
            products = Contraction.of(
                _ROW_PRODUCTS,
                sizes,
                values.dtype.name,
                target,
                machine=machine_of(pair, target),
            )
            gradients[0] = contract_in_graph(products, pair)
        if needed[3]:
            swapped = tf.reverse(indices, [1]), tf.reverse(shape, [0])
            gradients[3] = multiply(_conjugate(values), *swapped, cotangent, target)
        return gradients

    return with_rule(run, pull_back, [values, indices, shape, dense])


def _conjugate(x: tf.Tensor) -> tf.Tensor:
    return tf.math.conj(x) if x.dtype.is_complex else x
