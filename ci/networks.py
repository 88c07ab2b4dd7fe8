"""Compares random networks with opt_einsum's paths in FLOPs, and with native einsum in time.

Exits with 1 where a path takes more than 1.5 times the FLOPs of another, or where ours is slower
than native beyond noise where it is measured with care.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import opt_einsum
import tensorflow as tf

import tf_einsum_grad as teg
from tests.networks import count, random_network, reduced_network
from tf_einsum_grad.algebra.sizes import bind_call
from tf_einsum_grad.benchmark.statistics import geometric_mean, paired_ratio
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.planning.plan import make_plan

MOST_FLOPS = 1.5
OTHERS = {
    "dp": opt_einsum.paths.dynamic_programming,
    "optimal": opt_einsum.paths.optimal,
    "greedy": opt_einsum.paths.greedy,
    "auto": opt_einsum.paths.auto,
}
MOST_OPTIMAL = 6  # operands; opt_einsum compares every order of them
# What is timed: what native can do too, in seconds, and large enough to see something.
LARGEST = 2**22  # elements of a tensor, on native's way too
LEAST, MOST = 1e5, 1e9  # FLOPs of ours


def plan(text, shapes, optimize):
    bound = bind_call(text, shapes)
    return make_plan(bound.equation, bound.sizes, "float32", optimize)


def compare_paths(n):
    """Every network whose path takes more than it may; prints what all take."""
    ratios, seconds, wrong = {}, {}, []
    for seed in range(n):
        text, shapes = random_network(seed)
        start = time.process_time()
        path = plan(text, shapes, "auto").path
        seconds.setdefault(len(shapes), []).append(time.process_time() - start)
        equation, sizes = reduced_network(text, shapes)
        ours, _ = count(equation, sizes, path)
        inputs, output = list(map(frozenset, equation.inputs)), frozenset(equation.output)
        for name, optimizer in OTHERS.items():
            if name != "optimal" or len(shapes) <= MOST_OPTIMAL:
                theirs, _ = count(equation, sizes, optimizer(inputs, output, sizes))
                ratios.setdefault(name, []).append(ours / theirs)
                if ours > MOST_FLOPS * theirs:
                    wrong.append((seed, text, shapes, name, ours / theirs))
    print(f"FLOPs of {n} networks, ours over opt_einsum's:")
    for name, values in ratios.items():
        print(
            f"  {name:>8}: {len(values):>5}, geometric mean {geometric_mean(values):.3f}, "
            f"{min(values):.2g} to {max(values):.3f}"
        )
    print("CPU milliseconds to plan, median and 90%, by the number of operands:")
    for n_operands, values in sorted(seconds.items()):
        half, most = np.percentile(values, (50, 90))
        print(f"  {n_operands:>2}: {1e3 * half:6.1f} {1e3 * most:6.1f}")
    return wrong


def native_can(text, shapes):
    """Whether native einsum takes it, without a tensor that is too large."""
    sizes = {}
    for term, shape in zip(text.split("->")[0].split(","), shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            if sizes.setdefault(label, size) != size:
                return False  # it does not broadcast
    greedy = plan(text, shapes, "greedy").largest_intermediate
    largest = max(greedy, *map(math.prod, shapes), math.prod(sizes[x] for x in text.split("->")[1]))
    return largest <= LARGEST and LEAST <= plan(text, shapes, "auto").flops <= MOST


def training_step(einsum, text, operands):
    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = einsum(text, *operands)
        return result, tape.gradient(result, operands)

    return step.get_concrete_function()


def measure(text, shapes, effort):
    operands = [tf.random.stateless_normal(shape, [0, k]) for k, shape in enumerate(shapes)]
    steps = {
        name: training_step(einsum, text, operands)
        for name, einsum in (("native", tf.einsum), ("ours", teg.einsum))
    }
    samples = interleave({name: lambda step=step: step for name, step in steps.items()}, effort)
    return paired_ratio(samples["native"], samples["ours"])


def compare_times(n):
    """Every network that is slower than native's; prints how all are."""
    ratios, slower, seed = [], [], 10_000
    while len(ratios) < n:
        seed += 1
        text, shapes = random_network(seed)
        if not native_can(text, shapes):
            continue
        ratio = measure(text, shapes, Effort(repeats=5, seconds=0.05))
        if ratio.value < 1.03:  # too near to tell by a glance
            ratio = measure(text, shapes, Effort(repeats=15, seconds=1.0))
        ratios.append(ratio.value)
        if ratio.high < 1:
            slower.append((seed, text, shapes, ratio))
    low, high = np.percentile(ratios, (5, 95))
    print(
        f"Times of {n} networks, native's over ours: geometric mean {geometric_mean(ratios):.2f}, "
        f"5% {low:.2f}, 95% {high:.2f}, least {min(ratios):.2f}, most {max(ratios):.2f}"
    )
    return slower


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=2000, help="whose paths are compared")
    parser.add_argument("--timed", type=int, default=2000, help="that are timed")
    arguments = parser.parse_args()
    wrong = compare_paths(arguments.networks)
    for seed, text, shapes, other, ratio in wrong:
        print(f"WRONG: {ratio:.2f} times the FLOPs of {other}: {text} {shapes} (seed {seed})")
    slower = compare_times(arguments.timed)
    for seed, text, shapes, ratio in slower:
        bounds = f"{ratio.value:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})"
        print(f"SLOWER: {bounds}: {text} {shapes} (seed {seed})")
    return 1 if wrong or slower else 0


if __name__ == "__main__":
    raise SystemExit(main())
