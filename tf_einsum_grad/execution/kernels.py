"""Turns a lowering into a function of tensors; the only place that handles unknown sizes.

Nothing is decided here: each instruction becomes one closure over TensorFlow's raw ops, which in
eager mode take a third of the time that the wrappers around them take. Sizes are Python integers
where they are known, and scalar int32 tensors where they are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import tensorflow as tf

from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.contraction import Lowering

__all__ = ["Dim", "Sizes", "assemble"]

Dim = int | tf.Tensor  # a tensor of a graph: scalar, int32
Sizes = Mapping[str, Dim]
Unary = Callable[[tf.Tensor], tf.Tensor]
Kernel = Callable[..., tf.Tensor]

_ops: Any = tf.raw_ops  # generated, and without types


def assemble(lowering: Lowering, sizes: Sizes) -> Kernel:
    """A function of one or two tensors that follows a lowering.

    Args:
        lowering: what `lowering.lower` gave.
        sizes: the size of every label. Where all are integers, a function assembled in eager mode
            serves every eager call; in a graph it belongs to that graph.
    """
    prepare = [
        [_ASSEMBLE[type(instruction)](instruction, sizes) for instruction in instructions]
        for instructions in lowering.prepare
    ]
    finish = [_ASSEMBLE[type(instruction)](instruction, sizes) for instruction in lowering.finish]
    if isinstance(lowering.combine, do.Zeros):
        return _zeros(lowering.combine, lowering.dtype, sizes)
    if lowering.combine is None:
        run = _chain(prepare[0] + finish)
    else:
        combine = _COMBINE[type(lowering.combine)](lowering.combine)
        run = _pairwise(prepare[0], prepare[1], combine, lowering.swap, finish)
    return run if lowering.compute_dtype is None else _cast_around(run, lowering.compute_dtype)


def _chain(functions: Sequence[Unary]) -> Unary:
    def run(x: tf.Tensor) -> tf.Tensor:
        for function in functions:
            x = function(x)
        return x

    return functions[0] if len(functions) == 1 else run


def _pairwise(
    lhs: Sequence[Unary],
    rhs: Sequence[Unary],
    combine: Kernel,
    swap: bool,
    finish: Sequence[Unary],
) -> Kernel:
    def run(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        for function in lhs:
            a = function(a)
        for function in rhs:
            b = function(b)
        result = combine(b, a) if swap else combine(a, b)
        for function in finish:
            result = function(result)
        return result

    return run if lhs or rhs or finish or swap else combine


def _cast_around(run: Kernel, compute: str) -> Kernel:
    compute_dtype = tf.as_dtype(compute)

    def cast_run(*operands: tf.Tensor) -> tf.Tensor:
        wide = [_ops.Cast(x=x, DstT=compute_dtype) for x in operands]
        narrow: tf.Tensor = _ops.Cast(x=run(*wide), DstT=operands[0].dtype)
        return narrow

    return cast_run


def product(factors: Sequence[Dim]) -> Dim:
    """The product of sizes; an integer if all are."""
    known = math.prod(f for f in factors if isinstance(f, int))
    unknown = [f for f in factors if not isinstance(f, int)]
    if not unknown:
        return known
    rest = reduce(tf.multiply, unknown)
    return rest if known == 1 else rest * known


def _dims(groups: Sequence[str], sizes: Sizes) -> list[Dim]:
    return [product([sizes[label] for label in group]) for group in groups]


def _vector(numbers: Sequence[Dim]) -> tf.Tensor | list[Dim]:
    """Shapes, axes and the like: made once in eager mode, constants of the graph in graphs."""
    if tf.executing_eagerly():
        return _eager_vector(tuple(numbers))
    if not numbers:
        return tf.constant([], tf.int32)
    return [int(n) if isinstance(n, int) else n for n in numbers]


@lru_cache(maxsize=4096)
def _eager_vector(numbers: tuple[int, ...]) -> tf.Tensor:
    dtype = tf.int64 if max(numbers, default=0) >= 2**31 else tf.int32
    with tf.device("CPU:0"):
        return tf.constant(numbers, dtype)


def _shape(dims: Sequence[Dim]) -> tf.Tensor | list[Dim]:
    """A shape; a single unknown dimension is left to TensorFlow where that is unambiguous."""
    unknown = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    if len(unknown) == 1 and all(dims[axis] for axis in range(len(dims)) if axis not in unknown):
        dims = [-1 if axis in unknown else dim for axis, dim in enumerate(dims)]
    return _vector(dims)


def _permute(instruction: do.Permute, sizes: Sizes) -> Unary:
    axes = _vector(instruction.axes)
    return lambda x: _ops.Transpose(x=x, perm=axes)


def _reshape(instruction: do.Reshape, sizes: Sizes) -> Unary:
    shape = _shape(_dims(instruction.groups, sizes))
    return lambda x: _ops.Reshape(tensor=x, shape=shape)


def _broadcast(instruction: do.Broadcast, sizes: Sizes) -> Unary:
    shape = _vector(_dims(instruction.groups, sizes))
    return lambda x: _ops.BroadcastTo(input=x, shape=shape)


def _sum(instruction: do.Sum, sizes: Sizes) -> Unary:
    axes = _vector(instruction.axes)
    return lambda x: _ops.Sum(input=x, axis=axes)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A diagonal as rows: of all rows of the larger tensor, which ones it has.

    The larger tensor is (before, n, between, n, after), the smaller (before, n, between, after).
    Merged so, they have fewer dimensions than the 6 to 8 that kernels take.
    """

    before: Dim
    n: Dim
    between: Dim
    after: Dim

    @classmethod
    def of(cls, instruction: do.Diagonal | do.EmbedDiagonal, sizes: Sizes) -> _Rows:
        dims = _dims(instruction.groups, sizes)
        first, second = instruction.first, instruction.second
        parts = dims[:first], [dims[first]], dims[first + 1 : second], dims[second:]
        return cls(*map(product, parts))

    @property
    def n_small(self) -> Dim:
        return product([self.before, self.n, self.between])

    @property
    def n_large(self) -> Dim:
        return product([self.before, self.n, self.between, self.n])

    def find(self) -> tf.Tensor:
        """Row r of the smaller tensor, (b, i, j), is row (b, i, j, i) = r n + i of the larger."""
        many = isinstance(self.n_large, int) and self.n_large >= 2**31
        dtype = tf.int64 if many else tf.int32
        rows = tf.range(self.n_small, dtype=dtype)
        n, between = (tf.cast(size, dtype) for size in (self.n, self.between))
        found: tf.Tensor = rows * n + rows // between % n  # type: ignore[operator]
        return found


