"""The rates that kernels are priced at: a machine, as far as einsums can tell one from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["CPU", "Machine", "MatMulKernel", "Target"]

Target = Literal["eager", "graph", "xla"]
# A product, a batch of them (by the Einsum op too), the Einsum op without batch, and XLA's.
MatMulKernel = Literal["matmul", "batch", "einsum", "xla"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Machine:
    """What kernels cost on a machine: times in microseconds, rates in bytes or FLOPs for each.

    Only comparisons between lowerings of one contraction matter, so only ratios do. The defaults
    are those of `CPU`, each with what was measured: TensorFlow 2.21 without oneDNN, 2 cores of an
    AMD EPYC, float32, inside `tf.function`, medians. `machines` has the others.

    A machine is part of the key of all that is decided, so it equals itself alone, and is hashed as
    fast as an object is.
    """

    # What it is called in explanations.
    name: str = "cpu"

    # us to start a kernel, however small: through Python (`tf.raw_ops.Reshape` 10 us, `Transpose`
    # 12, `Einsum` 17), by a graph's executor, and under XLA, which fuses most with something else.
    eager_launch: float = 10.0
    graph_launch: float = 1.5
    xla_launch: float = 0.0

    # us that a device takes, beyond those, to start on what reads or writes data: a view does not.
    # None on a CPU, where whoever starts a kernel runs it; XLA fuses.
    device_launch: float = 0.0

    # bytes/us of an elementwise kernel or reduction: `b,bi->bi` of (64, 65536) moves 34 MB in 2.3
    # to 3.1 ms, the sum of products `nc,nc->c` 39 MB in 2.7 ms.
    stream: float = 15_000.0

    # bytes/us of a product of which both operands are repeated, each along the other's dimensions.
    stream_outer: float = 15_000.0

    # Bytes above which (glibc's largest threshold) a tensor takes pages from the kernel, each time
    # anew, and bytes/us of those: a product of (4096, 4096), 67 MB, that is summed at once takes
    # 68 ms, and 4.7 ms as a matmul that makes none.
    fresh_limit: int = 32 * 2**20
    fresh: float = 1_000.0

    # bytes/us of a permute that moves the innermost dimension, of one that keeps rows of it
    # together, and bytes from which a row is worth that. Under XLA (16, 512, 512) with its last two
    # dimensions changed takes 4.8 ms, tf.transpose 12.1.
    permute_inner: float = 3_500.0
    permute_rows: float = 6_000.0
    xla_permute_inner: float = 7_000.0
    xla_permute_rows: float = 11_000.0
    short_row: int = 64

    # Dimensions above which a permute that moves the last one is a gather, and bytes/us of that:
    # (2,) * 20, reversed, takes 22.0 ms as a permute and 3.6 as a gather; with oneDNN, which goes
    # up to 12 dimensions, 28.0 and 4.0.
    most_permute_dims: int = 8
    permute_many: float = 1_800.0

    # How many times as much a permute inside the Einsum op takes: `bhts,bshd->bthd` of
    # (8, 8, 256, 256) 3.8 ms, with explicit permutes 2.7.
    einsum_permute_factor: float = 1.5

    # XLA reads a permuted operand where it stands, for each element of a product. Where a row of
    # it, across those that it stands in, spans more bytes than this, each element comes from a
    # farther cache: a (512, 512) matrix, transposed, times (16, 512, 512) takes 7.2 ms, as it is
    # 2.2; but (128, 1024, 2) times (2, 128, 8, 1024) no longer than without a permute.
    cache: int = 2**15

    # Bytes read for each byte of a diagonal: a cache line, or a row.
    diagonal_reads: int = 4

    # bytes/us that `tf.linalg.diag` writes, element by element: 64 MB of (1024, 128) or (64, 512)
    # in 27 ms, where zeros whose diagonal is set take 8 (with oneDNN's allocator; with fresh pages
    # 58 and 37). One matrix is not shared among threads: (4096, 4096) 47 and 8, (2048, 2048) 13
    # and 4.
    diag: float = 2_500.0
    diag_one: float = 800.0

    # FLOPs/us of a large matmul of 4-byte numbers: 1024x1024x1024 in 20 ms. A free dimension of
    # `matmul_side`, and a contracting one of `matmul_depth`, halve it.
    flops: float = 100_000.0
    matmul_side: float = 8
    matmul_depth: float = 16

    # us for each product of a batch: `bi,bi->b` of (100000, 16) 5.1 ms, as multiply and sum 2.5.
    matmul_start: float = 0.05

    # bytes/us of an operand that a matmul reads across its rows. The left one:
    # (4096, 4096)'(4096, 8) takes 40.7 ms, and 7.1 without the transpose. The right one costs as
    # much only from rows of `long_row` elements on: (64, 4096)(512, 4096)' takes 10.0 ms, without
    # 4.4; 64 of (256, 64)(256, 64)' 15.7, without 15.6. With oneDNN a product, a batch of them and
    # the Einsum op without batch are three kernels, each with rates of its own. XLA takes the right
    # one as it stands, (512, 4096)'(4096, 64) in 4.2 ms and without the transpose in 0.9.
    across_left: float = 2_500.0
    across_right: float = 2_500.0
    batch_across_left: float = 2_500.0
    batch_across_right: float = 2_500.0
    einsum_across_left: float = 2_500.0
    einsum_across_right: float = 2_500.0
    xla_across_left: float = 2_700.0
    xla_across_right: float = 1e12
    long_row: int = 1024

    # us to start a batch of one product, beyond what starts a product: that is what reads the right
    # operand across its rows where a batch does so faster. With oneDNN (2048, 2048)(512, 2048)'
    # takes 30.0 ms, as a batch of one 21.3; (4096, 512)(512, 512)' 12.3 and 10.4.
    batch_start: float = 0.0

    # bytes/us of products with a vector, first or last, and of those that read the matrix across
    # its rows: `bij,bj->bi` of (16, 1024, 1024) reads 67 MB in 5.4 to 8 ms; with the vector first,
    # `bij,bi->bj` of (256, 128, 128) takes 1.61 ms, with it last 1.79.
    vecmat: float = 9_500.0
    vecmat_across: float = 9_500.0
    matvec: float = 8_500.0
    matvec_across: float = 8_500.0

    # How many times as much a product without batch takes inside the Einsum op, of matrices, and
    # with a vector.
    einsum_matmul_factor: float = 1.0
    einsum_vector_factor: float = 1.0

    # us to start on each row of such a product that has fewer than `long_dot` elements, a vector
    # register: (2**20 / k, k) by a vector takes 2.2 ms for k = 2, 1.3 for 4 and 0.4 for 8.
    dot_run: float = 0.003
    long_dot: int = 8

    # bytes/us of dot products: `bi,bi->b` of (64, 65536) by matmul reads 34 MB in 2.8 ms, as
    # multiply and sum in 4.7.
    dot: float = 12_000.0

    # bytes/us of outer products by matmul, and of those whose result has more bytes than a limit:
    # `bi,bj->bij` of (256, 128, 128), 64 kB each, 3.4 ms, by multiply 3.8; of (64, 256, 256),
    # 262 kB each, 8.3 and 5.9.
    outer: float = 16_500.0
    large_outer: float = 6_000.0
    large_outer_limit: int = 2**17

    # Elementwise kernels and reductions go along the innermost dimensions that they treat alike:
    # us to start on each such run of fewer than `long_run` elements. A product of (2**20 / k, k)
    # and (k,) takes 4.0 ms for k = 2, 2.7 for 4, 1.5 for 8, 1.4 for 32, 0.6 for 64 and above; the
    # sum of the former over k 4.9, 3.5, 0.7, 0.4, 0.3.
    run: float = 0.006
    long_run: int = 64

    # bytes/us of a sum that keeps the last dimension: `nc,nc->c` moves 39 MB in 2.7 ms.
    sum_outer: float = 15_000.0

    # bytes/us of a sum over the first and the last dimension but not those between:
    # (2**20 / 64 / k, 64, k) takes 1.2 ms for k = 2 and 2.5 to 3.4 for 8 and above, where over one
    # of the two it takes 0.3.
    sum_both_ends: float = 1_500.0

    # bytes/us that XLA sums, a product with its sum in one loop: `bij,bj->bi` of (16, 1024, 1024)
    # takes it 12 ms.
    xla_sum: float = 5_500.0

    # bytes/us, read and written for each entry of a sparse operand, of rows that are looked up, of
    # rows that are summed where they belong, and of TensorFlow's sparse-dense product, which does
    # both: 160,000 entries of a (4000, 4000) matrix by 64 columns take 11, 33 and 31 ms, 16,000
    # entries 0.4 to 5, 3.8 and 1.6.
    gather: float = 7_000.0
    segment_sum: float = 2_500.0
    sparse_matmul: float = 5_000.0

    # What `tune` measured to be better than what these rates say: the recipes of contractions by
    # their signatures, and the signatures of einsums that XLA compiles as a whole.
    winners: Mapping[str, str] = field(default_factory=dict)
    compiled: frozenset[str] = frozenset()

    def launch(self, target: Target, view: bool = False) -> float:
        """us to start a kernel; `view` says that it only makes another view of a tensor."""
        if target == "xla":
            return self.xla_launch
        op = self.eager_launch if target == "eager" else self.graph_launch
        return op if view else op + self.device_launch

    def across(self, kernel: MatMulKernel) -> tuple[float, float]:
        """bytes/us of the left and of the right operand that a matmul reads across its rows."""
        if kernel == "matmul":
            return self.across_left, self.across_right
        if kernel == "batch":
            return self.batch_across_left, self.batch_across_right
        if kernel == "xla":
            return self.xla_across_left, self.xla_across_right
        return self.einsum_across_left, self.einsum_across_right

    def permute(self, target: Target, keeps_rows: bool) -> float:
        """bytes/us, read and written, of a permute."""
        if target == "xla":
            return self.xla_permute_rows if keeps_rows else self.xla_permute_inner
        return self.permute_rows if keeps_rows else self.permute_inner


CPU = Machine()
