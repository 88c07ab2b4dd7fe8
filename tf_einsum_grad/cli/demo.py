"""The main job: the question, answered end to end on real tensors, on each device present."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tf_einsum_grad.algebra.equation import expand_ellipses, parse_equation
from tf_einsum_grad.algebra.errors import SizeError
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import show_shape
from tf_einsum_grad.cli.main import start_tensorflow
from tf_einsum_grad.explaining.explanation import explain
from tf_einsum_grad.explaining.names import operand_name
from tf_einsum_grad.text.numbers import show_bytes

if TYPE_CHECKING:
    from tf_einsum_grad.benchmark.workers import Worker

__all__ = ["answer"]

Shapes = tuple[tuple[int, ...], ...]

# Tensors alive at the worst moment, in multiples of operands and result: the operands, their
# gradients from both variants, and float64 copies for the directional derivative.
_WORKING_SET = 10
# What rounding may do to a float32 gradient, relative to its largest element.
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What was measured on one device; times in seconds, errors relative.

    Where TensorFlow's own einsum refuses the equation, what is about it is nan, or 0 bytes.
    """

    device: str
    against_native: tuple[float, ...]
    against_numbers: tuple[float, ...]
    ours: float
    native: float
    ours_bytes: int
    native_bytes: int

    @property
    def refused(self) -> bool:
        """Whether TensorFlow's own einsum refuses the equation."""
        return math.isnan(self.native)

    @property
    def right(self) -> bool:
        errors = self.against_numbers + (() if self.refused else self.against_native)
        return all(error <= _TOLERANCE for error in errors)  # which a nan is not


def answer(equation: str, shapes: Shapes, repeats: int) -> int:
    """States the question, explains the gradients, computes, compares and times them.

    Returns:
        0 if every gradient agrees with TensorFlow's and with the directional derivative, else 1.

    Raises:
        EinsumError: the equation and the shapes do not fit.
    """
    console = Console(highlight=False)
    explain(equation, *shapes)
    if any(size == 0 for shape in shapes for size in shape):
        raise SizeError(f"einsum {equation!r} requires sizes from 1 on to be timed, got {shapes}")
    fitting = _fit_memory(equation, shapes)
    text = " and ".join(show_shape(shape) for shape in fitting)
    console.print(
        f"[bold]In TensorFlow, Y = tf.einsum('{equation}', ...) of {text}:", soft_wrap=True
    )
    console.print("[bold]how is the gradient computed?\n")
    if fitting != shapes:
        console.print(
            f"(Memory is short for {' and '.join(map(show_shape, shapes))}: "
            f"{show_bytes(_available_memory())} free. These are smaller.)\n"
        )
    console.print(str(explain(equation, *fitting)), markup=False, soft_wrap=True)
    console.print("\n[bold]Does it hold? On real tensors, float32:")
    with console.status("importing TensorFlow") as status:
        start_tensorflow()
        import tensorflow as tf

        from tf_einsum_grad.benchmark.memory import start_memory_worker

        with start_memory_worker() as worker:
            comparisons = []
            for device in tf.config.list_logical_devices():
                if device.device_type in ("CPU", "GPU"):
                    with tf.device(device.name):
                        comparisons.append(
                            _compare(device.name, equation, fitting, repeats, worker, status.update)
                        )
    console.print(_errors_table(comparisons))
    console.print("(errors relative to the largest element, and to what the derivative sums)\n")
    console.print(_costs_table(comparisons))
    if comparisons[0].refused:
        console.print("TensorFlow's own einsum refuses this equation, or to differentiate it.")
    wrong = [c.device for c in comparisons if not c.right]
    if wrong:
        console.print(f"[bold red]The gradients are WRONG on {', '.join(wrong)}.")
    return 1 if wrong else 0


