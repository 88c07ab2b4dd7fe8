"""Figures of the code itself."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "tf_einsum_grad"


def functions() -> Iterator[tuple[int, str]]:
    """The lines of each function, without its docstring, and its name."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
                length = (body[-1].end_lineno or 0) - body[0].lineno + 1
                yield length, f"{path.relative_to(ROOT)}:{node.name}"


def import_seconds(program: str) -> float:
    """The median of nine processes, less what an empty one takes."""

    def once(text: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", text], check=True)
        return time.perf_counter() - start

    return statistics.median(once(program) - once("pass") for _ in range(9))


def main() -> None:
    rooms: Counter[str] = Counter()
    longest_file = (0, "")
    for path in ROOT.rglob("*.py"):
        lines = len(path.read_text("utf-8").splitlines())
        parts = path.relative_to(ROOT).parts
        rooms[parts[0] if len(parts) > 1 else "top level"] += lines
        longest_file = max(longest_file, (lines, str(path.relative_to(ROOT))))
    print(f"import tf_einsum_grad: {import_seconds('import tf_einsum_grad'):.3f} s")
    explain = "import tf_einsum_grad as t; t.explain('ij,jk->ik', (2, 3), (3, 4))"
    print(f"import and explain: {import_seconds(explain):.3f} s")
    print(
        f"lines: {sum(rooms.values()):,}: "
        + ", ".join(f"{r} {n:,}" for r, n in sorted(rooms.items()))
    )
    print(f"longest file: {longest_file[1]}, {longest_file[0]} lines")
    length, name = max(functions())
    print(f"longest function: {name}, {length} lines without its docstring")


if __name__ == "__main__":
    main()
