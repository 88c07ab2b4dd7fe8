"""`tf-einsum-grad bench`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

MODES = ("eager", "graph", "xla")
PASSES = ("forward", "backward", "both")


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Adds `bench` to the command line; imports no TensorFlow."""
    parser = subparsers.add_parser("bench", help="measure against native einsum and the machine")
    parser.add_argument("equation", nargs="?")
    parser.add_argument("shapes", nargs="*")
    parser.add_argument("--suite", action="store_true")
    parser.add_argument("--only", default="", metavar="NAMES")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--passes", default=",".join(PASSES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    return parser


def run(args: argparse.Namespace) -> int:
    """Runs `bench`."""
    from rich.console import Console
    from rich.table import Table

    from tf_einsum_grad.benchmark import load_workloads, run_suite
    from tf_einsum_grad.benchmark.tables import rows

    report = run_suite(
        load_workloads([n for n in args.only.split(",") if n]),
        modes=args.modes.split(","),
        passes=args.passes.split(","),
        quick=args.quick,
        progress=lambda name, i, n: print(f"{i}/{n} {name}", file=sys.stderr),
    )
    header, body = rows(report)
    table = Table(*header, box=None, padding=(0, 1, 0, 0))
    for row in body:
        table.add_row(*row)
    Console(width=100).print(table)
    for failure in report.failures:
        print(f"{failure.name}: {failure.message}")
    for x in report.limits:
        print(
            f"{x.dtype}: {x.flops_per_second / 1e9:.0f} GFLOP/s, {x.bytes_per_second / 1e9:.1f} GB/s"
        )
    if args.json:
        report.to_json(args.json)
    return 0