def _available_memory() -> int:
    """Bytes that can be taken without swapping."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":") for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _fit_memory(equation: str, shapes: Shapes) -> Shapes:
    """The shapes, the largest labels halved until everything fits."""
    expanded = expand_ellipses(parse_equation(equation), tuple(map(len, shapes)))
    sizes: dict[str, Any] = {}
    for subscripts, shape in zip(expanded.inputs, shapes, strict=True):
        for label, size in zip(subscripts, shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
    limit = _available_memory()
    while (
        4 * _WORKING_SET * sum(num_elements(t, sizes) for t in (*expanded.inputs, expanded.output))
        > limit
    ):
        label = max(sorted(sizes), key=lambda label: sizes[label])
        sizes[label] //= 2
    return tuple(
        tuple(min(size, sizes[label]) for label, size in zip(subscripts, shape, strict=True))
        for subscripts, shape in zip(expanded.inputs, shapes, strict=True)
    )


def _compare(
    device: str,
    equation: str,
    shapes: Shapes,
    repeats: int,
    worker: Worker,
    say: Callable[[str], Any],
) -> _Comparison:
    import tensorflow as tf

    from tf_einsum_grad.benchmark.memory import measure_peak
    from tf_einsum_grad.benchmark.workloads import Workload
    from tf_einsum_grad.ops import einsum

    name = device.removeprefix("/device:")
    rng = np.random.default_rng(0)
    say(f"{name}: making tensors")
    operands = [tf.constant(rng.standard_normal(shape, np.float32)) for shape in shapes]
    output = einsum(equation, *operands)
    cotangent = tf.constant(rng.standard_normal(output.shape, np.float32))
    functions = {"ours": _gradients(einsum, equation), "native": _gradients(tf.einsum, equation)}
    say(f"{name}: the gradients, by this package and by TensorFlow")
    mine = functions["ours"](cotangent, *operands)
    try:
        theirs = functions["native"](cotangent, *operands)
    except (ValueError, tf.errors.OpError):
        del functions["native"]
        against_native = (math.nan,) * len(mine)
    else:
        against_native = tuple(
            float(tf.reduce_max(tf.abs(a - b)) / tf.reduce_max(tf.abs(b)))
            for a, b in zip(mine, theirs, strict=True)
        )
        del theirs
    say(f"{name}: directional derivatives in float64")
    # Where TensorFlow refuses, our own einsum in float64, which the test suite holds to NumPy's.
    forward = tf.einsum if "native" in functions else einsum
    against_numbers = tuple(
        _directional_error(forward, equation, operands, cotangent, k, mine[k], rng)
        for k in range(len(operands))
    )
    del mine
    times = _times(functions, (cotangent, *operands), repeats, lambda text: say(f"{name}: {text}"))
    say(f"{name}: peak memory")
    workload = Workload("question", "question", equation, shapes, "float32")
    peaks = {who: measure_peak(workload, "graph", who, worker) for who in functions}
    return _Comparison(
        name,
        against_native,
        against_numbers,
        times["ours"],
        times.get("native", math.nan),
        peaks["ours"],
        peaks.get("native", 0),
    )


def _times(
    functions: Mapping[str, Callable[..., Any]],
    arguments: Sequence[Any],
    repeats: int,
    say: Callable[[str], Any],
) -> dict[str, float]:
    """The median seconds of each function, called in turn."""
    import tensorflow as tf

    times: dict[str, list[float]] = {who: [] for who in functions}
    for turn in range(repeats):
        say(f"timing forward and backward, round {turn + 1} of {repeats}")
        for who, function in functions.items():
            start = time.perf_counter()
            # The sum waits for the device; it is a millionth of the work.
            float(tf.reduce_sum(function(*arguments)[-1]))
            times[who].append(time.perf_counter() - start)
    return {who: statistics.median(seconds) for who, seconds in times.items()}


def _gradients(einsum: Callable[..., Any], equation: str) -> Callable[..., Any]:
    """A graph that runs an einsum forward and backward."""
    import tensorflow as tf

    @tf.function(autograph=False)
    def forward_and_backward(cotangent: Any, *operands: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = einsum(equation, *operands)
        return tape.gradient(result, operands, output_gradients=cotangent)

    return forward_and_backward


def _directional_error(
    einsum: Callable[..., Any],
    equation: str,
    operands: Sequence[Any],
    cotangent: Any,
    k: int,
    gradient: Any,
    rng: np.random.Generator,
) -> float:
    """How far <gradient, u> is from (L(x + u) - L(x - u)) / 2, for L = <Y, cotangent>, in float64.

    Einsum is linear in each operand, so the central difference is exact for any step. The error
    is relative to the norm of the products that <gradient, u> sums.
    """
    import tensorflow as tf

    direction = tf.constant(rng.standard_normal(operands[k].shape, np.float32))
    double = [tf.cast(x, tf.float64) for x in operands]
    step = tf.cast(direction, tf.float64)

    def loss(sign: float) -> Any:
        moved = [x + sign * step if i == k else x for i, x in enumerate(double)]
        return tf.reduce_sum(einsum(equation, *moved) * tf.cast(cotangent, tf.float64))

    numeric = (loss(1.0) - loss(-1.0)) / 2
    products = tf.cast(gradient, tf.float64) * step
    return float(tf.abs(tf.reduce_sum(products) - numeric) / tf.norm(products))


def _errors_table(comparisons: Sequence[_Comparison]) -> Table:
    table = _table("device", "gradient", "against TensorFlow's", "against float64")
    for c in comparisons:
        for k, errors in enumerate(zip(c.against_native, c.against_numbers, strict=True)):
            device = c.device if k == 0 else ""
            shown = ("refused" if math.isnan(e) and c.refused else f"{e:.1e}" for e in errors)
            table.add_row(device, f"dL/d{operand_name(k)}", *shown)
    return table


def _costs_table(comparisons: Sequence[_Comparison]) -> Table:
    table = _table("device", "forward and backward", "native", "ours", "ratio")
    for c in comparisons:
        for device, what, native, ours, show in (
            (c.device, "time, median", c.native, c.ours, _ms),
            ("", "peak memory", c.native_bytes, c.ours_bytes, show_bytes),
        ):
            theirs = ("refused", "") if c.refused else (show(native), f"{native / ours:.2f}x")
            table.add_row(device, what, theirs[0], show(ours), theirs[1])
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position > 1 else "left", no_wrap=True)
    return table
