"""What a kernel costs: a small model, in microseconds on the machine it was measured on.

Only comparisons between candidates for the same contraction matter, so only ratios do. Each
constant stands with the measurement that it came from: TensorFlow 2.21, 2 cores of an AMD EPYC,
float32, inside `tf.function`, medians.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cost"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one recipe costs.

    Attributes:
        microseconds: the model's estimate, good for comparing candidates.
        flops: multiplications and additions.
        bytes_moved: read and written by every kernel of the recipe.
        scratch_bytes: the largest tensor made on the way that is neither operand nor result.
    """

    microseconds: float
    flops: int
    bytes_moved: int
    scratch_bytes: int


# What a kernel streams through: `b,bi->bi` of (64, 65536) moves 34 MB in 2.3 to 3.1 ms, the sum of
# products `nc,nc->c` 39 MB in 2.7 ms.
_BYTES_PER_US = 15_000.0
# Tensors above glibc's largest threshold come from the kernel page by page, each time: a product of
# (4096, 4096), 67 MB, that is summed at once takes 68 ms, and 4.7 ms as a matmul that makes none.
_FRESH_BYTES = 32 * 2**20
_FRESH_BYTES_PER_US = 1_000.0
# tf.transpose that moves the innermost dimension, and one that keeps rows of it together.
_PERMUTE_INNER_BYTES_PER_US = 3_500.0
_PERMUTE_ROWS_BYTES_PER_US = 6_000.0
# XLA's: (16, 512, 512) with its last two dimensions changed in 4.8 ms, tf.transpose 12.1.
_XLA_PERMUTE_INNER_BYTES_PER_US = 7_000.0
_XLA_PERMUTE_ROWS_BYTES_PER_US = 11_000.0
# XLA reads a permuted operand where it stands, for each element of the product. Where a row of it,
# across those that it stands in, spans more than this, each element comes from a farther cache: a
# (512, 512) matrix, transposed, times (16, 512, 512) takes 7.2 ms, as it is 2.2; but (128, 1024, 2)
# times (2, 128, 8, 1024) no longer than without a permute.
_CACHE_BYTES = 2**15
# tf.linalg.diag goes element by element: 64 MB of (1024, 128) or (64, 512) in 27 ms, where zeros
# whose diagonal is set take 8 (with oneDNN's allocator; with fresh pages 58 and 37).
# One matrix is not shared among threads: (4096, 4096) takes 47 and 8, (2048, 2048) 13 and 4.
_DIAG_BYTES_PER_US = 2_500.0
_DIAG_ONE_BYTES_PER_US = 800.0
# A matmul that reads its left operand across the rows: (4096, 4096)'(4096, 8) takes 40.7 ms, and
# 7.1 without the transpose. The right one costs as much only if its rows are long:
# (64, 4096)(512, 4096)' takes 10.0 ms, without 4.4; 64 of (256, 64)(256, 64)' 15.7, without 15.6.
_TRANSPOSED_BYTES_PER_US = 2_500.0
_LONG_ROW = 1024
# Matrix-vector products: `bij,bj->bi` of (16, 1024, 1024) reads 67 MB in 5.4 to 8 ms; with the
# vector first, `bij,bi->bj` of (256, 128, 128) takes 1.61 ms, with it last 1.79.
_VECMAT_BYTES_PER_US = 9_500.0
_MATVEC_BYTES_PER_US = 8_500.0
# Dot products: `bi,bi->b` of (64, 65536) by matmul reads 34 MB in 2.8 ms (4.7 as multiply and sum);
# of (100000, 16), 5.1 ms (2.5), so each one of a batch costs 50 ns.
_DOT_BYTES_PER_US = 12_000.0
_BATCH_US = 0.05
# Outer products: `bi,bj->bij` of (256, 128, 128), 64 kB each, 3.4 ms by matmul and 3.8 by multiply;
# of (64, 256, 256), 262 kB each, 8.3 and 5.9.
_OUTER_BYTES_PER_US = 16_500.0
_LARGE_OUTER_BYTES_PER_US = 6_000.0
_LARGE_OUTER = 2**17
# Elementwise kernels and reductions go along the innermost dimensions that they treat alike, and
# to start on each such run takes longer than to go through a short one. A product of (2**20 / k, k)
# and (k,) takes 4.0 ms for k = 2, 2.7 for 4, 1.5 for 8, 1.4 for 32, 0.6 for 64 and above; the sum
# of the former over k 4.9, 3.5, 0.7, 0.4, 0.3.
_RUN_US = 0.006
_LONG_RUN = 64
# A sum over the first and the last dimension but not those between: (2**20 / 64 / k, 64, k) takes
# 1.2 ms for k = 2 and 2.5 to 3.4 for 8 and above, where over one of the two it takes 0.3.
_SUM_BOTH_ENDS_BYTES_PER_US = 1_500.0
# (2**20 / k, k) by a vector takes 2.2 ms for k = 2, 1.3 for 4 and 0.4 for 8, a vector register.
_DOT_RUN_US = 0.003
_LONG_DOT = 8
# Starting any kernel, however small: through Python in eager mode (`tf.raw_ops.Reshape` 10 us,
# `Transpose` 12, `Einsum` 17), by the executor in graphs; XLA has fused it with something else.
_LAUNCH_US = {"eager": 10.0, "graph": 1.5, "xla": 0.0}
# 1024x1024x1024 in 20 ms.
_FLOPS_PER_US = 100_000.0


