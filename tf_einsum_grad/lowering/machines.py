"""The machines that come with the package, and which one is decided for where nobody says.

That is a fact: `execution.machines` asks TensorFlow for it. Where TensorFlow is not loaded, as in
`tf-einsum-grad explain`, it is `CPU`, and explanations say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from tf_einsum_grad.algebra.errors import MachineError
from tf_einsum_grad.lowering.machine import CPU, Machine

__all__ = ["CPU_ONEDNN", "GPU", "MACHINES", "ask", "chosen", "machine_here", "shipped", "using"]

# Measured by `ci/calibrate` on 2 cores of an AMD EPYC with AVX512_VNNI, TensorFlow 2.21: the
# fastest of three runs' calls.
CPU_ONEDNN = replace(
    CPU,
    name="cpu-onednn",
    eager_launch=18.0,
    graph_launch=0.5,
    stream=66_000.0,
    stream_outer=36_000.0,
    fresh=1e12,  # its allocator keeps memory
    permute_inner=20_000.0,
    permute_rows=35_000.0,
    most_permute_dims=12,
    xla_permute_inner=31_000.0,
    xla_permute_rows=57_000.0,
    einsum_permute_factor=3.2,
    diag=6_600.0,
    diag_one=4_000.0,
    flops=430_000.0,
    matmul_side=22.0,
    matmul_depth=14.0,
    matmul_start=0.024,
    across_left=300_000.0,
    across_right=5_600.0,
    batch_across_left=16_000.0,
    batch_across_right=58_000.0,
    einsum_across_left=58_000.0,
    einsum_across_right=1e12,
    long_row=256,
    batch_start=40.0,
    vecmat=19_000.0,
    vecmat_across=27_000.0,
    matvec=21_000.0,
    matvec_across=15_000.0,
    einsum_matmul_factor=1.1,
    einsum_vector_factor=1.7,
    dot_run=0.00046,
    dot=13_000.0,
    outer=48_000.0,
    large_outer=48_000.0,
    run=0.0012,
    sum_outer=11_000.0,
    sum_both_ends=2_400.0,
    xla_sum=12_000.0,
    gather=84_000.0,
    segment_sum=5_000.0,
    sparse_matmul=8_400.0,
)

# What starts a kernel, from the times of 1,382 candidates for 397 contractions, in graphs on one
# NVIDIA H200 (docs/gpu/candidates.jsonl.gz): a view takes 18 us, a permute 31, most of it on the
# host. Rates are from what is published of A100 and H100: 2 to 3.4 TB/s, 150 to 500 TFLOP/s of
# TF32, which TensorFlow multiplies float32 in by itself, and twice that of halves. cuBLAS takes
# either operand transposed for nothing.
GPU = replace(
    CPU,
    name="gpu",
    eager_launch=18.0,
    graph_launch=18.0,
    device_launch=13.0,
    stream=2_000_000.0,
    # BFC's allocator keeps memory; nothing is fresh.
    fresh_limit=2**62,
    # TensorFlow's tiled kernels swap two dimensions near the bandwidth; others reach half of it.
    permute_inner=1_000_000.0,
    permute_rows=1_500_000.0,
    permute_many=500_000.0,
    xla_permute_inner=1_500_000.0,
    xla_permute_rows=2_000_000.0,
    einsum_permute_factor=1.0,  # by the same kernels
    diag=500_000.0,
    diag_one=500_000.0,
    # A tile is 128 by 128, and the products of a batch are a grid of tiles.
    flops=150_000_000.0,
    matmul_side=64,
    matmul_depth=32,
    matmul_start=0.0002,
    across_left=1e12,
    across_right=1e12,
    batch_across_left=1e12,
    batch_across_right=1e12,
    einsum_across_left=1e12,
    einsum_across_right=1e12,
    xla_across_left=1e12,
    vecmat=1_500_000.0,
    vecmat_across=1_500_000.0,
    matvec=1_500_000.0,
    matvec_across=1_500_000.0,
    dot_run=0.0,
    dot=700_000.0,
    outer=1_500_000.0,
    large_outer=1_500_000.0,
    # Threads take neighboring elements, whatever dimension they are of.
    run=0.0,
    sum_outer=1_500_000.0,
    sum_both_ends=700_000.0,
    xla_sum=1_500_000.0,
    gather=1_000_000.0,
    segment_sum=300_000.0,
    sparse_matmul=500_000.0,
)

MACHINES = {machine.name: machine for machine in (CPU, CPU_ONEDNN, GPU)}

_chosen: ContextVar[Machine | None] = ContextVar("machine", default=None)
_asked: list[Callable[[], Machine]] = []


def shipped(name: str) -> Machine:
    """The machine of that name that comes with the package: "cpu", "cpu-onednn" or "gpu".

    Raises:
        MachineError: there is none.

    Example:
        >>> shipped("gpu").name
        'gpu'
    """
    if name not in MACHINES:
        raise MachineError(f"requires a machine among {', '.join(MACHINES)}, got {name!r}")
    return MACHINES[name]


@contextmanager
def using(machine: Machine) -> Iterator[Machine]:
    """Decides for this machine, whatever runs, in this thread until the context is left."""
    token = _chosen.set(machine)
    try:
        yield machine
    finally:
        _chosen.reset(token)


def chosen() -> Machine | None:
    """The machine that somebody chose; None where that is left to the facts."""
    return _chosen.get()


def ask(find: Callable[[], Machine]) -> None:
    """Has `find` say from now on which machine there is where nobody chose one."""
    _asked[:] = [find]


def machine_here() -> Machine:
    """The machine that decisions are made for."""
    return chosen() or (_asked[0]() if _asked else CPU)
