"""How cost grows, and what a call costs by itself."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice, pairwise

import numpy as np
import tensorflow as tf

from tf_einsum_grad.algebra.equation import Equation, fresh_labels
from tf_einsum_grad.benchmark.results import Curve, Line, Overhead
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.variants import build_variants, make_tensors
from tf_einsum_grad.benchmark.workloads import Pass, Workload
from tf_einsum_grad.planning.plan import make_plan

__all__ = ["chain_equation", "measure_growth", "measure_overheads"]

# TensorFlow's own einsum takes ASCII letters as labels, and no others.
_NATIVE_LABELS = 52


def chain_equation(n: int) -> Equation:
    """A chain of n matrix products.

    Example:
        >>> str(chain_equation(3))
        'ab,bc,cd->ad'
    """
    labels = list(islice(fresh_labels(""), n + 1))
    return Equation(tuple(a + b for a, b in pairwise(labels)), labels[0] + labels[-1])


def measure_growth(
    effort: Effort,
    chains: Sequence[int] = (2, 4, 8, 16, 32, 64),
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32),
    plans: Sequence[int] = (10, 30, 100, 300, 1000),
    side: int = 128,
) -> tuple[Curve, ...]:
    """Chains of matrix products, a growing batch, and planning; in graph mode.

    Args:
        effort: how long each measurement may take.
        chains: numbers of operands, each a (side, side) matrix.
        batches: first sizes of `...k,kn->...n` with shapes (batch, side / 2, side) and
            (side, side).
        plans: numbers of operands of a chain that is planned for the first time.
        side: see above.
    """
    chain = {n: (str(chain_equation(n)), ((side, side),) * n) for n in chains}
    dense = "...k,kn->...n"
    batch = {n: (dense, ((n, side // 2, side), (side, side))) for n in batches}
    planning = Line("ours", tuple((n, _planning_seconds(n)) for n in plans))
    both: tuple[Pass, ...] = ("forward", "both")
    return (
        Curve(f"A chain of {side}x{side} matrices", "operands", _lines(chain, both, effort)),
        Curve(
            f"{dense} with (n,{side // 2},{side}) and ({side},{side})",
            "batch",
            _lines(batch, ("both",), effort),
        ),
        Curve("Planning a chain, first call", "operands", (planning,)),
    )


def _lines(
    einsums: Mapping[int, tuple[str, tuple[tuple[int, ...], ...]]],
    passes: Sequence[Pass],
    effort: Effort,
) -> tuple[Line, ...]:
    """A line for each variant and pass, through a point for each size."""
    points: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for size, (equation, shapes) in einsums.items():
        workload = Workload("", "", equation, shapes)
        built = build_variants(equation, "graph", *make_tensors(workload))
        if len(workload.sizes) > _NATIVE_LABELS:
            del built["native"]
        timed = {f"{who}, {which}": built[who][which] for which in passes for who in built}
        for name, seconds in interleave(timed, effort).items():
            points[name].append((size, float(np.median(seconds))))
    return tuple(Line(name, tuple(values)) for name, values in points.items())


def _planning_seconds(n: int) -> float:
    """The median of three first plans; sizes differ each time, so nothing is found in a cache."""
    rng = np.random.default_rng()
    equation = chain_equation(n)
    seconds = []
    for _ in range(3):
        sizes = tuple((label, int(rng.integers(2, 512))) for label in equation.labels)
        start = time.perf_counter()
        make_plan(equation, sizes, "float32")
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def measure_overheads(effort: Effort) -> tuple[Overhead, ...]:
    """A (4,5)x(5,3) product in eager mode against the matrix products that it consists of."""
    workload = Workload("", "", "ij,jk->ik", ((4, 5), (5, 3)))
    (a, b), cotangent = make_tensors(workload)

    def kernel(x: tf.Tensor, y: tf.Tensor, **transposes: bool) -> object:
        return tf.raw_ops.MatMul(a=x, b=y, **transposes)

    bare: dict[Pass, Callable[[], object]] = {
        "forward": lambda: kernel(a, b),
        "both": lambda: (
            kernel(a, b),
            kernel(cotangent, b, transpose_b=True),
            kernel(a, cotangent, transpose_a=True),
        ),
    }
    built = build_variants(workload.equation, "eager", (a, b), cotangent)
    found = []
    for which, call in bare.items():
        kernels = {"kernels": lambda call=call: call}
        samples = interleave({**kernels, **{who: built[who][which] for who in built}}, effort)
        medians = (float(np.median(samples[k])) for k in ("kernels", "ours", "native"))
        found.append(Overhead(which, *medians))
    return tuple(found)
