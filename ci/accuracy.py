"""Rounding errors of values and gradients against float64, ours over native's, in a table."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

import tf_einsum_grad as teg

SUITE = Path(teg.__file__).parent / "benchmark/workloads.json"
LARGEST = 24  # elements of a dimension of the suite
DTYPES = ("float32", "bfloat16", "float16")
MODES: dict[str, Callable] = {
    "eager": lambda f: f,
    "graph": tf.function,
    "XLA": lambda f: tf.function(f, jit_compile=True),
}
BOUND = 2.0

Case = tuple[str, tuple[tuple[int, ...], ...]]


def suite() -> list[Case]:
    """The suite, each dimension cut: equal ones stay equal, and ones stay ones."""
    return [
        (w["equation"], tuple(tuple(min(n, LARGEST) for n in shape) for shape in w["shapes"]))
        for w in json.loads(SUITE.read_text())
    ]


def long(terms: int) -> list[Case]:
    """Sums of so many terms: rows by a vector, rows by columns."""
    return [("ij,j->i", ((4, terms), (terms,))), ("ij,jk->ik", ((4, terms), (terms, 2)))]


def results(einsum: Callable, equation: str, operands: list, seed: int) -> list[np.ndarray]:
    """The value, and the gradients of its product with random numbers, in float64."""
    with tf.GradientTape() as tape:
        tape.watch(operands)
        value = einsum(equation, *operands)
        rng = np.random.default_rng(seed)
        cotangent = tf.cast(tf.cast(rng.standard_normal(value.shape), "bfloat16"), value.dtype)
    gradients = tape.gradient(value, operands, output_gradients=cotangent)
    return [tf.cast(x, "float64").numpy() for x in (value, *gradients)]


def in_mode(mode: Callable, einsum: Callable) -> Callable:
    return lambda equation, *x: mode(lambda *y: einsum(equation, *y))(*x)


def error(got: list[np.ndarray], exact: list[np.ndarray], unit: float) -> list[float]:
    """Root mean squares, each relative to the exact result's, in units of rounding."""
    return [
        math.sqrt(np.mean((g - e) ** 2) / np.mean(e**2)) / unit
        if np.isfinite(g).all()
        else math.inf
        for g, e in zip(got, exact, strict=True)
    ]


def compared(found: list[Case], dtype: str, mode: str) -> Iterator[tuple[str, float, float]]:
    """Of each result: the equation, our error and native's; left out what native refuses."""
    unit = float(np.finfo(tf.as_dtype(dtype).as_numpy_dtype).eps) if dtype != "bfloat16" else 2**-7
    for n, (equation, shapes) in enumerate(found):
        rng = np.random.default_rng(n)
        # Rounded once, so that all compute on the same numbers.
        x = [tf.cast(rng.standard_normal(shape), dtype) for shape in shapes]
        exact = results(teg.einsum, equation, [tf.cast(a, "float64") for a in x], n)
        if max(np.abs(e).max() for e in exact) > tf.as_dtype(dtype).max:
            continue  # no right answer in this dtype
        ours = error(results(in_mode(MODES[mode], teg.einsum), equation, x, n), exact, unit)
        try:
            natives = results(in_mode(MODES[mode], tf.einsum), equation, x, n)
        except (tf.errors.OpError, ValueError, TypeError):  # what it cannot do
            continue
        for o, e in zip(ours, error(natives, exact, unit), strict=True):
            yield equation, o, e


def row(name: str, found: list[Case], dtype: str, mode: str) -> float:
    """Prints a row; the worst ratio, where what both round to less than a half is alike."""
    of = [
        (1.0 if o == e else o / max(e, 0.5), o, e, equation)
        for equation, o, e in compared(found, dtype, mode)
    ]
    ratio, _, _, equation = max(of)
    ours, natives = max(o for _, o, _, _ in of), max(e for _, _, e, _ in of)
    print(
        f"| {name} | {dtype} | {mode} | {len(of)} | {ours:.3g} | {natives:.3g} | {ratio:.2f} "
        f"| `{equation}` |",
        flush=True,
    )
    return ratio


def main() -> int:
    print("| over | dtype | mode | results | ours, largest | native's | worst ratio | of |")
    print("|---|---|---|---|---|---|---|---|")
    sets = {"suite": suite()} | {f"10^{n} terms": long(10**n) for n in range(3, 8)}
    worst = max(row(s, sets[s], d, m) for s in sets for d in DTYPES for m in MODES)
    print(f"worst: {worst:.2f}")
    return worst > BOUND


if __name__ == "__main__":
    sys.exit(main())
