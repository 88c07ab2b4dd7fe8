"""The tables that `ci/finetuning` prints."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.benchmark.memory_worker import peak_of
from tf_einsum_grad.keras import lora
from tf_einsum_grad.text.numbers import duration, show_bytes, times

Run = Callable[[], Any]
LAYERS = keras.layers

# Layers with LoRA of rank 8: how each is made, and of what inputs.
LORA = {
    'EinsumDense("abc,cde->abde")': (
        lambda: LAYERS.EinsumDense("abc,cde->abde", (None, 12, 64)),
        (8, 128, 768),
    ),
    'EinsumDense("...x,xy->...y")': (
        lambda: LAYERS.EinsumDense("...x,xy->...y", 768),
        (8, 128, 768),
    ),
    "Dense(3072)": (lambda: LAYERS.Dense(3072), (8, 128, 768)),
    "MultiHeadAttention(12, 64)": (lambda: SelfAttention(12, 64), (8, 128, 768)),
    'EinsumDense("ab,bc->ac"), 16 examples': (
        lambda: LAYERS.EinsumDense("ab,bc->ac", 1024),
        (16, 1024),
    ),
}


class SelfAttention(LAYERS.MultiHeadAttention):  # type: ignore[misc]
    """Self-attention, of one input."""

    def build(self, shape: Any) -> None:
        super().build(shape, shape)

    def call(self, x: Any, **options: Any) -> Any:
        return super().call(x, x, return_attention_scores=False)

    def compute_output_spec(self, x: Any, **options: Any) -> Any:
        return super().compute_output_spec(x, x)


def adapt(layer: Any) -> None:
    """Gives a layer, or all dense ones in it, LoRA."""
    inner = [x for x in layer._flatten_layers() if hasattr(x, "enable_lora")]
    for each in inner:
        each.enable_lora(8)
        each.lora_kernel_b.assign(np.full(each.lora_kernel_b.shape, 0.01))
        if each.bias is not None:
            each.bias.trainable = False


def lora_run(name: str, variant: str) -> Run:
    """A step of Keras', of ours with merged kernels, or of ours."""
    make, shape = LORA[name]
    layer = make()
    layer.build(shape)
    adapt(layer)
    x = tf.random.normal(shape, seed=0)

    @tf.function(autograph=False)
    def step(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, [x, *layer.trainable_variables])

    decide = lora.apart_costs_less
    if variant == "merged":
        lora.apart_costs_less = lambda *_: False
    with contextlib.nullcontext() if variant == "Keras" else teg.installed():
        step(x)
    lora.apart_costs_less = decide
    return lambda: step(x)[0]


QUANTIZED = {
    "abc,cde->abde": ((None, 12, 64), (8, 128, 768)),
    "abcd,cde->abe": ((None, 768), (8, 128, 12, 64)),
    "ab,bc->ac": (1024, (64, 1024)),
}


def quantized_run(name: str, variant: str) -> Run:
    """A training step, with a gradient of the inputs, of Keras' or of ours."""
    equation, mode = name.split()
    output, shape = QUANTIZED[equation]
    layer = LAYERS.EinsumDense(equation, output)
    layer.build((None, *shape[1:]))
    layer.quantize(mode)
    x = tf.random.normal(shape, seed=0)

    @tf.function(autograph=False)
    def step(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, x)

    with contextlib.nullcontext() if variant == "Keras" else teg.installed():
        step(x)
    return lambda: step(x)


def mlp() -> tuple[Any, tf.Tensor]:
    model = keras.Sequential([LAYERS.Dense(n, activation="relu") for n in (512, 512, 10)])
    return model, tf.random.normal([64, 784], seed=0)


def transformer() -> tuple[Any, tf.Tensor]:
    x = keras.Input([64, 128])
    y = LAYERS.LayerNormalization()(x + LAYERS.MultiHeadAttention(4, 32)(x, x))
    z = LAYERS.Dense(128)(LAYERS.Dense(512, activation="relu")(y))
    return keras.Model(x, LAYERS.LayerNormalization()(y + z)), tf.random.normal([16, 64, 128])


def einsum_dense() -> tuple[Any, tf.Tensor]:
    return LAYERS.EinsumDense("abc,cd->abd", (None, 512)), tf.random.normal([32, 16, 512])


