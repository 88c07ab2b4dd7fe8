"""The main job: the question, answered end to end on real tensors, on each device present."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tf_einsum_grad.cost import extent
from tf_einsum_grad.equation import expand_ellipses, parse_equation
from tf_einsum_grad.explanation import explain
from tf_einsum_grad.render import show_bytes, show_shape

__all__ = ["answer"]

Shapes = tuple[tuple[int, ...], ...]

# Tensors alive at the worst moment, in multiples of operands and result: the operands, their
# gradients from both variants, and float64 copies for the directional derivative.
_WORKING_SET = 10
# What rounding may do to a float32 gradient, relative to its largest element.
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What was measured on one device; times in seconds, errors relative."""

    device: str
    against_native: tuple[float, ...]
    against_numbers: tuple[float, ...]
    ours: float
    native: float

    @property
    def right(self) -> bool:
        return max(*self.against_native, *self.against_numbers) <= _TOLERANCE


def answer(equation: str, shapes: Shapes, repeats: int) -> int:
    """States the question, explains the gradients, computes, compares and times them.

    Returns:
        0 if every gradient agrees with TensorFlow's and with the directional derivative, else 1.

    Raises:
        EinsumError: the equation and the shapes do not fit.
    """
    console = Console(highlight=False)
    explain(equation, *shapes)
    fitting = _fit_memory(equation, shapes)
    text = " and ".join(show_shape(shape) for shape in fitting)
    console.print(f"[bold]In TensorFlow, Y = tf.einsum('{equation}', ...) of {text}:")
    console.print("[bold]how is the gradient computed?\n")
    if fitting != shapes:
        console.print(
            f"(Memory is short for {' and '.join(map(show_shape, shapes))}: "
            f"{show_bytes(_available_memory())} free. These are smaller.)\n"
        )
    console.print(str(explain(equation, *fitting)), markup=False, soft_wrap=True)
    console.print("\n[bold]Does it hold? On real tensors, float32:")
    with console.status("importing TensorFlow"):
        import tensorflow as tf
    comparisons = []
    for device in tf.config.list_logical_devices():
        if device.device_type in ("CPU", "GPU"):
            with console.status("") as status, tf.device(device.name):
                comparisons.append(_compare(device.name, equation, fitting, repeats, status.update))
    console.print(_table(comparisons, len(shapes)))
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
        4 * _WORKING_SET * sum(extent(t, sizes) for t in (*expanded.inputs, expanded.output))
        > limit
    ):
        label = max(sorted(sizes), key=lambda label: sizes[label])
        sizes[label] //= 2
    return tuple(
        tuple(min(size, sizes[label]) for label, size in zip(subscripts, shape, strict=True))
        for subscripts, shape in zip(expanded.inputs, shapes, strict=True)
    )


def _compare(
    device: str, equation: str, shapes: Shapes, repeats: int, say: Callable[[str], Any]
) -> _Comparison:
    import tensorflow as tf

    from tf_einsum_grad.ops import einsum

    name = device.removeprefix("/device:")
    rng = np.random.default_rng(0)
    say(f"{name}: making tensors")
    operands = [tf.constant(rng.standard_normal(shape, np.float32)) for shape in shapes]
    output = einsum(equation, *operands)
    cotangent = tf.constant(rng.standard_normal(output.shape, np.float32))
    ours = _gradients(einsum, equation)
    native = _gradients(tf.einsum, equation)
    say(f"{name}: the gradients, by this package and by TensorFlow")
    mine, theirs = ours(cotangent, *operands), native(cotangent, *operands)
    against_native = tuple(
        float(tf.reduce_max(tf.abs(a - b)) / tf.reduce_max(tf.abs(b)))
        for a, b in zip(mine, theirs, strict=True)
    )
    del theirs
    say(f"{name}: directional derivatives in float64")
    against_numbers = tuple(
        _directional_error(equation, operands, cotangent, k, mine[k], rng)
        for k in range(len(operands))
    )
    del mine
    times: dict[str, list[float]] = {"ours": [], "native": []}
    for turn in range(repeats):
        say(f"{name}: timing forward and backward, round {turn + 1} of {repeats}")
        for key, function in (("ours", ours), ("native", native)):
            start = time.perf_counter()
            # The sum waits for the device; it is a millionth of the work.
            float(tf.reduce_sum(function(cotangent, *operands)[-1]))
            times[key].append(time.perf_counter() - start)
    return _Comparison(
        name,
        against_native,
        against_numbers,
        statistics.median(times["ours"]),
        statistics.median(times["native"]),
    )


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
        return tf.reduce_sum(tf.einsum(equation, *moved) * tf.cast(cotangent, tf.float64))

    numeric = (loss(1.0) - loss(-1.0)) / 2
    products = tf.cast(gradient, tf.float64) * step
    return float(tf.abs(tf.reduce_sum(products) - numeric) / tf.norm(products))


def _table(comparisons: Sequence[_Comparison], n: int) -> Table:
    table = Table(title="forward and backward, median", title_justify="left")
    for heading in ("device", "gradient", "against TensorFlow", "against float64"):
        table.add_column(heading, justify="right" if "against" in heading else "left")
    for heading in ("native", "ours", "ratio"):
        table.add_column(heading, justify="right")
    for c in comparisons:
        for k in range(n):
            timing = (
                (f"{c.native * 1e3:.1f} ms", f"{c.ours * 1e3:.1f} ms", f"{c.native / c.ours:.2f}x")
                if k == 0
                else ("", "", "")
            )
            table.add_row(
                c.device if k == 0 else "",
                f"dL/d{chr(ord('A') + k)}",
                f"{c.against_native[k]:.1e}",
                f"{c.against_numbers[k]:.1e}",
                *timing,
            )
    return table
