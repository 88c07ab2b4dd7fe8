"""The table that `ci/sparse` prints."""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.benchmark.memory_worker import peak_of
from tf_einsum_grad.text.numbers import duration, show_bytes, times

# Equations whose first operand is sparse, with the shape of each operand.
CASES = {
    "ij,jk->ik": ((2000, 2000), (2000, 64)),
    "ij,j->i": ((2000, 2000), (2000,)),
    "bij,bjk->bik": ((16, 500, 500), (16, 500, 64)),
    "ij,jk,kl->il": ((2000, 2000), (2000, 64), (64, 64)),
    "ij,ik,jk->": ((2000, 2000), (2000, 64), (2000, 64)),
}
DENSITIES = (1e-4, 1e-3, 1e-2, 1e-1)
VARIANTS = ("einsum", "sparse_dense_matmul", "dense")


def draw(equation: str, density: float) -> tuple[tf.SparseTensor, list[tf.Tensor]]:
    """A sparse operand of that density, in order, and the others."""
    rng = np.random.default_rng(0)
    first, *others = CASES[equation]
    n = max(1, round(density * np.prod(first)))
    places = np.sort(rng.choice(np.prod(first), n, replace=False))
    index = np.stack(np.unravel_index(places, first), 1)
    values = rng.standard_normal(n, np.float32)
    dense = [tf.constant(rng.standard_normal(shape, np.float32)) for shape in others]
    return tf.SparseTensor(index, values, first), dense


def both_passes(equation: str, variant: str, density: float) -> Callable[[], Any] | None:
    """The result's sum of squares and all gradients in a `tf.function`; None where there is none."""
    x, others = draw(equation, density)
    source = tf.sparse.to_dense(x) if variant == "dense" else x.values
    indices, shape = x.indices, x.dense_shape

    def forward(source: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
        if variant == "dense":
            return teg.einsum(equation, source, *others)
        sparse = tf.SparseTensor(indices, source, shape)
        if variant == "einsum":
            return teg.einsum(equation, sparse, *others)
        product: tf.Tensor = tf.sparse.sparse_dense_matmul(sparse, *others)
        return product

    @tf.function(autograph=False)
    def run(*tensors: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = tf.reduce_sum(forward(*tensors) ** 2)
        return loss, tape.gradient(loss, tensors)

    if variant == "sparse_dense_matmul" and equation != "ij,jk->ik":
        return None
    return lambda: run(source, *others)


def measure_times(equation: str, density: float, seconds: float) -> list[float | None]:
    """Medians of runs in turn."""
    calls = [both_passes(equation, variant, density) for variant in VARIANTS]
    found: list[list[float]] = [[] for _ in calls]
    for call in calls:
        if call:
            call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found[0]) < 5:
        for call, durations in zip(calls, found, strict=True):
            if call:
                start = time.perf_counter()
                call()[0].numpy()
                durations.append(time.perf_counter() - start)
    return [statistics.median(durations) if durations else None for durations in found]


def measure_memory(equation: str, density: float, variant: str) -> int | None:
    """The peak of both passes, above what the inputs take."""
    call = both_passes(equation, variant, density)
    if call is None:
        return None
    for _ in range(2):
        call()
    return max(peak_of(call) for _ in range(2))


def rows(seconds: float) -> Iterator[str]:
    """The table in Markdown, a row for each equation and density."""
    # A process for each figure, so that none sees what another one left.
    fork = multiprocessing.get_context("fork")
    with fork.Pool(1, maxtasksperchild=1) as pool:
        for equation in CASES:
            for density in DENSITIES:
                ours, product, dense = pool.apply(measure_times, (equation, density, seconds))
                peaks = [pool.apply(measure_memory, (equation, density, v)) for v in VARIANTS]
                cells = [f"`{equation}`", f"{density:g}", duration(ours)]
                cells += [times(x / ours) if x else "" for x in (product, dense)]
                cells += [show_bytes(peak) if peak is not None else "" for peak in peaks]
                yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each equation and density")
    print("| equation | density | time | TF | dense | memory | TF | dense |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows(parser.parse_args().seconds):
        print(row, flush=True)


if __name__ == "__main__":
    main()
