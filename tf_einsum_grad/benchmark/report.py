"""What was measured, as data: frozen, to and from JSON, and shown in several ways."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_einsum_grad.benchmark.statistics import Ratio, Timing, geometric_mean
from tf_einsum_grad.benchmark.workloads import Workload

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
    "Report",
]

SCHEMA = 1


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

    def seconds(self, workload: Workload, which: str) -> float:
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
        mode: `eager`, `graph` or `xla`.
        which: `forward`, `backward` or `both`.
        ours: seconds of `tf_einsum_grad.einsum`.
        native: seconds of `tf.einsum`.
        ratio: how many times faster ours is.
    """

    mode: str
    which: str
    ours: Timing
    native: Timing
    ratio: Ratio


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak bytes of both passes in one mode: operands, results, gradients and what is between.

    `needed` is the operands, the incoming gradient, the result and the gradients by themselves.
    """

    mode: str
    ours: int
    native: int
    needed: int


@dataclass(frozen=True, slots=True)
class Peer:
    """Another library on the same inputs: both passes, against ours in graph mode.

    Attributes:
        name: `torch` or `jax`.
        timing: its own.
        ours: ours, measured in turn with it.
    """

    name: str
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

    def find(self, mode: str, which: str = "both") -> Measurement | None:
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

    which: str
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
class Report:
    """What `compare` and `run_suite` return.

    Example:
        >>> from tf_einsum_grad.benchmark import compare
        >>> report = compare("ij,jk->ik", (8, 8), (8, 8), modes=("graph",), quick=True)
        >>> Report.from_json(report.to_json()) == report
        True
    """

    environment: Environment
    limits: tuple[MachineLimit, ...]
    comparisons: tuple[Comparison, ...]
    failures: tuple[Failure, ...] = ()
    overheads: tuple[Overhead, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes measured, in order."""
        return tuple(dict.fromkeys(m.mode for c in self.comparisons for m in c.measurements))

    @property
    def main_mode(self) -> str:
        """The mode that times are shown for: graph where it was measured."""
        return "graph" if "graph" in self.modes else next(iter(self.modes), "graph")

    def geometric_mean(self, mode: str, which: str = "both") -> float:
        """The geometric mean of the ratios over all workloads; nan where none was measured."""
        found = (c.find(mode, which) for c in self.comparisons)
        return geometric_mean([m.ratio.value for m in found if m is not None])

    def limit_seconds(self, workload: Workload, which: str = "both") -> float:
        """The time that the machine's rates allow for a workload; nan for an unmeasured dtype."""
        rates = (limit for limit in self.limits if limit.dtype == workload.dtype)
        return next((limit.seconds(workload, which) for limit in rates), math.nan)

    def bound_by(self, workload: Workload) -> str:
        """Which of the two rates bounds a workload: `matmul` or `memory`."""
        limit = next(limit for limit in self.limits if limit.dtype == workload.dtype)
        arithmetic = workload.flops("both") / limit.flops_per_second
        traffic = workload.compulsory_bytes("both") / limit.bytes_per_second
        return "matmul" if arithmetic > traffic else "memory"

    def to_json(self, path: str | Path | None = None) -> str:
        """The report as JSON, which `from_json` reads; also written to `path` if given."""
        text = json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, indent=1) + "\n"
        return _write(text, path)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is no report, or one of another version of the package.
        """
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA:
                raise ValueError(f"requires a report of schema {SCHEMA}, got {data['schema']}")
            return _decode(cls, data)  # type: ignore[no-any-return]
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a report of this benchmark ({error!r})") from error

    def to_markdown(self, path: str | Path | None = None) -> str:
        """The report as a Markdown table; also written to `path` if given."""
        from tf_einsum_grad.benchmark.tables import to_markdown

        return _write(to_markdown(self), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """The report as one self-contained page with charts; also written to `path` if given."""
        from tf_einsum_grad.benchmark.page import to_html

        return _write(to_html(self), path)

    def plot(self, path: str | Path | None = None) -> Any:
        """The report as a Matplotlib figure; also saved to `path` (.png, .svg, .pdf) if given.

        Raises:
            ImportError: Matplotlib is missing; it comes with the extra `plot`.
        """
        from tf_einsum_grad.benchmark.charts import plot

        return plot(self, path)


def _write(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, "utf-8")
    return text


def _decode(kind: Any, data: Any) -> Any:
    """Rebuilds a (nested) dataclass from what JSON made of it."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = {f.name: _decode(hints[f.name], data[f.name]) for f in dataclasses.fields(kind)}
        return kind(**fields)
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        kinds = [inner[0]] * len(data) if inner[-1] is Ellipsis else inner
        return tuple(_decode(k, x) for k, x in zip(kinds, data, strict=True))
    return data
