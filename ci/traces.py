"""What `ci/traces` runs: see there."""

from __future__ import annotations

import statistics
import time

import keras
import tensorflow as tf

import tf_einsum_grad as teg

# Equation and shapes: the batch unknown, then every size.
CALLS = (
    ("btd,df->btf", (None, 128, 64), (64, 256)),
    ("btd,df->btf", (None, None, 64), (64, 256)),
    ("...d,df->...f", (None, None, 64), (64, 256)),
    ("bthd,bshd->bhts", (None, 128, 8, 64), (None, 128, 8, 64)),
    ("bthd,bshd->bhts", (None, None, 8, 64), (None, None, 8, 64)),
    ("bhts,bshd->bthd", (None, 8, 128, 128), (None, 128, 8, 64)),
    ("bhts,bshd->bthd", (None, 8, None, None), (None, None, 8, 64)),
    ("bi,bi->b", (None, 64), (None, 64)),
    ("bi,bi->b", (None, None), (None, None)),
    ("ij,jk->ik", (None, None), (None, None)),
    ("bij,bjk->bik", (None, None, None), (None, None, None)),
    ("ij->i", (None, None)),
    ("ii->i", (None, None)),
)


def function(einsum, equation, with_gradient):
    def forward(*operands):
        return einsum(equation, *operands)

    def forward_and_backward(*operands):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            y = einsum(equation, *operands)
        return y, tape.gradient(y, operands)

    return forward_and_backward if with_gradient else forward


def trace(body, specs):
    """Seconds to trace, and nodes."""
    start = time.perf_counter()
    graph = tf.function(body, autograph=False).get_concrete_function(*specs).graph
    return time.perf_counter() - start, len(graph.get_operations())


def call_rows():
    for equation, *shapes in CALLS:
        specs = [tf.TensorSpec(shape) for shape in shapes]
        counts = [
            trace(function(einsum, equation, gradient), specs)[1]
            for gradient in (False, True)
            for einsum in (tf.einsum, teg.einsum)
        ]
        said = ", ".join(str(shape).replace("None", "?") for shape in shapes)
        yield f"| `{equation}` | {said} | " + " | ".join(map(str, counts)) + " |"


def chain(einsum, n):
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    terms = [letters[i : i + 2] for i in range(n)]
    equation = f"{','.join(terms)}->{letters[0]}{letters[n]}"
    return function(einsum, equation, True), [tf.TensorSpec([9 + i, 10 + i]) for i in range(n)]


def transformer(einsum, shape, layers=24):
    """A step of training of so many layers of attention and a perceptron."""
    weights = [(64, 4, 16)] * 3 + [(4, 16, 64), (64, 128), (128, 64)]

    def body(x, *kernels):
        with tf.GradientTape() as tape:
            tape.watch(kernels)
            for _ in range(layers):
                query, key, value, merge, widen, narrow = kernels
                q, k, v = (einsum("btd,dhk->bthk", x, w) for w in (query, key, value))
                scores = tf.nn.softmax(einsum("bthk,bshk->bhts", q, k))
                x += einsum("bthk,hkd->btd", einsum("bhts,bshk->bthk", scores, v), merge)
                x += einsum("btf,fd->btd", tf.nn.relu(einsum("btd,df->btf", x, widen)), narrow)
            loss = tf.reduce_sum(x)
        return tape.gradient(loss, kernels)

    return body, [tf.TensorSpec(shape), *map(tf.TensorSpec, weights)]


def model_rows():
    models = {"a chain of 24 matrices": lambda einsum: chain(einsum, 24)}
    for shape in ((8, 32, 64), (None, 32, 64), (None, None, 64)):
        name = f"a transformer of 24 layers, {str(shape).replace('None', '?')}"
        models[name] = lambda einsum, shape=shape: transformer(einsum, shape)
    for name, model in models.items():
        pairs = []
        for _ in range(5):
            pairs.append([trace(*model(einsum)) for einsum in (tf.einsum, teg.einsum)])
        ratio = statistics.median(ours[0] / native[0] for native, ours in pairs)
        seconds = [statistics.median(pair[i][0] for pair in pairs) for i in (0, 1)]
        nodes = [pairs[0][i][1] for i in (0, 1)]
        yield (
            f"| {name} | {nodes[0]} | {nodes[1]} | {seconds[0]:.2f} | {seconds[1]:.2f} | {ratio:.2f} |"
        )


def keras_transformer(length, layers=24):
    """Layers of attention and a perceptron of two `EinsumDense`, by Keras' own layers."""
    x = inputs = keras.Input((length, 64))
    for _ in range(layers):
        normal = keras.layers.LayerNormalization()(x)
        x = x + keras.layers.MultiHeadAttention(4, 16)(normal, normal)
        normal = keras.layers.LayerNormalization()(x)
        wide = keras.layers.EinsumDense("btd,df->btf", (None, 128), activation="relu")(normal)
        x = x + keras.layers.EinsumDense("btf,fd->btd", (None, 64))(wide)
    return keras.Model(inputs, x)


def trace_step(model, length):
    """Seconds to trace a step of training, and nodes."""

    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x, training=True) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    return trace(step, [tf.TensorSpec((None, length, 64))])


def keras_rows():
    for length in (32, None):
        model = keras_transformer(length)
        pairs = []
        for _ in range(6):
            native = trace_step(model, length)
            with teg.installed():
                pairs.append((native, trace_step(model, length)))
        del pairs[0]  # Keras' own first time
        ratio = statistics.median(ours[0] / native[0] for native, ours in pairs)
        seconds = [statistics.median(pair[i][0] for pair in pairs) for i in (0, 1)]
        nodes = [pairs[0][i][1] for i in (0, 1)]
        name = f"the same of Keras' layers, (?, {length or '?'}, 64)"
        yield (
            f"| {name} | {nodes[0]} | {nodes[1]} | {seconds[0]:.2f} | {seconds[1]:.2f} | {ratio:.2f} |"
        )


def main() -> None:
    """Prints both tables, in Markdown, for a CPU without oneDNN's kernels and for one with them."""
    for name in ("cpu", "cpu-onednn"):
        print(f"\nDecided for `{name}`:\n")
        with teg.machine(name):
            print("| equation | shapes | native | ours | native, with gradient | ours |")
            print("|---|---|---|---|---|---|")
            print(*call_rows(), sep="\n")
            print(
                "\n| model, forward and backward | nodes, native | ours | s, native | ours | ratio |"
            )
            print("|---|---|---|---|---|---|")
            print(*model_rows(), *keras_rows(), sep="\n")


if __name__ == "__main__":
    main()
