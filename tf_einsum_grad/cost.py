"""What a kernel costs: a small model, in microseconds on the machine it was measured on.

Only comparisons between candidates for the same contraction matter, so only ratios do. Each
constant stands with the measurement that it came from: TensorFlow 2.21, 2 cores of an AMD EPYC,
float32, inside `tf.function`, medians. Unknown sizes count as `UNKNOWN_SIZE`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tf_einsum_grad.sizes import Size

__all__ = ["UNKNOWN_SIZE", "Cost", "extent", "itemsize"]

# Unknown dimensions are batch or sequence lengths far more often than they are 1, which is what
# native einsum guesses (and so takes the quadratic order for linear attention).
UNKNOWN_SIZE = 1024

_ITEMSIZES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "bfloat16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}


def itemsize(dtype: str) -> int:
    """Bytes of one element."""
    return _ITEMSIZES[dtype]


def extent(labels: Iterable[str], sizes: Mapping[str, Size]) -> int:
    """How many elements a tensor with these labels has, unknown sizes counted as large."""
    return math.prod(
        UNKNOWN_SIZE if size is None else size for size in (sizes[label] for label in labels)
    )


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


# A tensor that a kernel streams through: 24-byte/element multiply of (64,256,256) twice in 4.0 ms.
_BYTES_PER_US = 12_000.0
# tf.transpose that moves the innermost dimension: (100,784,512)->(100,512,784) reads and writes
# at about a quarter of that.
_PERMUTE_INNER_BYTES_PER_US = 3_500.0
# ... and one that keeps rows of the innermost dimension together.
_PERMUTE_ROWS_BYTES_PER_US = 6_000.0
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


def permute_us(n_bytes: int, keeps_rows: bool) -> float:
    """A permute that reads `n_bytes` and writes as many, once it has started."""
    rate = _PERMUTE_ROWS_BYTES_PER_US if keeps_rows else _PERMUTE_INNER_BYTES_PER_US
    return 2 * n_bytes / rate


def matmul_us(batch: int, m: int, k: int, n: int, item: int) -> float:
    """A batch of products of (m, k) and (k, n) matrices, once it has started.

    Matrices with a short side reach a fraction of the rate of large ones: they are bound by
    memory, and below about 8 by the kernel's own blocking.
    """
    flops = 2 * batch * m * k * n
    blocking = 1.0
    for side in (m, n):
        blocking *= 1 + 8 / max(side, 1)
    blocking *= 1 + 16 / max(k, 1)
    memory = item * batch * (m * k + k * n + m * n) / _BYTES_PER_US
    return 0.1 * batch + max(flops * blocking / _FLOPS_PER_US * (item / 4), memory)
