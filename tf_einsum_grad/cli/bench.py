"""`tf-einsum-grad bench`: measure one einsum, or the suite, on this machine."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.benchmark.report import Report
from tf_einsum_grad.benchmark.tables import details, notes, suite_table
from tf_einsum_grad.benchmark.workloads import (
    DIFFERENTIABLE,
    MODES,
    PASSES,
    PEERS,
    Workload,
    load_workloads,
)
from tf_einsum_grad.cli.arguments import (
    PASSED,
    WRONG,
    Subparsers,
    parse_shape,
    refuse,
    start_tensorflow,
)
from tf_einsum_grad.text.terminal import make_table, progress

__all__ = ["add_parser", "run"]

_WIDTH = 100

_EPILOG = """\
Results and gradients are compared before anything is timed; variants run in turn in one process.
Ratios say how many times faster than tf.einsum, torch or JAX. "of limit" is the share that ours and
native reach of what the machine's matmul rate and memory bandwidth allow; "memory" is ours' peak as
a share of native's.
exit code: 0; 1 when a result was wrong or a ratio fell (--compare); 2 for bad usage.

  tf-einsum-grad bench 'ijkm,ijkn->imn' 100,28,28,512 100,28,28,512
  tf-einsum-grad bench --suite --quick --modes graph --passes both --no-memory
  tf-einsum-grad bench --suite --only chain,attention --json new.json --compare old.json
