"""The question, answered end to end on real tensors, on each device present."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tf_einsum_grad.algebra.sizes import show_shape
from tf_einsum_grad.benchmark.checks import relative_error, rounding
from tf_einsum_grad.benchmark.workloads import Workload
from tf_einsum_grad.cli.arguments import (
    PASSED,
    WRONG,
    Subparsers,
    UsageError,
    parse_shape,
    start_tensorflow,
)
from tf_einsum_grad.explaining.explanation import explain
from tf_einsum_grad.explaining.names import operand_name
from tf_einsum_grad.text.numbers import milliseconds, show_bytes
from tf_einsum_grad.text.terminal import FittingTable, make_console, make_table

if TYPE_CHECKING:
    import tensorflow as tf
    from rich.console import Console

    from tf_einsum_grad.benchmark.variants import Variant
    from tf_einsum_grad.benchmark.workers import Worker

__all__ = ["add_parser", "run"]

QUESTION = "ijkm,ijkn->imn"
QUESTION_SHAPES = ((100, 28, 28, 512), (100, 28, 28, 512))

_Number = TypeVar("_Number", int, float)

# Tensors alive at the worst moment, in multiples of operands and result: the operands, their
# gradients from both variants, and float64 copies for the directional derivative.
_WORKING_SET = 10


@dataclass(frozen=True, slots=True)
class _Errors:
    """How far one gradient is from others, relative; None where TensorFlow has none."""

    against_native: float | None
    against_numbers: float
    tolerance: float

    @property
    def right(self) -> bool:
        found = (self.against_native, self.against_numbers)
        return all(e <= self.tolerance for e in found if e is not None)  # which a nan is not


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What was measured on one device; of native nothing where TensorFlow refuses the equation.

    Attributes:
        device: its name.
        errors: of each gradient.
        seconds: of forward and backward together.
        peaks: bytes of both.
    """

    device: str
    errors: tuple[_Errors, ...]
    seconds: Mapping[Variant, float]
    peaks: Mapping[Variant, int]


def add_parser(subparsers: Subparsers) -> None:
    """Adds `demo`, which runs where no command is named; imports no TensorFlow."""
    parser = subparsers.add_parser(
        "demo",
        help="the question, end to end, on real tensors; this is what runs without a command",
        description="Explains the gradients of an einsum, computes them, compares them with "
        "TensorFlow's and with numbers, and times both, on each device.",
    )
    add = parser.add_argument
    add("equation", nargs="?", default=QUESTION, metavar="EQUATION", help=f"default: {QUESTION}")
    add("shapes", nargs="*", type=parse_shape, default=(), metavar="SHAPE",
        help="one for each operand; default: 100,28,28,512, twice")  # fmt: skip
    add("--repeats", type=int, default=5, metavar="N", help="timed rounds; default: 5")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """States the question, explains the gradients, computes, compares and times them.

    Returns:
        0 if every gradient agrees with TensorFlow's and with the directional derivative, else 1.

    Raises:
        EinsumError: the equation and the shapes do not fit.
        UsageError: there is nothing to time.
    """
    equation, shapes = arguments.equation, tuple(arguments.shapes)
    if not shapes and equation == QUESTION:
        shapes = QUESTION_SHAPES
    if not shapes:
        raise UsageError(
            f"{equation!r} requires a shape for each operand, got none; commands are explain, "
            "check and bench"
        )
    if arguments.repeats < 1:
        raise UsageError(f"--repeats requires 1 or more, got {arguments.repeats}")
    explain(equation, *shapes)
    if any(size == 0 for shape in shapes for size in shape):
        raise UsageError(f"einsum {equation!r} requires sizes from 1 on to be timed, got {shapes}")
    memory = _available_memory()
    workload = _fit_memory(Workload("question", "question", equation, shapes), memory)
    console = make_console()
    _ask(workload, shapes, memory, console)
    console.print("\n[bold]Does it hold? On real tensors, float32:")
    with console.status("making tensors", spinner="line") as status:
        comparisons = _compare(workload, arguments.repeats, status.update)
    console.print(_errors_table(comparisons))
    console.print("(errors relative to the largest element, and to what the derivative sums)\n")
    console.print(_costs_table(comparisons))
    if "native" not in comparisons[0].seconds:
        console.print("TensorFlow's own einsum refuses this equation, or to differentiate it.")
    wrong = [c.device for c in comparisons if not all(e.right for e in c.errors)]
    if wrong:
        console.print(f"[bold red]The gradients are WRONG on {', '.join(wrong)}.")
    return WRONG if wrong else PASSED


def _ask(
    workload: Workload, wanted: tuple[tuple[int, ...], ...], memory: int, console: Console
) -> None:
    """Prints the question, and the answer in words."""
    text = " and ".join(map(show_shape, workload.shapes))
    question = f"In TensorFlow, Y = tf.einsum('{workload.equation}', ...) of {text}:"
    console.print(question, style="bold", markup=False)
    console.print("how is the gradient computed?\n", style="bold")
    if workload.shapes != wanted:
        console.print(
            f"(Memory is short for {' and '.join(map(show_shape, wanted))}: "
            f"{show_bytes(memory)} free. These are smaller.)\n",
            markup=False,
        )
    with console.status("importing TensorFlow", spinner="line"):
        start_tensorflow()
        import tf_einsum_grad.execution.machines  # noqa: F401  # says on which machine it runs
    explanation = explain(workload.equation, *workload.shapes)
    console.print(explanation.to_text(min(console.width, 98)), markup=False, soft_wrap=True)


