"""Mutation testing: changes code a spot at a time and counts, room by room, the changes that tests see.

Everything happens in a copy of what git knows here. Each run of the tests is a fork of this process, which has
imported what tests need and nothing of the package; one that takes far longer than it should counts as killed.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "tf_einsum_grad"
IMPORTED = ("numpy", "hypothesis.strategies", "opt_einsum", "tensorflow", "keras")
MEMORY = 12 << 30  # bytes of address space, for a mutant that asks for all there is
# Before any survivor is looked at again: what takes seconds and concerns many modules at once.
SLOW = (
    "two_thousand or paths_that_others or beats_the_greedy or same_plan_in_every_process or "
    "every_path_gives or whatever_stands or no_tensorflow"
)


@dataclass(frozen=True)
class Room:
    sources: str  # below the package
    tests: str  # below tests/
    wider: tuple[str, ...]  # what survivors are shown as well


WHOLE = ("tests/test_ops.py", "tests/test_errors.py", "tests/test_ops_corpus.py")
ROOMS = {
    "algebra": Room("algebra", "algebra", ("tests/algebra", "tests/explaining", *WHOLE)),
    "lowering": Room("lowering", "lowering", ("tests/lowering", "tests/planning", "tests/explaining", *WHOLE)),
    "planning": Room("planning", "planning", ("tests/planning", "tests/explaining", *WHOLE)),
    "verdict": Room("gradcheck/verdict.py", "gradcheck/test_verdict.py", ("tests/gradcheck/test_cases.py",)),
    "execution": Room("execution", "execution", WHOLE),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    path: str  # from the root
    operator: str
    source: str

    def __str__(self) -> str:
        before = (ROOT / self.path).read_text("utf-8").splitlines()
        after = self.source.splitlines()
        changed = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
        at = changed[0].split()[1].lstrip("-").split(",")[0]
        was, now = (" ".join(x[1:].strip() for x in changed if x[0] == sign) for sign in "-+")
        return f"{self.path.removeprefix(PACKAGE + '/')}:{at}: `{was}` -> `{now}`"

    def mirror(self, room: Room) -> Path:
        return Path("tests", room.tests) / f"test_{Path(self.path).stem}.py"


def draw(room: Room, seed: int, n: int) -> list[Mutant]:
    under = ROOT / PACKAGE / room.sources
    files = [under] if under.is_file() else sorted(under.glob("*.py"))
    drawer = [ROOT / ".venv-mutants/bin/python", ROOT / "ci/mutants_draw.py", str(seed), str(n)]
    command = [*drawer, *(file.relative_to(ROOT) for file in files)]
    told = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    return [Mutant(**mutant) for mutant in json.loads(told)]


# Running tests ------------------------------------------------------------------------------------


def copy_tree(to: Path) -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for name in names.split("\0"):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def tests_pass(where: Path, arguments: list[str], seconds: float) -> bool:
    """Runs pytest in a fork; a crash, or one that takes too long, is no pass."""
    child = os.fork()
    if not child:
        _run_tests(where, arguments)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        status = -1
    with contextlib.suppress(ProcessLookupError):  # whatever it started ends with it
        os.killpg(child, signal.SIGKILL)
    if status == -1:
        os.waitpid(child, 0)
        return False
    code = os.waitstatus_to_exitcode(status)
    if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"pytest cannot run {arguments}:\n{(where / 'log').read_text()}")
    return code == 0


def _run_tests(where: Path, arguments: list[str]) -> None:
    code = 99
    try:
        os.setsid()
        log = os.open(where / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        os.chdir(where)
        sys.path[0] = str(where)  # in the place of ci/
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments]))
        assert Path(sys.modules[PACKAGE].__file__ or "").is_relative_to(where)
    finally:
        sys.stdout.flush()
        os._exit(code)


class Tests:
    """Tests with the time that they take when nothing is changed."""

    def __init__(self, where: Path):
        self.where = where
        self.seconds: dict[tuple[str, ...], float] = {}

    def see(self, mutant: Mutant, *arguments: str) -> bool:
        if arguments not in self.seconds:
            self.seconds[arguments] = self._unchanged(mutant.path, list(arguments))
        with changed(self.where / mutant.path, mutant.source):
            return not tests_pass(self.where, list(arguments), 5 + 4 * self.seconds[arguments])

    def _unchanged(self, path: str, arguments: list[str]) -> float:
        """How long they take; first they write bytecode, then a comment that was added must let them pass."""
        same = (self.where / path).read_text("utf-8")
        for text in (None, f"{same}# the same\n"):
            start = time.monotonic()
            with changed(self.where / path, text) if text else contextlib.nullcontext():
                if not tests_pass(self.where, arguments, 900):
                    log = (self.where / "log").read_text()
                    raise SystemExit(f"fail unchanged: {arguments}\n{log}")
        return time.monotonic() - start


@contextlib.contextmanager
def changed(path: Path, source: str) -> Iterator[None]:
    """No bytecode is written meanwhile; that of before is there again afterwards, and its time fits."""
    before, times = path.read_bytes(), path.stat()
    path.write_text(source, "utf-8")
    sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        sys.dont_write_bytecode = False
        del os.environ["PYTHONDONTWRITEBYTECODE"]


def narrow(tests: Tests, room: Room, mutants: list[Mutant]) -> list[Mutant]:
    """Those that the tests of their module and of their room let pass."""
    left = []
    for mutant in mutants:
        mirror = mutant.mirror(room)
        quick = ("-k", f"not ({SLOW})")
        if (ROOT / mirror).exists() and tests.see(mutant, str(mirror), *quick):
            continue
        if not tests.see(mutant, f"tests/{room.tests}", *quick):
            left.append(mutant)
            print(f"  passes its room: {mutant}", flush=True)
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=100, help="mutants of each room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rooms", default=",".join(ROOMS), help="some of: %(default)s")
    parser.add_argument("--narrow", action="store_true", help="only the quick tests of each room")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="those with one of these in their line"
    )
    arguments = parser.parse_args()
    for name in IMPORTED:
        importlib.import_module(name)
    rooms = {name: ROOMS[name] for name in ROOMS if name in arguments.rooms.split(",")}
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory).resolve()
        copy_tree(where)
        os.environ["PYTHONPATH"] = str(where)
        tests = Tests(where)
        drawn, left = Counter[str](), {}
        for name, room in rooms.items():
            mutants = draw(room, arguments.seed, arguments.sample)
            mutants = [
                mutant for mutant in mutants if any(x in str(mutant) for x in arguments.only)
            ]
            drawn[name] = len(mutants)
            start = time.monotonic()
            left[name] = narrow(tests, room, mutants)
            print(f"{name}: {len(left[name])} of {drawn[name]} pass its own quick tests, {time.monotonic() - start:.0f} s", flush=True)  # fmt: skip
        for name, room in rooms.items():
            if not arguments.narrow:
                left[name] = [m for m in left[name] if not tests.see(m, *room.wider)]
            n = len(left[name])
            print(f"{name}: {drawn[name] - n} of {drawn[name]} killed, {n} survive", flush=True)
            for mutant in left[name]:
                print(f"  {mutant}", flush=True)
    return 1 if any(left.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
