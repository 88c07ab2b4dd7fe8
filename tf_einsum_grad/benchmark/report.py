"""What was measured, as data: frozen, and to and from JSON."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_einsum_grad.benchmark.statistics import Ratio, Timing, geometric_mean

__all__ = ["Comparison", "Environment", "Failure", "Measurement", "Report"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a report comes from."""

    date: str
    machine: str
    device: str
    threads: int
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """The measured rates of the machine for one dtype."""

    dtype: str
    flops_per_second: float
    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """One pass of a workload in one mode.

    Attributes:
        mode: `eager`, `graph` or `xla`.
        which: `forward`, `backward` or `both`.
        ours: seconds of `tf_einsum_grad.einsum`.
        native: seconds of `tf.einsum`.
        ratio: how many times faster ours is.
        limit: seconds that the machine's GEMM rate and bandwidth allow.
    """

    mode: str
    which: str
    ours: Timing
    native: Timing
    ratio: Ratio
    limit: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak bytes of both passes in one mode: operands, results, gradients and what is between."""

    mode: str
    ours: int
    native: int
    needed: int


@dataclass(frozen=True, slots=True)
class Peer:
    """Another library on the same inputs, compiled where it compiles: seconds of both passes."""

    name: str
    timing: Timing


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything measured of one workload."""

    name: str
    category: str
    equation: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    bound_by: str
    measurements: tuple[Measurement, ...]
    memory: tuple[Memory, ...] = ()
    peers: tuple[Peer, ...] = ()

    def find(self, mode: str, which: str = "both") -> Measurement | None:
        """The measurement of one pass in one mode, None where it was not made."""
        return next((m for m in self.measurements if (m.mode, m.which) == (mode, which)), None)


@dataclass(frozen=True, slots=True)
class Failure:
    """A workload that gave wrong results, or none."""

    name: str
    message: str


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
    limits: tuple[Limit, ...]
    comparisons: tuple[Comparison, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes measured, in order."""
        found = (m.mode for c in self.comparisons for m in c.measurements)
        return tuple(dict.fromkeys(found))

    def geometric_mean(self, mode: str, which: str = "both") -> float:
        """The geometric mean of the ratios over all workloads; nan where none was measured."""
        found = (c.find(mode, which) for c in self.comparisons)
        return geometric_mean([m.ratio.value for m in found if m is not None])

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
                raise ValueError(f"a report of schema {data['schema']}, this is schema {SCHEMA}")
            return _decode(cls, data)  # type: ignore[no-any-return]
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a report of this benchmark: {error!r}") from error

    def to_markdown(self, path: str | Path | None = None) -> str:
        """The report as a Markdown table; also written to `path` if given."""
        from tf_einsum_grad.benchmark.tables import to_markdown

        return _write(to_markdown(self), path)


def _write(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, "utf-8")
    return text


def _decode(kind: Any, data: Any) -> Any:
    """Rebuilds a (nested) dataclass from what JSON made of it."""
    if isinstance(kind, types.UnionType):
        inner = next(k for k in typing.get_args(kind) if k is not type(None))
        return None if data is None else _decode(inner, data)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(
            **{f.name: _decode(hints[f.name], data[f.name]) for f in dataclasses.fields(kind)}
        )
    if typing.get_origin(kind) is tuple:
        arguments = typing.get_args(kind)
        inner = [arguments[0]] * len(data) if arguments[-1] is Ellipsis else arguments
        return tuple(_decode(k, x) for k, x in zip(inner, data, strict=True))
    return data