def _available_memory() -> int:
    """Bytes that can be taken without swapping."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":") for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _fit_memory(workload: Workload, limit: int) -> Workload:
    """The workload, the largest labels halved until everything fits into `limit` bytes."""
    sizes = workload.sizes
    shapes, terms = workload.shapes, workload.explicit.inputs
    while _WORKING_SET * (workload.input_bytes + workload.output_bytes) > limit:
        label = max(sorted(sizes), key=lambda label: sizes[label])
        sizes = {**sizes, label: sizes[label] // 2}
        smaller = tuple(
            tuple(min(size, sizes[label]) for label, size in zip(term, shape, strict=True))
            for term, shape in zip(terms, shapes, strict=True)
        )
        workload = dataclasses.replace(workload, shapes=smaller)
    return workload


def _compare(workload: Workload, repeats: int, say: Callable[[str], None]) -> list[_Comparison]:
    """Compares on each device; `say` is told what is being done."""
    import tensorflow as tf

    from tf_einsum_grad.benchmark.memory import start_memory_worker

    comparisons = []
    with start_memory_worker() as worker:
        for device in tf.config.list_logical_devices():
            if device.device_type in ("CPU", "GPU"):
                with tf.device(device.name):
                    comparisons.append(_compare_on(device.name, workload, repeats, worker, say))
    return comparisons


def _compare_on(
    device: str, workload: Workload, repeats: int, worker: Worker, say: Callable[[str], None]
) -> _Comparison:
    import tensorflow as tf

    from tf_einsum_grad.benchmark.memory import measure_peak
    from tf_einsum_grad.benchmark.timing import Effort, interleave
    from tf_einsum_grad.benchmark.variants import VARIANTS, as_arrays, build_variants, make_tensors

    device = device.removeprefix("/device:")
    say(f"{device}: making tensors")
    operands, cotangent = make_tensors(workload)
    built = build_variants(workload.equation, "graph", operands, cotangent)
    passes = {who: passes["both"] for who, passes in built.items()}
    say(f"{device}: the gradients, by this package and by TensorFlow")
    ours = as_arrays(passes["ours"]()())[1:]
    against_native: list[float | None] = [None] * len(ours)
    try:
        native = as_arrays(passes["native"]()())[1:]
    except (ValueError, tf.errors.OpError):
        del passes["native"]
    else:
        against_native = [relative_error(a, b) for a, b in zip(ours, native, strict=True)]
        del native
    say(f"{device}: directional derivatives in float64")
    # Where TensorFlow refuses, our own einsum in float64, which the test suite holds to NumPy's.
    einsum = partial(VARIANTS["native" if "native" in passes else "ours"], workload.equation)
    n_products = math.prod(workload.sizes.values())
    errors = tuple(
        _Errors(
            against_native[k],
            _directional_error(einsum, operands, cotangent, k, gradient),
            rounding(workload.dtype, len(ours), n_products, gradient.size),
        )
        for k, gradient in enumerate(ours)
    )
    del ours
    say(f"{device}: timing forward and backward")
    samples = interleave(passes, Effort(repeats, math.inf, repeats))
    say(f"{device}: peak memory")
    seconds = {who: statistics.median(samples[who]) for who in passes}
    peaks = {who: measure_peak(workload, "graph", who, worker) for who in passes}
    return _Comparison(device, errors, seconds, peaks)


def _directional_error(
    einsum: Callable[..., tf.Tensor],
    operands: Sequence[tf.Tensor],
    cotangent: tf.Tensor,
    k: int,
    gradient: np.ndarray,
) -> float:
    """How far <gradient, u> is from (L(x + u) - L(x - u)) / 2, for L = <Y, cotangent>, in float64.

    Einsum is linear in each operand, so the central difference is exact for any step. The error
    is relative to the norm of the products that <gradient, u> sums.
    """
    import tensorflow as tf

    direction = tf.constant(np.random.default_rng(k).standard_normal(gradient.shape))
    double = [tf.cast(x, tf.float64) for x in operands]

    def loss(sign: float) -> tf.Tensor:
        moved = [x + sign * direction if i == k else x for i, x in enumerate(double)]
        return tf.reduce_sum(einsum(*moved) * tf.cast(cotangent, tf.float64))

    numeric = (loss(1.0) - loss(-1.0)) / 2
    products = tf.cast(gradient, tf.float64) * direction
    return float(tf.abs(tf.reduce_sum(products) - numeric) / tf.norm(products))


def _errors_table(comparisons: Sequence[_Comparison]) -> FittingTable:
    rows = []
    for c in comparisons:
        for k, e in enumerate(c.errors):
            native = "refused" if e.against_native is None else f"{e.against_native:.1e}"
            device = "" if k else c.device
            rows.append((device, f"dL/d{operand_name(k)}", native, f"{e.against_numbers:.1e}"))
    head = ("device", "gradient", "against TensorFlow's", "against float64")
    return make_table(head, rows, n_left=2, gap=3)


def _costs_table(comparisons: Sequence[_Comparison]) -> FittingTable:
    rows = []
    for c in comparisons:
        rows.append((c.device, "time, median", *_cost_cells(milliseconds, c.seconds)))
        rows.append(("", "peak memory", *_cost_cells(show_bytes, c.peaks)))
    head = ("device", "forward and backward", "native", "ours", "ratio")
    return make_table(head, rows, n_left=2, gap=3)


def _cost_cells(
    show: Callable[[_Number], str], costs: Mapping[Variant, _Number]
) -> tuple[str, str, str]:
    ours, native = costs["ours"], costs.get("native")
    if native is None:
        return "refused", show(ours), ""
    return show(native), show(ours), f"{native / ours:.2f}x"
