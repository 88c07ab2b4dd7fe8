"""Load: what the package does under many threads, shapes, steps and processes; figures in lines."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

import tf_einsum_grad as teg

EQUATIONS = (
    "ij,jk->ik",
    "bij,bjk->bik",
    "bthd,bshd->bhts",
    "i,j->ij",
    "...k,kn->...n",
    "ijk,ijl->kl",
    "abc->ca",
    "ij,jk,kl->il",
)
LIMIT = 200  # seconds after which a part hangs


def resident() -> float:
    """MiB of this process in memory (proc_pid_statm(5))."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def operands(equation: str, size: int = 5) -> list[np.ndarray]:
    """Small integers, so that sums in float64 are exact in any order."""
    rng = np.random.default_rng(len(equation) * 1000 + size)
    terms = equation.split("->")[0].replace("...", "xy").split(",")
    return [rng.integers(-4, 5, (size,) * len(term)).astype("float64") for term in terms]


def same(einsum, equation: str) -> bool:
    """Whether the value and the first gradient are NumPy's."""
    arrays = operands(equation)
    first = tf.constant(arrays[0])
    with tf.GradientTape() as tape:
        tape.watch(first)
        value = einsum(equation, first, *arrays[1:])
    expected = np.einsum(equation, *arrays)
    # The einsum is linear in its first operand: <gradient, operand> is the sum of its elements.
    gradient = tape.gradient(value, first)
    return bool(np.array_equal(value, expected) and np.sum(gradient * first) == np.sum(expected))


def threads(steps: int) -> None:
    """Eight threads, each with its own equation, eagerly and traced, all at once."""
    traced = {e: tf.function(lambda *x, e=e: teg.einsum(e, *x)) for e in EQUATIONS}

    def work(equation: str) -> int:
        ways = (teg.einsum, lambda _, *x: traced[equation](*map(tf.constant, x)))
        return sum(not same(way, equation) for _ in range(steps) for way in ways)

    with ThreadPoolExecutor(8) as pool:
        wrong = sum(pool.map(work, EQUATIONS))
    count = sum(f.experimental_get_tracing_count() for f in traced.values())
    print(f"threads: 8 x {steps} eager and traced with gradients, {wrong} wrong, {count} traces")


def shapes(count: int) -> None:
    """Distinct shapes: memory after each quarter, which bounded caches let level out."""
    before, marks = resident(), []
    for n in range(count):
        a, b = tf.ones((n % 200 + 1, 2)), tf.ones((2, n // 200 + 1))
        teg.einsum("ij,jk->ik", a, b)
        if (n + 1) % (count // 4) == 0:
            marks.append(f"{resident() - before:+.0f}")
    print(f"shapes: {count} distinct, MiB after each quarter {' '.join(marks)}")


def training(steps: int) -> None:
    """Gradient descent, eagerly and traced: memory after a first tenth and at the end."""
    w = tf.Variable(tf.ones((16, 16), "float32") / 16)
    x = tf.ones((8, 16))

    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(teg.einsum("bi,ij->bj", x, w) ** 2)
        w.assign_sub(1e-4 * tape.gradient(loss, w))

    for name, function in (("eager", step), ("traced", tf.function(step))):
        for _ in range(steps // 10):
            function()
        before = resident()
        for _ in range(steps):
            function()
        print(f"training: {steps} steps {name}, {before:.0f} MiB before, {resident():.0f} after")


def child(einsum_of: str) -> None:
    """What a worker runs; its exit code says whether the numbers were right."""
    einsum = teg.einsum if einsum_of == "ours" else tf.einsum
    sys.exit(0 if all(same(einsum, e) for e in EQUATIONS) else 3)


def workers(_: int) -> None:
    """Spawned and forked workers after TensorFlow has started, ours beside native's."""
    same(teg.einsum, EQUATIONS[0])
    for method in ("spawn", "fork"):
        for whose in ("ours", "native"):
            process = multiprocessing.get_context(method).Process(target=child, args=(whose,))
            process.start()
            process.join(30)
            said = "hangs" if process.exitcode is None else f"exit code {process.exitcode}"
            process.kill()
            process.join()
            print(f"workers: {method}, {whose}: {said}", flush=True)


def installing(steps: int) -> None:
    """Two threads install and uninstall while six call `tf.einsum`."""
    native = tf.einsum

    def flip(_: int) -> int:
        for _ in range(steps):
            teg.install()
            teg.uninstall()
        return 0

    def call(n: int) -> int:
        equation = EQUATIONS[n]
        return sum(not same(lambda *x: tf.einsum(*x), equation) for _ in range(steps))

    with ThreadPoolExecutor(8) as pool:
        flips, calls = pool.map(flip, range(2)), pool.map(call, range(6))
        wrong = sum(flips) + sum(calls)
    restored = "restored" if tf.einsum is native else "NOT restored"
    print(f"installing: 2 x {steps} under 6 x {steps} calls, {wrong} wrong, native {restored}")


def graphs(rounds: int) -> None:
    """What traces a graph anew each time, with 4 to 8 MB that it would hold if it were kept."""
    fresh = {
        "vectorized_map": (tf.ones([8, 512, 512]), tf.ones([512, 16])),
        "batch_jacobian": (tf.ones([4, 2**14]), tf.ones([2**14, 64])),
        "Dataset.map": (tf.ones([2**20, 2]), tf.ones([])),
        "retrace": (tf.ones([2, 512]), tf.ones([512, 2048])),
    }

    def call(name: str, x: tf.Tensor, w: tf.Tensor) -> object:
        if name == "vectorized_map":
            return tf.vectorized_map(lambda row: teg.einsum("ij,jk->ik", row, w), x)
        if name == "batch_jacobian":
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = teg.einsum("bi,ij->bj", x, w)
            return tape.batch_jacobian(y, x)
        if name == "Dataset.map":
            return list(tf.data.Dataset.range(2).map(lambda _: teg.einsum("ij->j", x)))
        held = tf.Variable(w)
        return tf.function(lambda x: teg.einsum("ij,jk->ik", x, held))(x)

    tf.get_logger().setLevel("ERROR")  # which warns of retracing, as is meant here
    for name, (x, w) in fresh.items():
        sizes = []
        for n in range(rounds + 1):
            call(name, x, w)
            if n in (rounds // 4, rounds // 2, rounds):
                sizes.append(round(resident()))
        print(f"graphs: {name}, MiB after a quarter, half and all of {rounds} rounds: {sizes}")
        if sizes[2] - sizes[1] > 50:
            raise SystemExit(f"graphs: {name} grows")


PARTS = {
    threads: 500,
    shapes: 20_000,
    training: 10_000,
    workers: 1,
    installing: 300,
    graphs: 200,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    names = {part.__name__: part for part in PARTS}
    parser.add_argument("--part", choices=names)
    chosen = parser.parse_args().part
    if chosen:
        names[chosen](PARTS[names[chosen]])
        return 0
    failed = 0
    for name in names:
        try:
            code = subprocess.run(
                [sys.executable, __file__, "--part", name], timeout=LIMIT
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
        if code:
            print(f"{name}: FAILED, exit code {code}", flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
