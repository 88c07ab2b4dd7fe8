"""The rates of a machine from the times of a few kernels: each field of `Machine` with its probe.

Pure: `fit` asks for times and knows nothing of clocks. Each probe is large enough to take longer
than what starts it, and small enough for seconds in all; a rate is what its time says once what is
already known (the launch, the memory that moves) is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tf_einsum_grad.lowering.machine import Machine, Target

__all__ = ["PROBES", "Probe", "fit"]

Shape = tuple[int, ...]
Time = Callable[["Probe"], float]

_ITEM = 4  # bytes of a float32
# How many probes `fit` asks for.
PROBES = 62
# A cost that cannot be told from none, as a rate.
_FREE = 1e12


@dataclass(frozen=True, slots=True)
class Probe:
    """One kernel on float32 tensors.

    Attributes:
        kernel: its name, in `tuning.kernels`.
        shapes: of its operands.
        options: what else it takes.
        target: where it runs.
    """

    kernel: str
    shapes: tuple[Shape, ...]
    options: tuple[tuple[str, Any], ...] = ()
    target: Target = "graph"


def fit(time: Time, start: Machine, name: str) -> Machine:
    """The machine whose kernels take these times.

    Args:
        time: the microseconds of a probe.
        start: rates that are not measured, and those that XLA has where it cannot compile.
        name: what to call it.
    """

    def us(kernel: str, *shapes: Shape, target: Target = "graph", **options: Any) -> float:
        return time(Probe(kernel, shapes, tuple(options.items()), target))

    machine = replace(start, name=name, **_launches(us))
    # A call of a graph takes this long, whatever runs in it.
    call = us("nothing", (2, 2))

    def net(kernel: str, *shapes: Shape, **options: Any) -> float:
        return max(us(kernel, *shapes, **options) - call, 0.1)

    machine = replace(machine, **_memory(net))
    machine = replace(machine, **_permutes(net, machine))
    machine = replace(machine, **_matmuls(net, machine))
    machine = replace(machine, **_vectors(net, machine))
    return replace(machine, **_rows(net, machine), **_sparse(net))


Measure = Callable[..., float]


def _bytes(*shapes: Shape) -> int:
    return _ITEM * sum(map(math.prod, shapes))


def _rate(n_bytes: float, us: float) -> float:
    """bytes/us; of next to no time, as good as free."""
    return min(n_bytes / us, _FREE) if us > 0 else _FREE


def _launches(us: Measure) -> dict[str, Any]:
    """An eager call of the ops that einsums are made of; a graph's by the length of a chain."""
    eager = [
        us("reshape", (8, 2), target="eager"),
        us("permute", (4, 4), axes=(1, 0), target="eager"),
        us("einsum", (4, 4), (4, 4), equation="ij,jk->ik", target="eager"),
    ]
    long, short, kernels = 65, 1, 5  # of them in each link of a chain
    chain = us("chain", (4, 4), length=long) - us("chain", (4, 4), length=short)
    return {
        "eager_launch": sum(eager) / len(eager),
        "graph_launch": max(chain / (long - short) / kernels, 0.1),
    }


def _memory(net: Measure) -> dict[str, Any]:
    """A product that moves 34 MB; and one of 67 MB, whose result may need fresh pages."""
    wide, column = (64, 65536), (64, 1)
    stream = _rate(_bytes(wide, wide), net("multiply", wide, column))
    big = (4096, 4096)
    extra = net("multiply", big, (4096, 1)) - _bytes(big, big) / stream
    noise = 0.3 * _bytes(big, big) / stream
    rows, columns = (256, 128, 1), (256, 1, 128)
    outer = _rate(_bytes((256, 128, 128), rows, columns), net("multiply", rows, columns))
    return {
        "stream": stream,
        "stream_outer": min(outer, stream),
        "fresh": _rate(_bytes(big), extra) if extra > noise else _FREE,
    }