EXAMPLES = {"MLP 784-512-512-10, 64": mlp, "transformer layer, 16": transformer}
EXAMPLES["EinsumDense 512x512, 32"] = einsum_dense


def examples_run(name: str, variant: str) -> Run:
    """Gradients of all examples, or their norms, ours or mapped."""
    model, x = EXAMPLES[name]()
    model(x)
    variables = [v.value for v in model.trainable_variables]
    way, _, reduce = variant.partition(" ")

    def loss(y: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(y**2, axis=range(1, y.shape.rank))

    def of_one(example: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            losses = loss(model(example[None]))
        return tape.gradient(losses, variables)

    def mapped(x: tf.Tensor) -> Any:
        gradients = tf.vectorized_map(of_one, x)
        if not reduce:
            return gradients
        return tf.sqrt(
            sum(tf.reduce_sum(tf.reshape(g, [tf.shape(g)[0], -1]) ** 2, 1) for g in gradients)
        )

    def ours(x: tf.Tensor) -> Any:
        return teg.per_example_gradients(model, x, loss, reduce or None)

    step = tf.function(ours if way == "ours" else mapped, autograph=False)
    return lambda: step(x)


TABLES: dict[str, tuple[Callable[[str, str], Run], list[str], tuple[str, ...]]] = {
    "lora": (lora_run, list(LORA), ("ours", "merged", "Keras")),
    "quantized": (
        quantized_run,
        [f"{equation} {mode}" for equation in QUANTIZED for mode in ("int8", "int4", "float8")],
        ("ours", "Keras"),
    ),
    "examples": (examples_run, list(EXAMPLES), ("ours", "map", "ours norm", "map norm")),
}


def run_of(table: str, name: str, variant: str) -> Run:
    keras.utils.set_random_seed(0)
    return TABLES[table][0](name, variant)


def measure_times(table: str, name: str, seconds: float) -> tuple[list[float], float]:
    """Medians of runs in turn, and the largest difference of results with the same name."""
    variants = TABLES[table][2]
    calls = [run_of(table, name, variant) for variant in variants]
    results = [tf.nest.flatten(call()) for call in calls]
    base = {
        variant.partition(" ")[2]: result for variant, result in zip(variants, results, strict=True)
    }
    difference = max(
        float(tf.reduce_max(tf.abs(a - b)) / tf.reduce_max(tf.abs(b)))
        for variant, result in zip(variants, results, strict=True)
        for a, b in zip(result, base[variant.partition(" ")[2]], strict=True)
        if float(tf.reduce_max(tf.abs(b))) > 1e-2  # the gradient of a softmax's shift is 0
    )
    found: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found[0]) < 5:
        for call, durations in zip(calls, found, strict=True):
            start = time.perf_counter()
            for x in tf.nest.flatten(call()):
                x.numpy()
            durations.append(time.perf_counter() - start)
    return [statistics.median(durations) for durations in found], difference


def measure_memory(table: str, name: str, variant: str) -> int:
    """The peak of a run above what the weights and inputs take."""
    call = run_of(table, name, variant)
    for _ in range(2):
        call()
    return max(peak_of(call) for _ in range(2))


def rows(table: str, seconds: float) -> Iterator[str]:
    """A table in Markdown."""
    _, names, variants = TABLES[table]
    fork = multiprocessing.get_context("fork")
    # A process for each figure, so that none sees what another one left.
    with fork.Pool(1, maxtasksperchild=1) as pool:
        cells = ["", *variants, *(f"{v}, memory" for v in variants), "largest difference"]
        yield f"| {' | '.join(cells)} |"
        yield "|---|" + "---:|" * (2 * len(variants) + 1)
        for name in names:
            found, difference = pool.apply(measure_times, (table, name, seconds))
            peaks = [pool.apply(measure_memory, (table, name, v)) for v in variants]
            shown = [duration(found[0])]
            for k, t in enumerate(found[1:], 1):
                beside = found[2] if variants[k] == "map norm" else found[0]
                first = variants[k] == "ours norm"
                shown.append(duration(t) if first else f"{duration(t)} ({times(t / beside)})")
            label = f"`{name}`" if table != "examples" else name
            memory = [show_bytes(peak) for peak in peaks]
            yield f"| {label} | {' | '.join([*shown, *memory])} | {difference:.0e} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    options = parser.parse_args()
    for table in options.tables or TABLES:
        print(f"\n{table}\n", flush=True)
        for row in rows(table, options.seconds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
