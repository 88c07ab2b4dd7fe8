"""Peaks and times of einsums under memory limits."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time

from tests.networks import circuit, patch, regular, ring, train_norm

MIB = 2**20


EINSUMS = {
    "a product of three": (
        "aij,ajk,kl->lia",
        [(64, 512, 256), (64, 256, 512), (512, 128)],
    ),
    "bilinear": ("bi,oij,bj->bo", [(4096, 128), (128, 128, 128), (4096, 128)]),
    "linear attention": ("bqd,bkd,bkv->bqv", [(64, 1024, 64)] * 3),
    "MTTKRP": ("ijk,jr,kr->ir", [(300, 300, 300), (300, 64), (300, 64)]),
    "tensor ring of 12": ring(12, 64, 6),
    "norm of a tensor train, 60 tensors": train_norm(30, 256, 4),
    "amplitude of a circuit, 48 tensors of 5 levels": circuit(8, 9, 5),
    "patch of 4 by 4 tensors (PEPS), bonds of 24": patch(4, 24),
    "patch of 5 by 5 tensors (PEPS), bonds of 10": patch(5, 10),
    "24 tensors bound at random, bonds of 12": regular(24, 12, 1),
}


def measure(name: str, limit: int | None) -> None:
    import tensorflow as tf

    import tf_einsum_grad as teg

    equation, shapes = EINSUMS[name]
    operands = [
        tf.random.stateless_normal(s, [0, k]) / math.sqrt(max(s, default=1) ** (len(s) / 2))
        for k, s in enumerate(shapes)
    ]

    def step(*operands):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            y = teg.einsum(equation, *operands, memory_limit=limit)
        return y, tape.gradient(y, operands)

    run = tf.function(step, autograph=False).get_concrete_function(*operands)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        run(*operands)
        seconds.append(time.perf_counter() - start)
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(json.dumps({"seconds": min(seconds), "peak": peak}))


def planned(name: str, **options: object) -> tuple[int, int]:
    """The slices, and the peak beyond operands, result and gradients of either pass."""
    from tf_einsum_grad.explaining.explanation import explain

    equation, shapes = EINSUMS[name]
    found = explain(equation, *shapes, **options).memory
    return found.n_slices, max(found.forward_bytes, found.backward_bytes)


def main() -> None:
    print("| einsum | limit | slices | planned peak, MB | process grows by, MB | time |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in EINSUMS:
        _, peak = planned(name, recompute=True)
        base = None
        for share in (None, 2, 4):
            limit = None if share is None else peak // share
            slices, own = (1, peak) if limit is None else planned(name, memory_limit=limit)
            command = [sys.executable, __file__, "one", name, str(limit or 0)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            told = json.loads(done.stdout.splitlines()[-1])
            base = base or told["seconds"]
            shown = "none" if limit is None else f"{limit / 1e6:.1f} MB"
            times = f"{1e3 * told['seconds']:.0f} ms, {told['seconds'] / base:.2f}x"
            print(
                f"| {name} | {shown} | {slices:,} | {own / 1e6:.1f} | {told['peak'] / 1e6:.0f} "
                f"| {times} |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        measure(sys.argv[2], int(sys.argv[3]) or None)
    else:
        main()
