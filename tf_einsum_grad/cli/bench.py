"""`tf-einsum-grad bench`: measure one einsum, or the suite, on this machine."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from itertools import product

from tf_einsum_grad.benchmark.regression import confirm_regressions, find_regressions, ratios
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
    input_file,
    output_file,
    parse_shape,
    refuse,
    start_tensorflow,
)
from tf_einsum_grad.text.terminal import make_console, make_table, progress

__all__ = ["add_parser", "run"]

_EPILOG = """\
Results and gradients are compared before anything is timed; variants run in turn in one process.
Ratios say how many times faster than tf.einsum, torch or JAX. "of limit" is the share that ours and
native reach of what the machine's matmul rate and memory bandwidth allow; "memory" is ours' peak as
a share of native's.

  tf-einsum-grad bench 'ijkm,ijkn->imn' 100,28,28,512 100,28,28,512
  tf-einsum-grad bench --suite --quick --modes graph --passes both --no-memory
  tf-einsum-grad bench --suite --only chain,attention --json new.json --compare old.json
"""

_FILES = {
    "json": "JSON",
    "markdown": "a Markdown table",
    "html": "a page with charts",
    "plot": "a chart: png, svg, pdf",
}


def add_parser(subparsers: Subparsers) -> None:
    """Adds `bench` to what `ArgumentParser.add_subparsers` gave; imports no TensorFlow."""
    parser = subparsers.add_parser(
        "bench",
        help="measure against native einsum, other libraries and the machine's limit",
        description="Measures einsum, forward and backward, against TensorFlow's own.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("equation", nargs="?", metavar="EQUATION", help="such as 'ij,jk->ik'")
    add("shapes", nargs="*", type=parse_shape, default=(), metavar="SHAPE",
        help="one for each operand, such as 100,28,28,512")  # fmt: skip
    add("--suite", action="store_true", help="the package's own workloads; default: one equation")
    add("--only", type=_names, default=(), metavar="NAMES",
        help="names or categories of the suite, between commas; default: all")  # fmt: skip
    add("--dtype", choices=DIFFERENTIABLE, help="of the operands; default: float32")
    for option, known in (("--modes", MODES), ("--passes", PASSES)):
        read, names = partial(_names, known=known), ",".join(known)
        add(option, type=read, default=known, metavar="NAMES",
            help=f"some of {names}; default: all")  # fmt: skip
    add("--quick", action="store_true", help="fewer repeats, no memory; default: all of it")
    add("--seconds", type=float, metavar="SECONDS", help="for each measurement; default: 1")
    add("--no-memory", action="store_true", help="leave out peak memory; default: measured")
    add("--peers", action="store_true", help="race torch and JAX, where installed; default: not")
    add("--peer-python", metavar="PYTHON", help="the Python that has them; default: this one")
    add("--growth", action="store_true",
        help="how cost grows with operands and batch; default: not")  # fmt: skip
    for kind, what in _FILES.items():
        add(f"--{kind}", type=output_file, metavar="FILE",
            help=f"write the report as {what}; default: not")  # fmt: skip
    add("--compare", type=input_file, metavar="OLD.json",
        help="exit with 1 if a ratio fell beyond its noise since then; default: not")  # fmt: skip
    parser.set_defaults(run=run)


def _names(text: str, known: Sequence[str] = ()) -> tuple[str, ...]:
    """Reads names between commas, all of them among those that are known, if any are given."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or (known and not set(names) <= set(known)):
        wanted = ", ".join(known) or "names between commas"
        raise argparse.ArgumentTypeError(f"one or more of {wanted} required, got {text!r}")
    return names


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints.

    Returns:
        0; 1 when a result was wrong or a ratio fell; 2 for bad usage.
    """
    try:
        workloads = _workloads(arguments)
        _check_options(arguments)
        old = _old_report(arguments, workloads) if arguments.compare else None
    except ValueError as error:
        return refuse("bench", error)
    start_tensorflow()
    return _run(arguments, workloads, old)


def _workloads(arguments: argparse.Namespace) -> tuple[Workload, ...]:
    if arguments.suite:
        if arguments.equation:
            raise ValueError("--suite takes no equation")
        return load_workloads(arguments.only, arguments.dtype)
    if not arguments.equation:
        raise ValueError("an equation with shapes is required, or --suite")
    if arguments.only:
        raise ValueError("--only requires --suite")
    dtype = arguments.dtype or "float32"
    return (Workload("einsum", "yours", arguments.equation, tuple(arguments.shapes), dtype),)


def _check_options(arguments: argparse.Namespace) -> None:
    """Finds out before an hour of measuring what would fail after it."""
    if arguments.plot is not None:
        if "both" not in arguments.passes:
            raise ValueError("--plot requires 'both' among --passes")
        from tf_einsum_grad.benchmark.charts import require_matplotlib

        try:
            require_matplotlib(arguments.plot)
        except (ImportError, ValueError) as error:
            raise ValueError(f"--plot: {error}") from error
    if arguments.peer_python is not None and not arguments.peers:
        raise ValueError("--peer-python requires --peers")
    if arguments.seconds is not None and not arguments.seconds > 0:
        raise ValueError(f"--seconds requires more than 0, got {arguments.seconds}")


def _old_report(arguments: argparse.Namespace, workloads: tuple[Workload, ...]) -> Report:
    """Reads the report to compare with; finds out whether there will be anything to compare."""
    name = repr(str(arguments.compare))
    try:
        old = Report.from_json(arguments.compare.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--compare: {name}: {error}") from error
    if ratios(old).keys().isdisjoint(product(workloads, arguments.modes, arguments.passes)):
        raise ValueError(
            f"--compare: {name} has none of these workloads (with the same shapes and dtype) in "
            "these modes and passes"
        )
    return old


def _run(arguments: argparse.Namespace, workloads: tuple[Workload, ...], old: Report | None) -> int:
    from tf_einsum_grad.benchmark.peers import find_peers
    from tf_einsum_grad.benchmark.runner import run_suite
    from tf_einsum_grad.benchmark.timing import Effort

    errors = make_console(stderr=True)
    effort = Effort.quick() if arguments.quick else Effort()
    if arguments.seconds is not None:
        effort = dataclasses.replace(effort, seconds=arguments.seconds)
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
    for path, write in (
        (arguments.json, report.to_json),
        (arguments.markdown, report.to_markdown),
        (arguments.html, report.to_html),
        (arguments.plot, report.plot),
    ):
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


def _show(report: Report) -> None:
    from rich.text import Text

    console = make_console()
    if len(report.comparisons) == 1:
        table = make_table(*details(report.comparisons[0], report), n_left=2)
    else:
        table = make_table(*suite_table(report))
    if report.comparisons:
        console.print(table)
        console.print()
    for line in notes(report):
        console.print(Text(line))
