"""Plants faults of many kinds and checks models of millions of parameters; writes two tables.

    ci/gradcheck_tables [faults] [time]

Everything runs with default arguments. Each model has a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "ci")]
from gradcheck_comparison import PAGE, insert  # noqa: E402
from gradcheck_transformer import LENGTH, VOCABULARY, transformer  # noqa: E402

from tests.gradcheck.cases import BUGS  # noqa: E402
from tests.gradcheck.test_adversarial import WRONG  # noqa: E402
from tf_einsum_grad.gradcheck import check_gradients  # noqa: E402

FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sin": (tf.sin, tf.cos),
    "tanh": (tf.tanh, lambda v: 1 - tf.tanh(v) ** 2),
    "exp": (tf.exp, tf.exp),
    "sigmoid": (tf.sigmoid, lambda v: tf.sigmoid(v) * (1 - tf.sigmoid(v))),
    "softplus": (tf.nn.softplus, tf.sigmoid),
    "square": (tf.square, lambda v: 2 * v),
    "sqrt": (lambda v: tf.sqrt(v**2 + 1), lambda v: v / tf.sqrt(v**2 + 1)),
    "log": (lambda v: tf.math.log(v**2 + 1), lambda v: 2 * v / (v**2 + 1)),
}


def _one(v: tf.Tensor, factor: float) -> tf.Tensor:
    ones = tf.ones(tf.size(v), v.dtype)
    return tf.reshape(tf.tensor_scatter_nd_update(ones, [[3]], [factor]), tf.shape(v))


# kind of fault: the wrong gradient, of (cotangent, right slope, argument)
FAULTS: dict[str, Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Any]] = {
    "the sign": lambda dy, slope, v: -dy * slope,
    "a factor of 2": lambda dy, slope, v: 2 * dy * slope,
    "0.1%": lambda dy, slope, v: tf.cast(1.001, v.dtype) * dy * slope,
    "a mean for a sum": lambda dy, slope, v: dy * slope / tf.cast(tf.size(v), v.dtype),
    "upstream gradient ignored": lambda dy, slope, v: slope,
    "upstream gradient clipped": lambda dy, slope, v: tf.clip_by_value(dy, -0.5, 0.5) * slope,
    "the chain rule forgotten": lambda dy, slope, v: dy,
    "None": lambda dy, slope, v: None,
    "one element doubled": lambda dy, slope, v: dy * slope * _one(v, 2.0),
    "one element zero": lambda dy, slope, v: dy * slope * _one(v, 0.0),
    "rows swapped": lambda dy, slope, v: tf.reverse(dy * slope, [0]),
    "a constant added": lambda dy, slope, v: dy * slope + tf.cast(1e-2, v.dtype),
    "negative arguments only": lambda dy, slope, v: dy * slope * tf.where(v > 0, 1.0, 1.1),
    "only in a graph": lambda dy, slope, v: dy * slope * (1.0 if tf.executing_eagerly() else 1.1),
    "a slope rounded to float16": lambda dy, slope, v: dy * tf.cast(tf.cast(slope, tf.float16), v.dtype),
}  # fmt: skip


def planted() -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Yields (kind, function, inputs, options) for every planted fault."""
    v = tf.constant(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32))
    w = tf.Variable(np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32))
    for kind, wrong in FAULTS.items():
        for forward, slope in FUNCTIONS.values():

            @tf.custom_gradient
            def alone(v, forward=forward, slope=slope, wrong=wrong):
                return forward(v), lambda dy: wrong(dy, slope(v), v)

            # By itself, and inside a small network.
            yield kind, alone, v, {}
            yield kind, lambda v, f=alone: tf.tanh(f(v @ w) @ w), (v,), {"variables": [w]}
    for name, (make, _) in BUGS.items():
        yield name.replace("_", " "), *make(0)
    for name, (fn, inputs, options, _) in WRONG.items():
        yield name, fn, inputs, options


def faults() -> str:
    """Returns the table of planted faults, by kind."""
    total, caught, named = Counter[str](), Counter[str](), Counter[str]()
    for kind, fn, inputs, options in planted():
        needed = {
            key: options[key]
            for key in options
            if key in ("order", "loss", "training", "variables")
        }
        report = check_gradients(fn, inputs, localize=False, progress=False, **needed)
        total[kind] += 1
        caught[kind] += not report.passed
        named[kind] += report.status in ("FAIL", "MISSING", "NONFINITE")
        if report.passed:
            print("missed:", kind, report.summary(), flush=True)
    rows = [f"| {kind} | {n} | {caught[kind]} | {named[kind]} |" for kind, n in total.items()]
    sums = [sum(c.values()) for c in (total, caught, named)]
    head = ["| fault | planted | did not pass | of these, FAIL or MISSING |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, "| **all** | " + " | ".join(map(str, sums)) + " |"])


def model_of(name: str) -> tuple[keras.Model, Any]:
    """Returns a model by name, and inputs for it."""
    rng = np.random.default_rng(0)
    if name == "transformer":
        return transformer(), rng.integers(0, VOCABULARY, (2, LENGTH)).astype(np.int32)
    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(64, 64, 3), classes=10)
    return model, rng.normal(size=(2, 64, 64, 3)).astype(np.float32)


def measure(name: str, training: bool) -> None:
    """Checks one model, and prints what it took as a line of JSON."""
    model, inputs = model_of(name)
    start, processor = time.perf_counter(), time.process_time()
    report = check_gradients(model, inputs, training=training, progress=False)
    if not report.passed:
        print(report.summary())
    found = {
        "status": str(report.status), "leaves": sum(leaf.status != "SKIPPED" for leaf in report.leaves),
        "parameters": model.count_params(), "evaluations": report.evaluations,
        "passes": report.backward_passes, "seconds": time.perf_counter() - start,
        "processor": time.process_time() - processor, "load": os.getloadavg()[0],
    }  # fmt: skip
    print(json.dumps(found))


def times() -> str:
    """Returns the table of models."""
    rows = [
        "| model | mode | parameters | leaves | verdict | evaluations | backward passes |"
        " processor time | wall time | load |",
        "|---" * 10 + "|",
    ]
    for name in ("transformer", "MobileNetV2", "ResNet50"):
        for mode in ("inference", "training"):
            command = [sys.executable, __file__, "model", name, mode]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            r = json.loads(out.splitlines()[-1])
            print(name, mode, out, flush=True)
            rows.append(
                f"| {name} | {mode} | {r['parameters']:,} | {r['leaves']} | {r['status']} |"
                f" {r['evaluations']} | {r['passes']} | {r['processor']:.0f} s | {r['seconds']:.0f} s |"
                f" {r['load']:.0f} |"
            )
    return "\n".join(rows)


def main() -> None:
    if sys.argv[1:2] == ["model"]:
        measure(sys.argv[2], sys.argv[3] == "training")
        return
    for marker, table in (("faults", faults), ("time", times)):
        if len(sys.argv) == 1 or marker in sys.argv[1:]:
            text = table()
            print(text)
            page = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(insert(page, marker, text), encoding="utf-8")


if __name__ == "__main__":
    main()
