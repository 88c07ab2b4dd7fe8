"""Runs the planted bugs and the correct cases with our checker and others; writes the table.

    ci/gradcheck_comparison [--peers PYTHON]

`--peers` is a Python with torch and JAX; without it their columns stay empty. The table goes
between two markers in docs/gradient_checker.md.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.gradcheck import cases  # noqa: E402
from tf_einsum_grad.gradcheck import check_gradients  # noqa: E402

COLUMNS = ("ours", "tf.test", "torch fast", "torch slow", "jax")
PAGE = ROOT / "docs" / "gradient_checker.md"


def ours(case) -> str:
    fn, inputs, options = case
    return "passes" if check_gradients(fn, inputs, **options).passed else "flags"


def tf_test(case) -> str:
    """Asks tf.test.compute_gradient, first order, in eager mode, as its documentation shows it."""
    fn, inputs, options = case
    arguments = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    extra = {"training": True} if options.get("training") else {}
    loss = options.get("loss", lambda y: y)
    if sum(tf.size(a).numpy() for a in arguments) > 2000:
        return "too slow"
    try:
        theory, numeric = tf.test.compute_gradient(lambda *a: loss(fn(*a, **extra)), arguments)
        close = all(
            np.allclose(t, n, rtol=1e-2, atol=1e-2) for t, n in zip(theory, numeric, strict=True)
        )
        return "passes" if close else "flags"
    except Exception:
        return "raises"


def run_all(peers: dict[str, dict[str, str]]) -> list[tuple[str, str, dict[str, str]]]:
    rows = []
    for kind, registry in (("must be caught", cases.BUGS), ("must not be flagged", cases.CORRECT)):
        for name, (make, _) in registry.items():
            row = {"ours": ours(make(0)), "tf.test": tf_test(make(0)), **peers.get(name, {})}
            rows.append((kind, name, row))
            print(kind, name, row, flush=True)
    return rows


def table(rows) -> str:
    lines = []
    for kind in ("must be caught", "must not be flagged"):
        wanted = "flags" if kind == "must be caught" else "passes"
        mine = [(name, row) for k, name, row in rows if k == kind]
        lines += [
            f"\n**{kind.capitalize()}**\n",
            f"| case | {' | '.join(COLUMNS)} |",
            "|---" * 6 + "|",
        ]
        for name, row in mine:
            cells = [
                ("✓ " if row[c] == wanted else "✗ ") + row[c] if c in row else "" for c in COLUMNS
            ]
            lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
        totals = [
            f"{sum(r.get(c) == wanted for _, r in mine)} of {sum(c in r for _, r in mine)}"
            for c in COLUMNS
        ]
        lines.append(f"| right | {' | '.join(totals)} |")
    return "\n".join(lines)


def insert(page: str, marker: str, text: str) -> str:
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    return re.sub(f"{start}.*?{end}", lambda _: f"{start}\n{text}\n{end}", page, flags=re.S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="a Python with torch and JAX")
    args = parser.parse_args()
    peers = {}
    if args.peers:
        script = ROOT / "ci" / "gradcheck_peers.py"
        out = subprocess.run([args.peers, script], check=True, capture_output=True, text=True)
        peers = json.loads(out.stdout.splitlines()[-1])
    start = time.perf_counter()
    rows = run_all(peers)
    print(f"{time.perf_counter() - start:.0f} s")
    page = insert(PAGE.read_text(encoding="utf-8"), "comparison", table(rows))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
