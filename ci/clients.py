"""Runs other people's models and einsum tests with and without `installed()`; writes a page.

Exits with 1 where a loss or a gradient differs, or a test fails that passes without us.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from client_models import GENERATIONS, MODELS

import tf_einsum_grad as teg
from tf_einsum_grad.execution import call

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "clients.md"
SECONDS = 60  # for a model, after three rounds
TOLERANCE = 1e-4  # of the loss, and of the largest entry of each gradient; float32


def training_step(loss, variables):
    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            value = loss()
        gradients = tape.gradient(value, variables, unconnected_gradients="zero")
        return value, [tf.convert_to_tensor(g) for g in gradients]  # those of embeddings are sparse

    return step


def timed(step):
    start = time.perf_counter()
    tf.nest.map_structure(lambda t: t.numpy(), step())
    return 1000 * (time.perf_counter() - start)


def difference(ours, native):
    """Largest difference of a gradient's entries, as a share of the variable's largest.

    Of a thousandth of the model's largest where that is more: some are zero but for rounding.
    """
    largest = [float(np.abs(n).max()) for n in native]
    floor = max(largest) / 1000
    return max(
        float(np.abs(o - n).max()) / max(scale, floor)
        for o, n, scale in zip(ours, native, largest, strict=True)
    )


def run_model(make, rounds):
    keras.utils.set_random_seed(11)
    loss, owner = make()
    variables = [v.value if isinstance(v, keras.Variable) else v for v in owner.trainable_variables]
    native = training_step(loss, variables)
    native_loss, native_gradients = native()
    ours = training_step(loss, variables)
    with teg.installed(), mock.patch.object(call, "_run", wraps=call._run) as calls:
        ours_loss, ours_gradients = ours()
    return {
        "name": make.__doc__.strip().rstrip("."),
        "einsums": calls.call_count,
        "loss": abs(float(ours_loss) - float(native_loss)) / max(1e-12, abs(float(native_loss))),
        "gradient": difference(
            [g.numpy() for g in ours_gradients], [g.numpy() for g in native_gradients]
        ),
        **interleaved(native, ours, rounds),
    }


def interleaved(native, ours, rounds):
    """Medians in milliseconds; in turn, so that a busy machine is busy for both."""
    times = {"native": [], "ours": []}
    start = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - start > SECONDS:
            break
        steps = [("native", native), ("ours", ours)]
        for name, step in steps if done % 2 else steps[::-1]:
            times[name].append(timed(step))
    return {name: statistics.median(values) for name, values in times.items()}


def run_generation(make, rounds):
    """The tokens that a language model adds, greedily: the same ones, and how long they take."""
    keras.utils.set_random_seed(11)
    model, inputs = make()
    model.compile(sampler="greedy")

    def traced():
        step = tf.function(lambda: model.generate_step(inputs, stop_token_ids=None))
        return step, step()["token_ids"].numpy()

    native, native_tokens = traced()
    with teg.installed(), mock.patch.object(call, "_run", wraps=call._run) as calls:
        ours, ours_tokens = traced()
    return {
        "name": make.__doc__.strip().rstrip("."),
        "einsums": calls.call_count,
        "tokens": int((native_tokens != ours_tokens).sum()),
        "of": native_tokens.size,
        **interleaved(native, ours, rounds),
    }


SUITES = [  # name, module, the tests that are about einsum on TensorFlow
    ("Keras: `keras/src/ops/numpy_test.py`", "keras.src.ops.numpy_test", "einsum"),
    ("Keras: `keras/src/layers/core/einsum_dense_test.py`", "keras.src.layers.core.einsum_dense_test", ""),
    ("Keras: `multi_head_attention_test.py`", "keras.src.layers.attention.multi_head_attention_test", ""),
    ("opt_einsum: `tests/test_backends.py`", "opt_einsum.tests.test_backends", "tensorflow"),
    ("TensorNetwork: `tensorflow_backend_test.py`", "tensornetwork.backends.tensorflow.tensorflow_backend_test", ""),
]  # fmt: skip


# Where we differ on purpose.
ON_PURPOSE = {
    "NumpyTwoInputOpsStaticShapeTest::test_einsum": (
        'asserts that `einsum("ii")` of a symbolic (2, 3) tensor has a shape; with us the sizes of a '
        "repeated label are an error when the model is built, as they are for NumPy when it runs"
    )
}


def run_suite(module, pattern, installed):
    """The outcome of each test: {test: "PASSED"}."""
    path = importlib.util.find_spec(module).origin
    # Not our own pytest configuration, which the path of the environment would find.
    options = f"-q -rA --tb=no -c {os.devnull} -p no:cacheprovider"
    command = [sys.executable, "-m", "pytest", path, *options.split()]
    command += ["-k", pattern] if pattern else []
    command += ["-p", "clients_plugin"] if installed else []
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'ci'}",
    }
    run = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=900, cwd="/tmp"
    )
    found = re.findall(r"^(PASSED|FAILED|ERROR) (\S+::\S+(?: \S+\])?)", run.stdout, re.M)
    if not found:
        raise RuntimeError(f"no test of {module} ran:\n{run.stdout[-1500:]}{run.stderr[-1500:]}")
    return {test: outcome for outcome, test in found}


def opt_einsum_equations():
    """The equations that opt_einsum tests itself with, on ours, in float64."""
    from opt_einsum.testing import build_views
    from opt_einsum.tests.test_contract import tests

    worst = 0.0
    for equation in tests:
        views = build_views(equation)
        expected = np.einsum(equation, *views, optimize=True)
        error = np.abs(teg.einsum(equation, *views) - expected).max() / max(
            1e-12, np.abs(expected).max()
        )
        worst = max(worst, float(error))
    return len(tests), worst


def page(rows, generations, suites, equations):
    packages = (
        "keras",
        "keras-hub",
        "gpflow",
        "tensorflow-probability",
        "tensornetwork",
        "opt_einsum",
    )
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    lines = [
        "# Real clients: models and tests that nobody here wrote",
        "",
        "Written by `ci/clients`: a training step (loss and all gradients, in `tf.function`) of each",
        "model as it is and under `tf_einsum_grad.installed()`, on the same weights, medians of",
        "interleaved runs. Differences are shares of each variable's largest gradient entry. `einsums` is",
        "how many calls of the model's forward pass ran ours. From run to run, the ratio of a step of a few",
        "milliseconds varies by a quarter on this machine, that of less than one by a half.",
        "",
        f"TensorFlow {tf.__version__}, {versions}; {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores.",
        "",
        "| model | einsums | loss differs by | gradients differ by | as it is | installed | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['name']} | {r['einsums']} | {r['loss']:.0e} | {r['gradient']:.0e} | "
            f"{r['native']:.1f} ms | {r['ours']:.1f} ms | {r['native'] / r['ours']:.2f} |"
        )
    lines += [
        "",
        "## Generation",
        "",
        "Tokens that are chosen greedily, after a prompt, by a model with random weights; how many are others.",
        "",
        "| model | einsums | tokens | others | as it is | installed | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in generations:
        lines.append(
            f"| {r['name']} | {r['einsums']} | {r['of']} | {r['tokens']} | "
            f"{r['native']:.1f} ms | {r['ours']:.1f} ms | {r['native'] / r['ours']:.2f} |"
        )
    lines += ["", "## Einsum tests shipped in these packages", ""]
    lines += ["| tests | pass as it is | pass under `install()` |", "|---|---|---|"]
    for name, native, ours in suites:
        counts = [f"{list(r.values()).count('PASSED')} of {len(r)}" for r in (native, ours)]
        lines.append(f"| {name} | {counts[0]} | {counts[1]} |")
    lines += ["", "On purpose:", ""]
    lines += [f"- `{test}` {reason}." for test, reason in ON_PURPOSE.items()]
    n, worst = equations
    lines += [
        "",
        f"opt_einsum's own {n} test equations, float64, against `np.einsum`: largest relative",
    ]
    lines += [f"difference {worst:.0e}.", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--skip-suites", action="store_true", help="models only; writes no page")
    options = parser.parse_args()
    problems, rows, generations, suites = [], [], [], []
    for make in MODELS:
        row = run_model(make, options.rounds)
        rows.append(row)
        print(row, flush=True)
        if max(row["loss"], row["gradient"]) > TOLERANCE or not row["einsums"]:
            problems.append(f"{row['name']}: {row}")
    for make in GENERATIONS:
        row = run_generation(make, options.rounds)
        generations.append(row)
        print(row, flush=True)
        if row["tokens"] or not row["einsums"]:
            problems.append(f"{row['name']}: {row}")
    if not options.skip_suites:
        for name, module, pattern in SUITES:
            native, ours = (run_suite(module, pattern, installed) for installed in (False, True))
            suites.append((name, native, ours))
            broken = sorted(
                test
                for test, outcome in native.items()
                if outcome == "PASSED" and ours.get(test) != "PASSED"
            )
            broken = [test for test in broken if test.split("::", 1)[1] not in ON_PURPOSE]
            print(name, len(native), "tests, newly failing:", broken, flush=True)
            problems += [f"{name}: {test}" for test in broken]
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(rows, generations, suites, opt_einsum_equations()))
    print("\n".join(problems) or "no difference")
    return 1 if problems else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
