"""Turns a lowering into a function of tensors.

Nothing is decided here: each instruction becomes one closure over TensorFlow's raw ops, which in
eager mode take a third of the time that the wrappers around them take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tf_einsum_grad.execution.raw import ops
from tf_einsum_grad.execution.shapes import Dim, Sizes, int_constant, leave_one, product
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.contraction import Lowering
from tf_einsum_grad.lowering.instructions import Groups

__all__ = ["assemble"]

Unary = Callable[[tf.Tensor], tf.Tensor]
Kernel = Callable[..., tf.Tensor]


def assemble(lowering: Lowering, sizes: Sizes) -> Kernel:
    """A function of one or two tensors that follows a lowering.

    Args:
        lowering: what `lowering.lower` gave.
        sizes: of every label. Where all are known, a function assembled in eager mode serves every
            eager call; else it belongs to the operands of `sizes`.
    """
    if isinstance(lowering.combine, do.Zeros):
        return _zeros(lowering.combine, lowering.dtype, sizes)
    terms = [tuple(term) for term in lowering.equation.inputs]
    stages = [
        _assemble_stage(instructions, term, sizes, k)
        for k, (term, instructions) in enumerate(zip(terms, lowering.prepare, strict=True))
    ]
    if lowering.combine is None:
        run = _chain(stages[0][0])
    else:
        operands = [groups for _, groups in stages]
        made = lowering.combine.result(*(operands[::-1] if lowering.swap else operands))
        finish, _ = _assemble_stage(lowering.finish, made, sizes)
        combine = _COMBINE[type(lowering.combine)](lowering.combine)
        run = _pairwise(stages[0][0], stages[1][0], combine, lowering.swap, finish)
    return run if lowering.compute_dtype is None else _cast_around(run, lowering.compute_dtype)


def _assemble_stage(
    instructions: Iterable[do.Transform], groups: Groups, sizes: Sizes, k: int = 0
) -> tuple[list[Unary], Groups]:
    """A function for each instruction on one tensor, and the groups that they leave.

    `k` is the number of the operand where the tensor is one.
    """
    functions = []
    for instruction in instructions:
        if isinstance(instruction, do.Stretch):
            functions.append(_stretch(instruction, sizes, k))
        else:
            functions.append(_ASSEMBLE[type(instruction)](instruction, groups, sizes))
        groups = instruction.result(groups)
    return functions, groups


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
        wide = [ops.Cast(x=x, DstT=compute_dtype) for x in operands]
        narrow: tf.Tensor = ops.Cast(x=run(*wide), DstT=operands[0].dtype)
        return narrow

    return cast_run


def _permute(instruction: do.Permute, source: Groups, sizes: Sizes) -> Unary:
    if instruction.kernel == "gather":
        return _permute_by_gather(instruction.axes, source, sizes)
    axes = int_constant(instruction.axes)
    return lambda x: ops.Transpose(x=x, perm=axes)


def _permute_by_gather(axes: Sequence[int], source: Groups, sizes: Sizes) -> Unary:
    """Looks up each row of the result; those are elements where the last dimension moves.

    A row stands where the indices of its dimensions, times their strides, add up to. The first half
    of the dimensions and the second make two short vectors of such sums; all are their outer sum.
    """
    dims = [int(sizes.read(group)) for group in source]
    together = axes[-1] == len(dims) - 1
    row, outer = (dims[-1], axes[:-1]) if together else (1, axes)
    strides = {axis: math.prod(dims[axis + 1 :]) // row for axis in outer}
    half = len(outer) // 2
    parts = [
        _sums([(dims[axis], strides[axis]) for axis in part])
        for part in (outer[:half], outer[half:])
    ]
    rows = int_constant([math.prod(dims) // row, row] if together else [-1])
    shape = int_constant([dims[axis] for axis in axes])

    def run(x: tf.Tensor) -> tf.Tensor:
        places = tf.reshape(parts[0][:, np.newaxis] + tf.constant(parts[1]), [-1])
        found = ops.GatherV2(params=ops.Reshape(tensor=x, shape=rows), indices=places, axis=0)
        permuted: tf.Tensor = ops.Reshape(tensor=found, shape=shape)
        return permuted

    return run


def _sums(dims: Sequence[tuple[int, int]]) -> np.ndarray:
    """The sums of index times stride, over all indices of dimensions of such sizes and strides."""
    sums = np.zeros([1], np.int64)
    for size, stride in dims:
        sums = (sums[:, np.newaxis] + stride * np.arange(size)).ravel()
    return sums


def _reshape(instruction: do.Reshape, source: Groups, sizes: Sizes) -> Unary:
    shape = sizes.known_shape(instruction.groups)
    if shape is not None:
        return lambda x: sizes.reshape(x, shape)

    shape_but_one = sizes.shape_but_one(instruction.groups)
    if shape_but_one is not None:
        return lambda x: sizes.reshape(x, shape_but_one)

    def run(x: tf.Tensor) -> tf.Tensor:
        entries = leave_one(sizes.entries(instruction.groups, source, x))
        if not all(isinstance(entry, int) for entry in entries) and instruction.only_ones(source):
            return _move_ones(x, source, instruction.groups)
        return sizes.reshape(x, sizes.join(entries))

    return run


def _move_ones(x: tf.Tensor, source: Groups, target: Groups) -> tf.Tensor:
    """A reshape that takes no shape."""
    ones = [axis for axis, group in enumerate(source) if not group]
    x = ops.Squeeze(input=x, axis=ones) if ones else x
    for axis, group in enumerate(target):
        x = x if group else ops.ExpandDims(input=x, axis=axis)
    return x


def _broadcast(instruction: do.Broadcast, source: Groups, sizes: Sizes) -> Unary:
    shape = sizes.known_shape(instruction.groups)
    if shape is not None:
        return lambda x: ops.BroadcastTo(input=x, shape=shape)
    return lambda x: ops.BroadcastTo(
        input=x, shape=sizes.join(sizes.entries(instruction.groups, source, x))
    )


def _stretch(instruction: do.Stretch, sizes: Sizes, k: int) -> Unary:
    return lambda x: ops.BroadcastTo(input=x, shape=sizes.stretched_shape(k, instruction.labels))


def _sum(instruction: do.Sum, source: Groups, sizes: Sizes) -> Unary:
    axes = int_constant(instruction.axes)
    return lambda x: ops.Sum(input=x, axis=axes)


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
        dims = [sizes.read(group) for group in instruction.groups]
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


def _diagonal(instruction: do.Diagonal, source: Groups, sizes: Sizes) -> Unary:
    if instruction.kernel == "diag_part":
        return lambda x: ops.MatrixDiagPart(input=x)
    rows = _Rows.of(instruction, sizes)
    shape = _shape([sizes.read(group) for group in instruction.groups], sizes)
    if instruction.kernel == "stride":
        # Every (n + 1)-th element of the last two axes as one.
        matrices = _shape([rows.before, product([rows.n, rows.n])], sizes)
        index = (slice(None), slice(None, None, rows.n + 1))
        return lambda x: ops.Reshape(
            tensor=ops.Reshape(tensor=x, shape=matrices)[index], shape=shape
        )
    flat = _shape([rows.n_large, rows.after], sizes)

    def run(x: tf.Tensor) -> tf.Tensor:
        params = ops.Reshape(tensor=x, shape=flat)
        found = ops.GatherV2(params=params, indices=rows.find(), axis=0)
        shaped: tf.Tensor = ops.Reshape(tensor=found, shape=shape)
        return shaped

    return run


def _embed_diagonal(instruction: do.EmbedDiagonal, source: Groups, sizes: Sizes) -> Unary:
    if instruction.kernel == "diag":
        return lambda x: ops.MatrixDiag(diagonal=x)
    rows = _Rows.of(instruction, sizes)
    dims = [sizes.read(group) for group in instruction.groups]
    dims.insert(instruction.second, rows.n)
    return _EMBED[instruction.kernel](rows, dims, sizes)


def _shape(dims: Sequence[Dim], sizes: Sizes) -> tf.Tensor:
    return sizes.join(leave_one(dims))


def _embed_by_set_diag(rows: _Rows, dims: list[Dim], sizes: Sizes) -> Unary:
    shape = sizes.join(dims)

    def run(x: tf.Tensor) -> tf.Tensor:
        zeros = ops.Fill(dims=shape, value=tf.zeros([], x.dtype))
        embedded: tf.Tensor = ops.MatrixSetDiag(input=zeros, diagonal=x)
        return embedded

    return run


def _embed_by_segment_sum(rows: _Rows, dims: list[Dim], sizes: Sizes) -> Unary:
    shape, flat = _shape(dims, sizes), _shape([rows.n_small, rows.after], sizes)
    return lambda x: ops.Reshape(
        tensor=ops.UnsortedSegmentSum(
            data=ops.Reshape(tensor=x, shape=flat),
            segment_ids=rows.find(),
            num_segments=rows.n_large,
        ),
        shape=shape,
    )


def _embed_by_select(rows: _Rows, dims: list[Dim], sizes: Sizes) -> Unary:
    shape = _shape(dims, sizes)
    column = _shape([rows.before, rows.n, rows.between, 1, rows.after], sizes)

    def run(x: tf.Tensor) -> tf.Tensor:
        index = tf.range(rows.n)
        equal = tf.equal(index[:, tf.newaxis, tf.newaxis, tf.newaxis], index[:, tf.newaxis])
        values = ops.Reshape(tensor=x, shape=column)
        selected = ops.SelectV2(condition=equal, t=values, e=tf.zeros([], x.dtype))
        shaped: tf.Tensor = ops.Reshape(tensor=selected, shape=shape)
        return shaped

    return run


_EMBED: dict[do.EmbedKernel, Callable[[_Rows, list[Dim], Sizes], Unary]] = {
    "set_diag": _embed_by_set_diag,
    "segment_sum": _embed_by_segment_sum,
    "select": _embed_by_select,
}


def _zeros(instruction: do.Zeros, dtype: str, sizes: Sizes) -> Kernel:
    shape = sizes.join([sizes.read(group) for group in instruction.groups])
    return lambda *operands: ops.Fill(dims=shape, value=tf.zeros([], dtype))


def _matmul(instruction: do.MatMul) -> Kernel:
    flip_a, flip_b = instruction.transpose_a, instruction.transpose_b
    if not instruction.batched:
        return lambda a, b: ops.MatMul(a=a, b=b, transpose_a=flip_a, transpose_b=flip_b)

    def run(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        # The batched op only knows the conjugate transpose.
        if a.dtype.is_complex:
            a = tf.math.conj(a) if flip_a else a
            b = tf.math.conj(b) if flip_b else b
        matrices: tf.Tensor = ops.BatchMatMulV2(x=a, y=b, adj_x=flip_a, adj_y=flip_b)
        return matrices

    return run


def _multiply(instruction: do.Multiply) -> Kernel:
    return lambda a, b: ops.Mul(x=a, y=b)


def _native_einsum(instruction: do.NativeEinsum) -> Kernel:
    equation = instruction.equation
    return lambda a, b: ops.Einsum(inputs=[a, b], equation=equation)


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
