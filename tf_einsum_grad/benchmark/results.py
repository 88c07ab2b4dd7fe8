"""What was measured, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tf_einsum_grad.benchmark.statistics import Ratio, Timing, geometric_mean
from tf_einsum_grad.benchmark.workloads import Mode, Pass, PeerName, Workload

__all__ = [
    "Comparison",
    "Curve",
    "Environment",
    "Failure",
    "Line",
    "MachineLimit",
    "Measurement",
    "Memory",
    "Overhead",
    "Peer",
    "Results",
]


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a report comes from; `threads` is how many TensorFlow and its peers may use."""

    date: str
    machine: str
    device: str
    threads: int
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MachineLimit:
    """The rates that bound any implementation, for one dtype.

    Attributes:
        dtype: of the matrices and tensors measured.
        flops_per_second: real multiplications and additions in a large square `tf.matmul`.
        bytes_per_second: read and written by the best streaming operation.
    """

    dtype: str
    flops_per_second: float
    bytes_per_second: float

    def seconds(self, workload: Workload, which: Pass) -> float:
        """The larger of FLOPs over GEMM rate and compulsory bytes over bandwidth.

        Both passes take the sum of the two, since the second needs the first one's result.
        """
        if which == "both":
            return self.seconds(workload, "forward") + self.seconds(workload, "backward")
        return max(
            workload.flops(which) / self.flops_per_second,
            workload.compulsory_bytes(which) / self.bytes_per_second,
        )

    def best(self, other: MachineLimit) -> MachineLimit:
        """The higher rates of two measurements: what slows a machine hides its limit."""
        return MachineLimit(
            self.dtype,
            max(self.flops_per_second, other.flops_per_second),
            max(self.bytes_per_second, other.bytes_per_second),
        )


@dataclass(frozen=True, slots=True)
class Measurement:
    """One pass of a workload in one mode.

    Attributes:
        mode: how it ran.
        which: the pass.
        ours: seconds of `tf_einsum_grad.einsum`.
        native: seconds of `tf.einsum`.
        ratio: how many times faster ours is.
    """

    mode: Mode
    which: Pass
    ours: Timing
    native: Timing
    ratio: Ratio


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak bytes of both passes in one mode: operands, results, gradients and what is between.

    `needed` is the operands, the incoming gradient, the result and the gradients by themselves.
    """

    mode: Mode
    ours: int
    native: int
    needed: int


@dataclass(frozen=True, slots=True)
class Peer:
    """Another library on the same inputs: both passes, against ours in graph mode.

    Attributes:
        name: of the library.
        timing: its own.
        ours: ours, measured in turn with it.
    """

    name: PeerName
    timing: Timing
    ours: Timing

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.timing.median / self.ours.median


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything measured of one workload."""

    workload: Workload
    measurements: tuple[Measurement, ...]
    memory: tuple[Memory, ...] = ()
    peers: tuple[Peer, ...] = ()

    def find(self, mode: Mode, which: Pass = "both") -> Measurement | None:
        """The measurement of one pass in one mode, None where it was not made."""
        return next((m for m in self.measurements if (m.mode, m.which) == (mode, which)), None)


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be measured, and why: above all, results that were wrong."""

    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Overhead:
    """Seconds of one eager call on tiny matrices: what is left is the cost of the call itself."""

    which: Pass
    kernels: float
    ours: float
    native: float


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds over a size."""

    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """How cost grows with one size, for several variants."""

    title: str
    size: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that a run measured; a `Report` is this, and shows it."""

    environment: Environment
    limits: tuple[MachineLimit, ...]
    comparisons: tuple[Comparison, ...]
    failures: tuple[Failure, ...] = ()
    overheads: tuple[Overhead, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes measured, in order."""
        return tuple(dict.fromkeys(m.mode for c in self.comparisons for m in c.measurements))

    @property
    def main_mode(self) -> Mode:
        """The mode that times are shown for: graph where it was measured."""
        return "graph" if "graph" in self.modes else next(iter(self.modes), "graph")

    def geometric_mean(self, mode: Mode, which: Pass = "both") -> float:
        """The geometric mean of the ratios over all workloads; nan where none was measured."""
        found = (c.find(mode, which) for c in self.comparisons)
        return geometric_mean([m.ratio.value for m in found if m is not None])

    def limit_seconds(self, workload: Workload, which: Pass = "both") -> float:
        """The time that the machine's rates allow for a workload; nan for an unmeasured dtype."""
        rates = (limit for limit in self.limits if limit.dtype == workload.dtype)
        return next((limit.seconds(workload, which) for limit in rates), math.nan)

    def bound_by(self, workload: Workload) -> Literal["matmul", "memory"]:
        """Which of the two rates bounds a workload."""
        limit = next(limit for limit in self.limits if limit.dtype == workload.dtype)
        arithmetic = workload.flops("both") / limit.flops_per_second
        traffic = workload.compulsory_bytes("both") / limit.bytes_per_second
        return "matmul" if arithmetic > traffic else "memory"