def _diagonal(instruction: do.Diagonal, sizes: Sizes) -> Unary:
    rows, shape = _Rows.of(instruction, sizes), _shape(_dims(instruction.groups, sizes))
    if instruction.kernel == "diag_part":
        return lambda x: _ops.MatrixDiagPart(input=x)
    if instruction.kernel == "stride":
        # Every (n + 1)-th element of the last two axes as one.
        matrices = _shape([rows.before, product([rows.n, rows.n])])
        index = (slice(None), slice(None, None, rows.n + 1))
        return lambda x: _ops.Reshape(
            tensor=_ops.Reshape(tensor=x, shape=matrices)[index], shape=shape
        )
    flat = _shape([rows.n_large, rows.after])

    def run(x: tf.Tensor) -> tf.Tensor:
        params = _ops.Reshape(tensor=x, shape=flat)
        found = _ops.GatherV2(params=params, indices=rows.find(), axis=0)
        shaped: tf.Tensor = _ops.Reshape(tensor=found, shape=shape)
        return shaped

    return run


def _embed_diagonal(instruction: do.EmbedDiagonal, sizes: Sizes) -> Unary:
    rows, dims = _Rows.of(instruction, sizes), _dims(instruction.groups, sizes)
    dims.insert(instruction.second, rows.n)
    return _EMBED[instruction.kernel](rows, dims)


