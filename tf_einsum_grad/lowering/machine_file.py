"""Machines as files: what was measured, and where. JSON, which people may read."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from tf_einsum_grad.algebra.errors import MachineError
from tf_einsum_grad.lowering.machine import Machine

__all__ = ["SCHEMA", "Circumstances", "read_machine", "write_machine"]

SCHEMA = 1
_TABLES = {"winners", "compiled", "name"}
_RATES = {field.name for field in dataclasses.fields(Machine)} - _TABLES


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a measurement holds for.

    Attributes:
        device: the processor or the GPU.
        threads: that TensorFlow runs a kernel on.
        onednn: whether oneDNN's kernels are on.
        tensorflow, keras, tf_einsum_grad: versions.
    """

    device: str
    threads: int
    onednn: bool
    tensorflow: str
    keras: str
    tf_einsum_grad: str

    def differences(self, other: Circumstances) -> list[str]:
        """What is different elsewhere, in words."""
        return [
            f"{field.name} {getattr(self, field.name)}, here {getattr(other, field.name)}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]


def write_machine(machine: Machine, circumstances: Circumstances) -> str:
    """A machine as a file holds it.

    Example:
        >>> from tf_einsum_grad.lowering.machine import CPU
        >>> here = Circumstances("a CPU", 2, False, "2.21.0", "3.15.0", "0.1.0")
        >>> read_machine(write_machine(CPU, here), "cpu.json")[1] == here
        True
    """
    content = {
        "schema": SCHEMA,
        "name": machine.name,
        "circumstances": dataclasses.asdict(circumstances),
        "rates": {name: getattr(machine, name) for name in sorted(_RATES)},
        "winners": dict(sorted(machine.winners.items())),
        "compiled": sorted(machine.compiled),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def read_machine(text: str, source: str) -> tuple[Machine, Circumstances]:
    """The machine of a file, and what it holds for.

    Args:
        text: what stands in it.
        source: what it is called, for messages.

    Raises:
        MachineError: it is no such file.
    """
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _unusable(source, f"JSON, got {_brief(error)}") from error
    reader = _Reader(source)
    top = reader.mapping(content, "the file")
    if top.get("schema") != SCHEMA:
        raise _unusable(source, f"schema {SCHEMA}, got {top.get('schema')!r}")
    rates = reader.mapping(top.get("rates"), "rates")
    if set(rates) != _RATES:
        wrong = ", ".join(sorted(set(rates) ^ _RATES)[:3])
        raise _unusable(source, f"each rate of a machine and no other, got a difference in {wrong}")
    winners = reader.mapping(top.get("winners"), "winners")
    compiled = top.get("compiled")
    if not isinstance(compiled, list):
        raise _unusable(source, f"a list as compiled, got {type(compiled).__name__}")
    made = {name: reader.rate(name, value) for name, value in rates.items()}
    table = {key: reader.text(value, f"winner of {key!r}") for key, value in winners.items()}
    machine = Machine(
        name=reader.text(top.get("name"), "name"),
        winners=table,
        compiled=frozenset(reader.text(key, "compiled einsum") for key in compiled),
        **made,
    )
    return machine, reader.circumstances(top.get("circumstances"))


def _no_constant(name: str) -> float:
    raise ValueError(f"the number {name}")


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:80]


def _unusable(source: str, what: str) -> MachineError:
    error: MachineError = MachineError(f"machine file {source!r} requires {what}")
    return error


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads parts of a file, and says what is wrong with one."""

    source: str

    def mapping(self, value: object, what: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _unusable(self.source, f"an object as {what}, got {type(value).__name__}")
        return value

    def text(self, value: object, what: str) -> str:
        if not isinstance(value, str):
            raise _unusable(self.source, f"text as {what}, got {type(value).__name__}")
        return value

    def rate(self, name: str, value: object) -> Any:
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric or not math.isfinite(float(value)) or float(value) < 0:  # type: ignore[arg-type]
            raise _unusable(self.source, f"a number from 0 on as {name}, got {value!r:.40}")
        if name not in _MAY_BE_ZERO and value == 0:
            raise _unusable(self.source, f"a number above 0 as {name}, got 0")
        return value

    def circumstances(self, value: object) -> Circumstances:
        given = self.mapping(value, "circumstances")
        fields = {field.name: field.type for field in dataclasses.fields(Circumstances)}
        kinds: dict[Any, type] = {"str": str, "int": int, "bool": bool}
        for name, kind in fields.items():
            if type(given.get(name)) is not kinds[kind]:
                raise _unusable(self.source, f"{kind} as {name}, got {given.get(name)!r:.40}")
        return Circumstances(**{name: given[name] for name in fields})


# Times and factors; what else there is divides.
_MAY_BE_ZERO = {
    "eager_launch",
    "graph_launch",
    "xla_launch",
    "device_launch",
    "batch_start",
    "fresh_limit",
    "short_row",
    "cache",
    "diagonal_reads",
    "matmul_side",
    "matmul_depth",
    "matmul_start",
    "dot_run",
    "long_dot",
    "large_outer_limit",
    "run",
    "long_run",
}
