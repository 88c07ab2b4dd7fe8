"""Prints the rates of this machine: the fastest of three times of each probe."""

from __future__ import annotations

import dataclasses
import sys

import tensorflow as tf

from tf_einsum_grad.benchmark.timing import Effort
from tf_einsum_grad.execution.here import circumstances
from tf_einsum_grad.lowering.machines import CPU
from tf_einsum_grad.tuning.kernels import time_probe
from tf_einsum_grad.tuning.rates import Probe, fit

ROUNDS = 3
EFFORT = Effort(repeats=7, seconds=0.2, most=60)


def main() -> None:
    threads = int(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    least: dict[Probe, float] = {}

    def clock(probe: Probe) -> float:
        least[probe] = min(time_probe(probe, EFFORT), least.get(probe, float("inf")))
        return least[probe]

    for _ in range(ROUNDS):
        machine = fit(clock, CPU, "measured")
    here = circumstances()
    onednn = "with" if here.onednn else "without"
    print(f"# {here.device}, {here.threads} threads, TensorFlow {here.tensorflow}, {onednn} oneDNN")
    print("replace(\n    CPU,")
    for field in dataclasses.fields(machine):
        value = getattr(machine, field.name)
        if value != getattr(CPU, field.name):
            shown = repr(value) if isinstance(value, str) else f"{float(f'{value:.2g}'):_}"
            print(f"    {field.name}={shown},")
    print(")")


if __name__ == "__main__":
    main()