def _embed_by_diag(rows: _Rows, dims: list[Dim]) -> Unary:
    return lambda x: _ops.MatrixDiag(diagonal=x)


def _embed_by_set_diag(rows: _Rows, dims: list[Dim]) -> Unary:
    shape = _vector(dims)

    def run(x: tf.Tensor) -> tf.Tensor:
        zeros = _ops.Fill(dims=shape, value=tf.zeros([], x.dtype))
        embedded: tf.Tensor = _ops.MatrixSetDiag(input=zeros, diagonal=x)
        return embedded

    return run


def _embed_by_segment_sum(rows: _Rows, dims: list[Dim]) -> Unary:
    shape, flat = _shape(dims), _shape([rows.n_small, rows.after])
    return lambda x: _ops.Reshape(
        tensor=_ops.UnsortedSegmentSum(
            data=_ops.Reshape(tensor=x, shape=flat),
            segment_ids=rows.find(),
            num_segments=rows.n_large,
        ),
        shape=shape,
    )


def _embed_by_select(rows: _Rows, dims: list[Dim]) -> Unary:
    shape, column = _shape(dims), _shape([rows.before, rows.n, rows.between, 1, rows.after])

    def run(x: tf.Tensor) -> tf.Tensor:
        index = tf.range(rows.n)
        equal = tf.equal(index[:, tf.newaxis, tf.newaxis, tf.newaxis], index[:, tf.newaxis])
        values = _ops.Reshape(tensor=x, shape=column)
        selected = _ops.SelectV2(condition=equal, t=values, e=tf.zeros([], x.dtype))
        shaped: tf.Tensor = _ops.Reshape(tensor=selected, shape=shape)
        return shaped

    return run


_EMBED: dict[do.EmbedKernel, Callable[[_Rows, list[Dim]], Unary]] = {
    "set_diag": _embed_by_set_diag,
    "diag": _embed_by_diag,
    "segment_sum": _embed_by_segment_sum,
    "select": _embed_by_select,
}


def _zeros(instruction: do.Zeros, dtype: str, sizes: Sizes) -> Kernel:
    shape = _vector(_dims(instruction.groups, sizes))
    return lambda *operands: _ops.Fill(dims=shape, value=tf.zeros([], dtype))


def _matmul(instruction: do.MatMul) -> Kernel:
    flip_a, flip_b = instruction.transpose_a, instruction.transpose_b
    if not instruction.batched:
        return lambda a, b: _ops.MatMul(a=a, b=b, transpose_a=flip_a, transpose_b=flip_b)

    def run(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        # The batched op only knows the conjugate transpose.
        if a.dtype.is_complex:
            a = tf.math.conj(a) if flip_a else a
            b = tf.math.conj(b) if flip_b else b
        matrices: tf.Tensor = _ops.BatchMatMulV2(x=a, y=b, adj_x=flip_a, adj_y=flip_b)
        return matrices

    return run


def _multiply(instruction: do.Multiply) -> Kernel:
    return lambda a, b: _ops.Mul(x=a, y=b)


def _native_einsum(instruction: do.NativeEinsum) -> Kernel:
    equation = instruction.equation
    return lambda a, b: _ops.Einsum(inputs=[a, b], equation=equation)


_ASSEMBLE: dict[type[do.Transform], Callable[..., Unary]] = {
    do.Permute: _permute,
    do.Reshape: _reshape,
    do.Broadcast: _broadcast,
    do.Sum: _sum,
    do.Diagonal: _diagonal,
    do.EmbedDiagonal: _embed_diagonal,
}
_COMBINE: dict[type[do.Combine], Callable[..., Kernel]] = {
    do.MatMul: _matmul,
    do.Multiply: _multiply,
    do.NativeEinsum: _native_einsum,
}