def launch_us(target: str) -> float:
    """The cost of starting a kernel."""
    return _LAUNCH_US[target]


def stream_us(n_bytes: int) -> float:
    """An elementwise kernel or reduction that moves so many bytes, once it has started."""
    return n_bytes / _BYTES_PER_US


def runs_us(n_elements: int, run: int) -> float:
    """What it costs, beside `stream_us`, to go through elements in runs of so many."""
    return _RUN_US * n_elements / run if 0 < run < _LONG_RUN else 0.0


def sum_us(n_bytes: int, n_elements: int, run: int, both_ends: bool) -> float:
    """A reduction that moves so many bytes, once it has started.

    Args:
        n_bytes: read and written.
        n_elements: read.
        run: how many elements side by side go into one sum; 0 where all do, or the last dimension
            is kept.
        both_ends: whether the first and the last dimension are summed, and one between is kept.
    """
    if both_ends:
        return n_bytes / _SUM_BOTH_ENDS_BYTES_PER_US
    return stream_us(n_bytes) + runs_us(n_elements, run)


def scratch_us(n_bytes: int) -> float:
    """What it costs to have a tensor of this size that is neither operand nor result."""
    return n_bytes / _FRESH_BYTES_PER_US if n_bytes > _FRESH_BYTES else 0.0


def permute_us(n_bytes: int, keeps_rows: bool, target: str = "graph") -> float:
    """A permute that reads `n_bytes` and writes as many, once it has started."""
    if target == "xla":
        rate = _XLA_PERMUTE_ROWS_BYTES_PER_US if keeps_rows else _XLA_PERMUTE_INNER_BYTES_PER_US
    else:
        rate = _PERMUTE_ROWS_BYTES_PER_US if keeps_rows else _PERMUTE_INNER_BYTES_PER_US
    return 2 * n_bytes / rate


def across_rows_us(n_bytes: int, span: int) -> float:
    """What it costs XLA to read a permuted operand for that many bytes of a product.

    Args:
        n_bytes: of the product, beyond those of the operand.
        span: the bytes of the operand between the first and last element of a permuted row.
    """
    return permute_us(n_bytes, keeps_rows=False) if span > _CACHE_BYTES else 0.0


def diag_us(n_bytes: int, batch: int) -> float:
    """`tf.linalg.diag` that writes so many bytes, a batch of matrices, once it has started."""
    return n_bytes / (_DIAG_BYTES_PER_US if batch > 1 else _DIAG_ONE_BYTES_PER_US)


def matmul_us(
    batch: int, m: int, k: int, n: int, item: int, transpose_a: bool, transpose_b: bool
) -> float:
    """A batch of products of (m, k) and (k, n) matrices, once it has started.

    Products with a vector are bound by memory. Matrices with a short side reach a fraction of the
    rate of large ones; transposes cost what it takes to read across rows.
    """
    memory = item * batch * (m * k + k * n + m * n)
    if k == 1:
        small = item * m * n < _LARGE_OUTER
        rate = _OUTER_BYTES_PER_US if small else _LARGE_OUTER_BYTES_PER_US
        return _BATCH_US * batch + memory / rate
    if m == 1 or n == 1:
        rate = _VECMAT_BYTES_PER_US if m == 1 else _MATVEC_BYTES_PER_US
        rate = _DOT_BYTES_PER_US if m == n else rate
        short = _DOT_RUN_US * batch * max(m, n) if k < _LONG_DOT else 0.0
        return _BATCH_US * batch + memory / rate + short
    blocking = (1 + 8 / max(m, 1)) * (1 + 8 / max(n, 1)) * (1 + 16 / max(k, 1))
    compute = 2 * batch * m * k * n * blocking / _FLOPS_PER_US * (item / 4)
    long_rows = min(1.0, k / _LONG_ROW)
    across = item * batch * (m * k * transpose_a + k * n * transpose_b * long_rows)
    return (
        _BATCH_US * batch + max(compute, memory / _BYTES_PER_US) + across / _TRANSPOSED_BYTES_PER_US
    )
