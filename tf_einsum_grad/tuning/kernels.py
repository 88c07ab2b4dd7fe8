"""The kernels that probes name, as functions of tensors, ready to be timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.tuning.rates import Probe

__all__ = ["time_probe"]

_ops: Any = tf.raw_ops  # generated, and without types


def time_probe(probe: Probe, effort: Effort) -> float:
    """The microseconds of a probe: those of its fastest call, which the least has disturbed."""
    rng = np.random.default_rng(0)
    tensors = [tf.constant(rng.random(shape, np.float32)) for shape in probe.shapes]
    run: Callable[..., Any] = partial(_KERNELS[probe.kernel], **dict(probe.options))
    if probe.target != "eager":
        run = tf.function(run, autograph=False, jit_compile=probe.target == "xla")
    samples = interleave({"probe": lambda: lambda: run(*tensors)}, effort)["probe"]
    return 1e6 * min(samples)


def _nothing(x: Any) -> Any:
    return x


def _chain(x: Any, length: int) -> Any:
    """The kernels that einsums are made of, one after another, so that no rewrite takes any out."""
    for _ in range(length):
        x = _ops.MatMul(a=_ops.Transpose(x=x, perm=[1, 0]), b=x)
        x = _ops.Reshape(tensor=_ops.Tanh(x=_ops.Reshape(tensor=x, shape=[16])), shape=[4, 4])
    return x


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    if len(a.shape) == 2:
        return _ops.MatMul(a=a, b=b, transpose_a=transpose_a, transpose_b=transpose_b)
    return _ops.BatchMatMulV2(x=a, y=b, adj_x=transpose_a, adj_y=transpose_b)


def _reshape(x: Any) -> Any:
    return _ops.Reshape(tensor=x, shape=[-1])


def _permute(x: Any, axes: Sequence[int]) -> Any:
    return _ops.Transpose(x=x, perm=list(axes))


def _places(entries: int, size: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, size, entries).astype(np.int64)


def _gather(x: Any, entries: int) -> Any:
    return _ops.GatherV2(params=x, indices=_places(entries, x.shape[0]), axis=0)


def _segment_sum(x: Any, segments: int) -> Any:
    ids = _places(x.shape[0], segments)
    return _ops.UnsortedSegmentSum(data=x, segment_ids=ids, num_segments=segments)


def _sparse_matmul(x: Any, entries: int) -> Any:
    side = x.shape[0]
    places = np.sort(_places(entries, side * side))
    indices = np.stack([places // side, places % side], axis=1)
    return _ops.SparseTensorDenseMatMul(
        a_indices=indices, a_values=np.ones(entries, np.float32), a_shape=[side, side], b=x
    )


_KERNELS: dict[str, Callable[..., Any]] = {
    "nothing": _nothing,
    "chain": _chain,
    "reshape": _reshape,
    "permute": _permute,
    "multiply": lambda a, b: _ops.Mul(x=a, y=b),
    "multiply_and_sum": lambda a, b, axes: _ops.Sum(input=_ops.Mul(x=a, y=b), axis=list(axes)),
    "sum": lambda x, axes: _ops.Sum(input=x, axis=list(axes)),
    "matmul": _matmul,
    "einsum": lambda a, b, equation: _ops.Einsum(inputs=[a, b], equation=equation),
    "diag": lambda x: _ops.MatrixDiag(diagonal=x),
    "gather": _gather,
    "segment_sum": _segment_sum,
    "sparse_matmul": _sparse_matmul,
}
