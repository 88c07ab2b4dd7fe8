"""The rates that kernels are priced at: a machine, as far as einsums can tell one from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CPU", "Machine", "Target"]

Target = Literal["eager", "graph", "xla"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What kernels cost on a machine; times are in microseconds, rates in bytes or FLOPs for each.

    Only comparisons between lowerings of one contraction matter, so only ratios do.

    Attributes:
        eager_launch: us to start a kernel, however small, through Python.
        graph_launch: us to start one by the executor of a graph.
        xla_launch: us to start one under XLA, which fuses most with something else.
        stream: bytes/us that an elementwise kernel or a reduction moves.
        fresh_limit: bytes from which a tensor takes pages from the kernel, each time anew.
        fresh: bytes/us of such pages.
        permute_inner: bytes/us of a permute that moves the innermost dimension.
        permute_rows: bytes/us of one that keeps rows of it together.
        xla_permute_inner: the former under XLA.
        xla_permute_rows: the latter under XLA.
        short_row: bytes below which a row is no longer worth keeping together.
        einsum_permute_factor: how many times as much a permute inside the Einsum op takes.
        cache: bytes that a permuted row may span before XLA, which reads it where it stands for
            each element of a product, finds each element in a farther cache.
        diagonal_reads: bytes read for each byte of a diagonal: a cache line, or a row.
        diag: bytes/us that `tf.linalg.diag` writes of a batch of matrices.
        diag_one: bytes/us that it writes of one matrix, which is not shared among threads.
        flops: FLOPs/us of a large matmul in 4-byte numbers.
        matmul_side: a free dimension of a matmul that halves its rate.
        matmul_depth: a contracting dimension of a matmul that halves its rate.
        matmul_start: us for each matrix product of a batch.
        transposed: bytes/us of an operand that a matmul reads across its rows.
        long_row: elements of a right operand's row from which reading across costs in full.
        vecmat: bytes/us of a vector times a matrix.
        matvec: bytes/us of a matrix times a vector.
        dot: bytes/us of a dot product.
        dot_run: us to start on each row of a product with a vector, where rows are short.
        long_dot: elements of a row that is not short.
        outer: bytes/us of an outer product by matmul.
        large_outer: bytes/us of a large one.
        large_outer_limit: bytes of the result from which an outer product is large.
        run: us to start on each run of innermost dimensions that an elementwise kernel or a
            reduction treats alike, where runs are short.
        long_run: elements of a run that is not short.
        sum_both_ends: bytes/us of a sum over the first and last dimension but not those between.
    """

    eager_launch: float
    graph_launch: float
    xla_launch: float
    stream: float
    fresh_limit: int
    fresh: float
    permute_inner: float
    permute_rows: float
    xla_permute_inner: float
    xla_permute_rows: float
    short_row: int
    einsum_permute_factor: float
    cache: int
    diagonal_reads: int
    diag: float
    diag_one: float
    flops: float
    matmul_side: int
    matmul_depth: int
    matmul_start: float
    transposed: float
    long_row: int
    vecmat: float
    matvec: float
    dot: float
    dot_run: float
    long_dot: int
    outer: float
    large_outer: float
    large_outer_limit: int
    run: float
    long_run: int
    sum_both_ends: float

    def launch(self, target: Target) -> float:
        """us to start a kernel."""
        if target == "eager":
            return self.eager_launch
        return self.graph_launch if target == "graph" else self.xla_launch

    def permute(self, target: Target, keeps_rows: bool) -> float:
        """bytes/us, read and written, of a permute."""
        if target == "xla":
            return self.xla_permute_rows if keeps_rows else self.xla_permute_inner
        return self.permute_rows if keeps_rows else self.permute_inner


# TensorFlow 2.21 without oneDNN, 2 cores of an AMD EPYC, float32, inside `tf.function`, medians.
CPU = Machine(
    # `tf.raw_ops.Reshape` 10 us, `Transpose` 12, `Einsum` 17.
    eager_launch=10.0,
    graph_launch=1.5,
    xla_launch=0.0,
    # `b,bi->bi` of (64, 65536) moves 34 MB in 2.3 to 3.1 ms, the sum of products `nc,nc->c` 39 MB
    # in 2.7 ms.
    stream=15_000.0,
    # glibc's largest threshold. A product of (4096, 4096), 67 MB, that is summed at once takes
    # 68 ms, and 4.7 ms as a matmul that makes none.
    fresh_limit=32 * 2**20,
    fresh=1_000.0,
    permute_inner=3_500.0,
    permute_rows=6_000.0,
    # (16, 512, 512) with its last two dimensions changed in 4.8 ms, tf.transpose 12.1.
    xla_permute_inner=7_000.0,
    xla_permute_rows=11_000.0,
    short_row=64,
    # `bhts,bshd->bthd` of (8, 8, 256, 256) 3.8 ms as Einsum, 2.7 with explicit permutes.
    einsum_permute_factor=1.5,
    # A (512, 512) matrix, transposed, times (16, 512, 512) takes 7.2 ms, as it is 2.2; but
    # (128, 1024, 2) times (2, 128, 8, 1024) no longer than without a permute.
    cache=2**15,
    diagonal_reads=4,
    # 64 MB of (1024, 128) or (64, 512) in 27 ms, where zeros whose diagonal is set take 8 (with
    # oneDNN's allocator; with fresh pages 58 and 37). One matrix: (4096, 4096) takes 47 and 8,
    # (2048, 2048) 13 and 4.
    diag=2_500.0,
    diag_one=800.0,
    # 1024x1024x1024 in 20 ms.
    flops=100_000.0,
    matmul_side=8,
    matmul_depth=16,
    matmul_start=0.05,
    # The left operand: (4096, 4096)'(4096, 8) takes 40.7 ms, and 7.1 without the transpose. The
    # right one costs as much only if its rows are long: (64, 4096)(512, 4096)' takes 10.0 ms,
    # without 4.4; 64 of (256, 64)(256, 64)' 15.7, without 15.6.
    transposed=2_500.0,
    long_row=1024,
    # `bij,bj->bi` of (16, 1024, 1024) reads 67 MB in 5.4 to 8 ms; with the vector first,
    # `bij,bi->bj` of (256, 128, 128) takes 1.61 ms, with it last 1.79.
    vecmat=9_500.0,
    matvec=8_500.0,
    # `bi,bi->b` of (64, 65536) by matmul reads 34 MB in 2.8 ms (4.7 as multiply and sum); of
    # (100000, 16), 5.1 ms (2.5), so each one of a batch costs 50 ns.
    dot=12_000.0,
    # (2**20 / k, k) by a vector takes 2.2 ms for k = 2, 1.3 for 4 and 0.4 for 8, a vector register.
    dot_run=0.003,
    long_dot=8,
    # `bi,bj->bij` of (256, 128, 128), 64 kB each, 3.4 ms by matmul and 3.8 by multiply; of
    # (64, 256, 256), 262 kB each, 8.3 and 5.9.
    outer=16_500.0,
    large_outer=6_000.0,
    large_outer_limit=2**17,
    # A product of (2**20 / k, k) and (k,) takes 4.0 ms for k = 2, 2.7 for 4, 1.5 for 8, 1.4 for 32,
    # 0.6 for 64 and above; the sum of the former over k 4.9, 3.5, 0.7, 0.4, 0.3.
    run=0.006,
    long_run=64,
    # (2**20 / 64 / k, 64, k) takes 1.2 ms for k = 2 and 2.5 to 3.4 for 8 and above, where over one
    # of the two it takes 0.3.
    sum_both_ends=1_500.0,
)
