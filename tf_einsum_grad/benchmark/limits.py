"""What the machine can do: how fast it multiplies matrices, and how fast it moves memory."""

from __future__ import annotations

import tensorflow as tf

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.benchmark.results import MachineLimit
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.workloads import real_products

__all__ = ["measure_limit"]


def measure_limit(
    dtype: str,
    effort: Effort,
    sides: tuple[int, ...] | None = None,
    lengths: tuple[int, ...] | None = None,
) -> MachineLimit:
    """Measures the rates of this machine.

    Args:
        dtype: one that has gradients.
        effort: how long each of the measurements may take.
        sides: of the square matrices, of which the fastest counts; 1024 and 2048 on CPU, 4096 and
            8192 on GPU by default.
        lengths: bytes of the tensors that are streamed through. By default 4 to 32 MB on CPU:
            smaller ones measure the cost of a call, and for larger ones the C library asks the
            system for fresh pages in every call, which costs several times what moving them
            does. 64 MB to 1 GB on GPU.
    """
    gpu = bool(tf.config.list_logical_devices("GPU"))
    sides = sides or ((4096, 8192) if gpu else (1024, 2048))
    lengths = lengths or (
        (1 << 26, 1 << 28, 1 << 30) if gpu else (1 << 22, 1 << 23, 1 << 24, 1 << 25)
    )
    return MachineLimit(
        dtype,
        max(_matmul_rate(side, dtype, effort) for side in sides),
        max(_bandwidth(n, dtype, effort) for n in lengths),
    )


def _matmul_rate(side: int, dtype: str, effort: Effort) -> float:
    """Multiplications and additions per second of the best of several products."""
    a, b = (_random((side, side), dtype) for _ in range(2))
    samples = interleave({"matmul": lambda: lambda: tf.matmul(a, b)}, effort)
    flops = 2.0 * side**3 * real_products(dtype)
    return flops / min(samples["matmul"])


def _bandwidth(n_bytes: int, dtype: str, effort: Effort) -> float:
    """Bytes per second of the best of an addition, a change of sign and a sum."""
    length = max(1, n_bytes // itemsize(dtype))
    a, b = (_random((length,), dtype) for _ in range(2))
    samples = interleave(
        {
            "add": lambda: lambda: tf.add(a, b),
            "negate": lambda: lambda: tf.negative(a),
            "sum": lambda: lambda: tf.reduce_sum(a),
        },
        effort,
    )
    touched = {"add": 3, "negate": 2, "sum": 1}
    return max(touched[name] * n_bytes / min(seconds) for name, seconds in samples.items())


def _random(shape: tuple[int, ...], dtype: str) -> tf.Tensor:
    return tf.cast(tf.random.normal(shape), dtype)