"""


class _UsageError(Exception):
    """Arguments that do not make sense; becomes one line and exit code 2."""


def add_parser(subparsers: Subparsers) -> None:
    """Adds `bench` to what `ArgumentParser.add_subparsers` gave; imports no TensorFlow."""
    parser = subparsers.add_parser(
        "bench",
        help="measure against native einsum, other libraries and the machine's limit",
        description="Measures einsum, forward and backward, against TensorFlow's own.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("equation", nargs="?", metavar="EQUATION")
    parser.add_argument(
        "shapes", nargs="*", type=parse_shape, metavar="SHAPE", help="100,28,28,512"
    )
    parser.add_argument("--suite", action="store_true", help="the workloads of the package")
    parser.add_argument(
        "--only", type=_names(None), default=(), metavar="NAMES", help="names or categories of them"
    )
    parser.add_argument("--dtype", choices=DIFFERENTIABLE, help="default: float32")
    parser.add_argument(
        "--modes", type=_names(MODES), default=MODES, help=f"default: {','.join(MODES)}"
    )
    parser.add_argument(
        "--passes", type=_names(PASSES), default=PASSES, help=f"default: {','.join(PASSES)}"
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats, no memory")
    parser.add_argument("--seconds", type=float, help="time for each measurement; default: 1")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--peers", action="store_true", help="race torch and JAX where installed")
    parser.add_argument("--peer-python", metavar="PYTHON", help="the Python that has them")
    parser.add_argument("--growth", action="store_true", help="how cost grows with operands, batch")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="... as a Markdown table")
    parser.add_argument("--html", type=Path, metavar="FILE", help="... as a page with charts")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="... as a chart (png, svg, pdf)")
    parser.add_argument(
        "--compare", type=Path, metavar="OLD.json", help="exit 1 if a ratio fell beyond its noise"
    )
    parser.set_defaults(run=run)


def _names(known: Sequence[str] | None) -> Callable[[str], tuple[str, ...]]:
    """A type for argparse: names between commas."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        wrong = [name for name in names if known is not None and name not in known]
        if wrong or not names:
            wanted = ", ".join(known) if known else "names between commas"
            raise argparse.ArgumentTypeError(f"one or more of {wanted} required, got {text!r}")
        return names

    return read


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints.

    Returns:
        0; 1 when a result was wrong or a ratio fell; 2 for bad usage.
    """
    try:
        workloads = _workloads(arguments)
        old = _check_files(arguments)
        _check_common(old, workloads, arguments)
    except (_UsageError, EinsumError, ValueError) as error:
        return refuse("bench", error)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    start_tensorflow()
    return _run(arguments, workloads, old)


def _workloads(arguments: argparse.Namespace) -> tuple[Workload, ...]:
    if arguments.suite:
        if arguments.equation:
            raise _UsageError("--suite takes no equation")
        return load_workloads(arguments.only, arguments.dtype)
    if not arguments.equation:
        raise _UsageError("an equation with shapes is required, or --suite")
    if arguments.only:
        raise _UsageError("--only requires --suite")
    dtype = arguments.dtype or "float32"
    return (Workload("einsum", "yours", arguments.equation, tuple(arguments.shapes), dtype),)


def _check_files(arguments: argparse.Namespace) -> Report | None:
    """Finds out before an hour of measuring what would fail after it; reads the old report."""
    for name in ("json", "markdown", "html", "plot"):
        path = getattr(arguments, name)
        if path is not None and not path.absolute().parent.is_dir():
            raise _UsageError(f"--{name}: there is no directory {str(path.parent)!r}")
    if arguments.plot is not None:
        if "both" not in arguments.passes:
            raise _UsageError("--plot requires 'both' among --passes")
        from tf_einsum_grad.benchmark.charts import require_matplotlib

        try:
            require_matplotlib(arguments.plot)
        except ImportError as error:
            raise _UsageError(f"--plot: {error}") from error
    if arguments.peer_python is not None and not arguments.peers:
        raise _UsageError("--peer-python requires --peers")
    if arguments.seconds is not None and not arguments.seconds > 0:
        raise _UsageError(f"--seconds requires more than 0, got {arguments.seconds}")
    if arguments.compare is None:
        return None
    try:
        return Report.from_json(arguments.compare.read_text("utf-8"))
    except OSError as error:
        raise _UsageError(f"--compare: cannot read {str(arguments.compare)!r}: {error}") from error


def _check_common(
    old: Report | None, workloads: Sequence[Workload], arguments: argparse.Namespace
) -> None:
    """Finds out before measuring that there would be nothing to compare."""
    if old is None:
        return
    measured = {
        (c.workload, m.mode)
        for c in old.comparisons
        for m in c.measurements
        if m.which in arguments.passes
    }
    if not measured.intersection((w, mode) for w in workloads for mode in arguments.modes):
        raise _UsageError(
            f"--compare: {str(arguments.compare)!r} has none of these workloads (with the same "
            "shapes and dtype) in these modes and passes"
        )


def _run(arguments: argparse.Namespace, workloads: tuple[Workload, ...], old: Report | None) -> int:
    from rich.console import Console

    from tf_einsum_grad.benchmark.peers import find_peers
    from tf_einsum_grad.benchmark.regression import confirm_regressions, find_regressions
    from tf_einsum_grad.benchmark.runner import run_suite
    from tf_einsum_grad.benchmark.timing import Effort

    errors = Console(stderr=True, highlight=False)
    effort = Effort.quick() if arguments.quick else Effort()
    if arguments.seconds is not None:
        effort = Effort(effort.repeats, arguments.seconds, effort.most)
    try:
        peers = find_peers(arguments.peer_python) if arguments.peers else ()
    except ValueError as error:
        return refuse("bench", error)
    for peer in PEERS if arguments.peers else ():
        if peer not in peers:
            errors.print(f"{peer} is not installed: pip install 'tf-einsum-grad\\[peers]'")
    measure = partial(run_suite, modes=arguments.modes, passes=arguments.passes, effort=effort)
    with progress(errors) as advance:
        report = measure(
            workloads,
            memory=not (arguments.quick or arguments.no_memory),
            peers=peers,
            peer_python=arguments.peer_python,
            growth=arguments.growth,
            progress=advance,
        )
    _show(report)
    for name, write in _outputs(report).items():
        path = getattr(arguments, name)
        if path is not None:
            write(path)
    regressions = find_regressions(old, report) if old else ()
    if old and regressions:
        errors.print("some ratios fell; measuring those again")
        with progress(errors) as advance:
            again = partial(measure, memory=False, progress=advance)
            regressions = confirm_regressions(regressions, old, again)
    for regression in regressions:
        print(f"FELL {regression}")
    return WRONG if regressions or report.failures else PASSED


def _outputs(report: Report) -> dict[str, Callable[[Path], object]]:
    return {
        "json": report.to_json,
        "markdown": report.to_markdown,
        "html": report.to_html,
        "plot": report.plot,
    }


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(width=_WIDTH, highlight=False)
    if len(report.comparisons) == 1:
        table = make_table(*details(report.comparisons[0], report), n_left=2)
    else:
        table = make_table(*suite_table(report))
    if report.comparisons:
        console.print(table)
        console.print()
    for line in notes(report):
        console.print(Text(line))