def _permutes(net: Measure, m: Machine) -> dict[str, Any]:
    """Of two to four dimensions, by their geometric mean; and of rows of 256 bytes."""
    cube, rows = (16, 64, 64, 64), (0, 2, 1, 3)
    inner = ((16, 512, 512), (0, 2, 1)), ((1024, 4096), (1, 0)), (cube, (3, 2, 1, 0))

    def rate(shape: Shape, axes: Sequence[int], target: Target = "graph") -> float:
        return _rate(2 * _bytes(shape), net("permute", shape, axes=axes, target=target))

    def inner_rate(target: Target) -> float:
        rates = [rate(shape, axes, target) for shape, axes in inner]
        return math.prod(rates) ** (1 / len(rates))

    permute_inner = inner_rate("graph")
    # The same product with permutes inside the op and outside.
    scores, values = (8, 8, 256, 256), (8, 256, 8, 64)
    inside = net("einsum", scores, values, equation="bhts,bshd->bthd")
    matmul = net("matmul", scores, (8, 8, 256, 64))
    factor = (inside - matmul) / (4 * _bytes(values) / permute_inner)
    return {
        "permute_inner": permute_inner,
        "permute_rows": rate(cube, rows),
        "xla_permute_inner": inner_rate("xla"),
        "xla_permute_rows": rate(cube, rows, "xla"),
        "einsum_permute_factor": min(max(factor, 0.25), 4.0),
    }


def _matmuls(net: Measure, m: Machine) -> dict[str, Any]:
    """A large product, ones with a short side, many small ones, and ones that read across rows."""
    n, short = 1024, 64
    full = net("matmul", (n, n), (n, n))

    def halves(us: float) -> float:
        """The length that halves the rate, if `us` is the time of a product with a short one."""
        return min(max(short * (us / (full * short / n) - 1), 0.0), 64.0)

    sides = [
        halves(net("matmul", (short, n), (n, n))),
        halves(net("matmul", (n, n), (n, short))),
    ]
    depth = halves(net("matmul", (n, short), (short, n)))
    tall = (4096, 512)
    einsum = net("einsum", tall, tall, equation="ij,ik->jk")
    factor = einsum / net("matmul", tall, tall, transpose_a=True)
    batch = 20_000
    start = net("matmul", (batch, 4, 4), (batch, 4, 4)) - _bytes(*[(batch, 4, 4)] * 3) / m.stream
    return {
        "flops": 2 * n**3 / full,
        "matmul_side": sum(sides) / 2,
        "matmul_depth": depth,
        "einsum_matmul_factor": min(max(factor, 1.0), 4.0),
        "matmul_start": max(start / batch, 1e-4),
        **_across_rows(net),
    }


def _across_rows(net: Measure) -> dict[str, Any]:
    """Products whose operands are read across their rows, and as they are, by each kernel."""
    deep, wide, batch, edge = 4096, 512, 16, 512
    # Thin on the left, on the right; and the letters for the Einsum op, the thin one second.
    flat, thin = (64, deep), (wide, deep)

    def rate(extra: float, shape: Shape) -> float:
        return _rate(_bytes(shape), max(extra, 0.0))

    left = net("matmul", thin[::-1], flat[::-1], transpose_a=True) - net("matmul", thin, flat[::-1])
    right = net("matmul", flat, thin, transpose_b=True) - net("matmul", flat, thin[::-1])
    square = (batch, edge, edge)
    small = (batch, edge, 64)
    batch_left = net("matmul", square, small, transpose_a=True) - net("matmul", square, small)
    row = (batch, 64, edge)
    batch_right = net("matmul", row, square, transpose_b=True) - net("matmul", row, square)

    def einsum(equation: str, *shapes: Shape) -> float:
        return net("einsum", *shapes, equation=equation)

    einsum_left = einsum("ji,jk->ik", thin[::-1], flat[::-1]) - einsum(
        "ij,jk->ik", thin, flat[::-1]
    )
    xla_left = net("matmul", thin[::-1], flat[::-1], transpose_a=True, target="xla") - net(
        "matmul", thin, flat[::-1], target="xla"
    )
    xla_right = net("matmul", flat, thin, transpose_b=True, target="xla") - net(
        "matmul", flat, thin[::-1], target="xla"
    )
    einsum_right = einsum("ij,kj->ik", flat, thin) - einsum("ij,jk->ik", flat, thin[::-1])
    return {
        "across_left": rate(left, thin),
        "across_right": rate(right, thin),
        "batch_across_left": rate(batch_left, square),
        "batch_across_right": rate(batch_right, square),
        "einsum_across_left": rate(einsum_left, thin),
        "einsum_across_right": rate(einsum_right, thin),
        "xla_across_left": rate(xla_left, thin),
        "xla_across_right": rate(xla_right, thin),
    }


