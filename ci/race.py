"""Races ours against native einsum; exits with 1 where anything falls short beyond noise."""

from __future__ import annotations

import argparse
import json
import math
import random
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_einsum_grad.benchmark.statistics import Ratio, geometric_mean, paired_ratio
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.variants import VARIANTS, build_passes, make_tensors
from tf_einsum_grad.benchmark.workloads import MODES, Workload, load_workloads
from tf_einsum_grad.execution.here import circumstances
from tf_einsum_grad.lowering.lower import lower
from tf_einsum_grad.lowering.machines import machine_here, using
from tf_einsum_grad.tuning.candidates import time_candidates
from tf_einsum_grad.tuning.choose import choose
from tf_einsum_grad.tuning.collect import collect
from tf_einsum_grad.tuning.tune import tune

SHARED = Path(__file__).resolve().parents[2] / "shared" / "workloads.json"
LEAST = 0.97  # times native's speed, by the upper end of the interval
LEAST_BYTES, MOST_BYTES, MOST_FLOPS = 1e5, 3e7, 1e9
# A first look; and, where that falls short, a longer one that counts.
LOOK, AGAIN = Effort(repeats=5, seconds=0.15, most=40), Effort(repeats=15, seconds=1.0, most=200)


@dataclass(frozen=True)
class Lap:
    """One einsum in one mode."""

    workload: Workload
    mode: str
    ratio: Ratio

    @property
    def short(self) -> bool:
        return self.ratio.high < LEAST


def random_workload(seed: int) -> Workload:
    """Of one to four operands, 0.1 to 30 MB: all roles, transposes, diagonals and ellipses."""
    rng = random.Random(seed)
    while True:
        n = rng.choice((1, 2, 2, 2, 3, 4))
        labels = string.ascii_lowercase[: rng.randint(2, 6)]
        size = {label: rng.choice((2, 3, 4, 8, 16, 32, 64, 100, 128, 256, 512)) for label in labels}
        terms = [rng.sample(labels, rng.randint(1, min(4, len(labels)))) for _ in range(n)]
        if rng.random() < 0.1:
            term = rng.choice(terms)
            term.insert(rng.randint(0, len(term)), rng.choice(term))
        used = sorted({label for term in terms for label in term})
        output = rng.sample(used, rng.randint(0, min(4, len(used))))
        dots, inner = rng.random() < 0.15, rng.choice(((4,), (8, 2)))
        shapes = [inner * dots + tuple(size[x] for x in term) for term in terms]
        text = ",".join("..." * dots + "".join(term) for term in terms)
        text += "->" + "..." * dots + "".join(output)
        if not LEAST_BYTES < 4 * sum(map(math.prod, shapes)) < MOST_BYTES:
            continue
        workload = Workload(f"random {seed}", "random", text, tuple(shapes))
        makes = math.prod(workload.output_shape) * 4
        all_labels = math.prod(workload.sizes.values())
        if makes < MOST_BYTES and all_labels < MOST_FLOPS:
            return workload


def workloads(n_random: int, seed: int) -> Iterator[Workload]:
    known = {(w.equation, w.shapes): w for w in load_workloads()}
    if SHARED.exists():
        for entry in json.loads(SHARED.read_text("utf-8")):
            shapes = tuple(map(tuple, entry["shapes"]))
            known[entry["equation"], shapes] = Workload(**entry | {"shapes": shapes})
    yield from known.values()
    yield from map(random_workload, range(seed, seed + n_random))


def race(workload: Workload, mode: str, effort: Effort) -> Ratio:
    operands, cotangent = make_tensors(workload)
    passes = {
        who: build_passes(einsum, workload.equation, mode, operands, cotangent)["both"]
        for who, einsum in VARIANTS.items()
    }
    samples = interleave(passes, effort)
    return paired_ratio(samples["native"], samples["ours"])


def lap(workload: Workload, mode: str) -> Lap | None:
    """None where native cannot do it, or not in memory and time."""
    try:
        ratio = race(workload, mode, LOOK)
        if ratio.high < LEAST:
            ratio = race(workload, mode, AGAIN)
    except (ValueError, tf.errors.OpError):
        return None
    return Lap(workload, mode, ratio)


def better(workload: Workload, mode: str) -> Iterator[str]:
    """Which kernels would have won, contraction by contraction."""
    operands, _ = make_tensors(workload)

    def function(*operands):
        return VARIANTS["ours"](workload.equation, *operands)

    for contraction in collect(function, operands, machine_here(), mode).contractions:
        running = lower(contraction)
        choice = choose(time_candidates(contraction, LOOK, running), running)
        if choice is not None:
            yield f"    {contraction.signature}: {choice.ratio.value:.2f}x by {choice.best.recipe}"
            yield f"        in place of {running.recipe}"


def after_tuning(lap: Lap) -> Ratio:
    operands, _ = make_tensors(lap.workload)
    equation = lap.workload.equation
    found = tune(
        lambda *operands: VARIANTS["ours"](equation, *operands),
        operands,
        seconds=3,
        mode=lap.mode,
    )
    with using(found.machine):
        return race(lap.workload, lap.mode, AGAIN)


def show(laps: list[Lap], mode: str) -> None:
    values = [lap.ratio.value for lap in laps if lap.mode == mode]
    if values:
        low = np.percentile(values, 5)
        short = sum(lap.short for lap in laps if lap.mode == mode)
        print(
            f"{mode}: {len(values)} einsums, geometric mean {geometric_mean(values):.2f}x, "
            f"5% {low:.2f}x, least {min(values):.2f}x; {short} fall short of {LEAST}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=100, help="how many random equations")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--seconds", type=float, default=math.inf, help="to stop after, each mode")
    parser.add_argument("--tune", action="store_true", help="race what falls short again, tuned")
    arguments = parser.parse_args()
    here = circumstances()
    onednn = "with" if here.onednn else "without"
    print(f"{here.device}, {here.threads} threads, {onednn} oneDNN, TensorFlow {here.tensorflow}")
    laps: list[Lap] = []
    for mode in arguments.modes.split(","):
        start = time.perf_counter()
        for workload in workloads(arguments.random, arguments.seed):
            if time.perf_counter() - start > arguments.seconds:
                break
            one = lap(workload, mode)
            if one is None:
                continue
            laps.append(one)
            if one.short:
                r = one.ratio
                print(f"SHORT {mode} {r.value:.2f}x ({r.low:.2f} to {r.high:.2f}) {workload}")
                print(*better(workload, mode), sep="\n", flush=True)
                if arguments.tune:
                    r = after_tuning(one)
                    print(f"    tuned: {r.value:.2f}x ({r.low:.2f} to {r.high:.2f})", flush=True)
        show(laps, mode)
    return 1 if any(one.short for one in laps) else 0


if __name__ == "__main__":
    raise SystemExit(main())
