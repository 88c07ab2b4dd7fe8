"""Hostile input: changed bytes for each reader of files, a signal for each command; counts in lines."""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tf_einsum_grad.benchmark import Report
from tf_einsum_grad.cli import models
from tf_einsum_grad.execution.here import circumstances
from tf_einsum_grad.lowering.machine import CPU
from tf_einsum_grad.lowering.machine_file import read_machine, write_machine

COMMANDS = {
    "demo": ("demo",),
    "explain": ("explain", "ij,jk->ik", "3,4", "4,5"),
    "check equation": ("check", "ij,jk->ik", "300,4", "4,5"),
    "check model": ("check", "model.keras", "--json", "out"),
    "bench": ("bench", "ij,jk->ik", "64,64", "64,64", "--json", "out"),
    "profile": ("profile", "model.keras", "--json", "out"),
    "tune": ("tune", "ij,jk->ik", "64,64", "64,64", "--output", "out"),
}
MOMENTS = (0.4, 1.0, 2.0, 3.0, 5.0)  # seconds; before the first Python itself is starting
OLD = "what stood there before"


def make_model() -> keras.Model:
    """A small one, with an einsum."""
    x = keras.Input((3,), name="x")
    return keras.Model(x, keras.layers.EinsumDense("bi,ij->bj", output_shape=2)(x))


def readers(folder: Path) -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    """Of each: a file that it takes, and the call that reads one."""
    model = make_model()
    model.save(folder / "model.keras")
    np.savez_compressed(folder / "x.npz", x=np.ones((2, 3)))

    def at(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        return lambda data: (path.write_bytes(data), read(path))

    npz = at(folder / "f.npz", lambda path: models.inputs_for(model, path, seed=0))
    machine = write_machine(CPU, circumstances()).encode()
    report = Path("docs/benchmark.json").read_bytes()
    return {
        "npz": ((folder / "x.npz").read_bytes(), npz),
        "keras": ((folder / "model.keras").read_bytes(), at(folder / "f.keras", models.load)),
        "machine": (machine, lambda data: read_machine(data.decode(), "f")),
        "report": (report, lambda data: Report.from_json(data.decode())),
    }


def changed(whole: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes, and a file of which a piece is replaced."""
    at = st.integers(0, len(whole))
    piece = st.tuples(at, at, st.binary(max_size=20))
    return st.binary() | piece.map(lambda x: whole[: x[0]] + x[2] + whole[x[1] :])


def fuzz(kind: str, whole: bytes, read: Callable[[bytes], object], seconds: float) -> int:
    """Reads changed files; each may be taken, or refused by a ValueError."""
    counts: collections.Counter[str] = collections.Counter()
    failures: set[str] = set()
    end = time.monotonic() + seconds

    @settings(max_examples=50, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(changed(whole))
    def once(data: bytes) -> None:
        try:
            read(data)
            counts["taken"] += 1
        except ValueError:
            counts["refused"] += 1
        except Exception as error:
            counts["failed"] += 1
            failures.add(f"{type(error).__name__}: {str(error)[:100]!r}")

    while time.monotonic() < end:
        once()
    print(f"{kind}: {dict(counts)}", *sorted(failures), sep="\n  FAILED ", flush=True)
    return len(failures)


def is_whole(text: str) -> bool:
    """Whether it is what stood there, or all that was to be written."""
    with contextlib.suppress(json.JSONDecodeError):
        json.loads(text)
        return True
    return text == OLD


def interrupt(folder: Path, name: str, moment: float) -> str:
    """Sends Ctrl-C to a command; what is wrong afterwards, nothing if all is well."""
    (folder / "out").write_text(OLD)
    before = {path.name for path in folder.iterdir()}
    process = subprocess.Popen(
        [sys.executable, "-m", "tf_einsum_grad", *COMMANDS[name]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    try:
        stderr = process.communicate(timeout=30)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "hangs"
    if process.returncode == 0:
        return ""  # it was done
    left = {path.name for path in folder.iterdir()} - before
    # Python ends by the signal itself where that came inside of a string that it executes, as for a
    # dataclass; to a shell both are 130.
    codes = (128 + signal.SIGINT, -signal.SIGINT)
    found = {
        f"exit code {process.returncode}": process.returncode not in codes,
        "traceback": "Traceback" in stderr,
        "does not say so": "interrupted" not in stderr,
        f"left {left}": left,
        "half an output": not is_whole((folder / "out").read_text()),
    }
    return ", ".join(what for what, wrong in found.items() if wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="of changed bytes, in all")
    arguments = parser.parse_args()
    # A shell has what it starts in the background ignore Ctrl-C, and so would our commands.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = readers(folder)
        for kind, (whole, read) in kinds.items():
            failed += fuzz(kind, whole, read, arguments.minutes * 60 / len(kinds))
        for command in COMMANDS:
            wrong = {m: interrupt(folder, command, m) for m in MOMENTS}
            bad = [f"after {m} s: {what}" for m, what in wrong.items() if what]
            print(f"{command}: {len(MOMENTS)} interrupted", *bad, sep="\n  FAILED ", flush=True)
            failed += len(bad)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