def _vectors(net: Measure, m: Machine) -> dict[str, Any]:
    """Products with vectors: of matrices, of each other, and with nothing to sum."""
    matrices = (16, 1024, 1024)
    rows = (64, 65536)
    small, large = (256, 128, 1), (64, 256, 1)
    short = (2**19, 2)

    def outer(shape: Shape) -> float:
        b, n, _ = shape
        product = net("matmul", shape, (b, 1, n))
        return _rate(_bytes((b, n, n), shape, shape), product - m.matmul_start * b)

    dots = net("matmul", (rows[0], 1, rows[1]), (*rows, 1))
    first, last = (16, 1, 1024), (16, 1024, 1)

    def product(a: Shape, b: Shape, **options: bool) -> float:
        return _rate(_bytes(matrices), net("matmul", a, b, **options))

    matvec = product(matrices, last)
    short_dots = net("matmul", short, (2, 1)) - _bytes(short) / matvec
    square = (4096, 4096)
    inside = net("einsum", square, square[:1], equation="ij,j->i")
    factor = inside / net("matmul", square, (4096, 1))
    return {
        "vecmat": product(first, matrices),
        "vecmat_across": product(first, matrices, transpose_b=True),
        "matvec": matvec,
        "matvec_across": product(matrices, last, transpose_a=True),
        "einsum_vector_factor": min(max(factor, 1.0), 4.0),
        "dot": _rate(2 * _bytes(rows), dots),
        "dot_run": max(short_dots / short[0], 0.0),
        "outer": outer(small),
        "large_outer": outer(large),
    }


def _rows(net: Measure, m: Machine) -> dict[str, Any]:
    """Short innermost dimensions, sums over both ends, and diagonals."""
    short, n = (2**19, 2), 2**19
    starts = net("multiply", short, (2,)) - 2 * _bytes(short) / m.stream
    both = (2048, 64, 8)
    matrices, rows = (16, 1024, 1024), (16, 1, 1024)
    fused = net("multiply_and_sum", matrices, rows, axes=(2,), target="xla")
    batch, one = (1024, 128), (4096,)
    outer = ((16, 1024, 1024), (1,)), ((4096, 4096), (0,))
    sums = [_rate(_bytes(shape), net("sum", shape, axes=axes)) for shape, axes in outer]
    return {
        "sum_outer": math.prod(sums) ** (1 / len(sums)),
        "run": max(starts / n, 0.0),
        "sum_both_ends": _rate(_bytes(both), net("sum", both, axes=(0, 2))),
        "xla_sum": _rate(_bytes(matrices), fused),
        "diag": _rate(_bytes((*batch, 128)), net("diag", batch)),
        "diag_one": _rate(_bytes((*one, 4096)), net("diag", one)),
    }


def _sparse(net: Measure) -> dict[str, Any]:
    """160,000 entries of a (4000, 4000) matrix by 64 columns."""
    entries, side, columns = 160_000, 4000, 64
    rows = 2 * _bytes((entries, columns))
    return {
        "gather": _rate(rows, net("gather", (side, columns), entries=entries)),
        "segment_sum": _rate(rows, net("segment_sum", (entries, columns), segments=side)),
        "sparse_matmul": _rate(rows, net("sparse_matmul", (side, columns), entries=entries)),
    }
