"""Peak memory and time of attention, one process for each figure: 8 heads of 64, float32.

`ci/attention 1024,2048` measures these lengths; `ci/attention model` trains a model that does not
fit as it is. TF_EINSUM_GRAD_PEER_PYTHON names a Python with torch and JAX, to race them as well.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

HEADS, SIZE = 8, 64
PEERS = os.environ.get("TF_EINSUM_GRAD_PEER_PYTHON", "")
VARIANTS = ("native", "ours", "keras", "keras, installed", *(("torch", "jax") if PEERS else ()))
MOST = {"native": 8192, "keras": 8192, "jax": 8192}  # beyond which memory is not there
LIMIT = 20 * 2**30  # bytes that a process may take
MODEL_LENGTH, MODEL_LIMIT = 8192, 8 * 2**30


def measure(variant: str, length: int, causal: bool) -> None:
    import keras
    import tensorflow as tf

    import tf_einsum_grad as teg

    def native(q, k, v):
        scores = tf.einsum("btnh,bsnh->bnts", q, k) * SIZE**-0.5
        if causal:
            rows = tf.range(length)[:, tf.newaxis]
            scores = tf.where(tf.range(length) <= rows, scores, -1e9)
        return tf.einsum("bnts,bsnv->btnv", tf.nn.softmax(scores), v)

    def ours(q, k, v):
        return teg.attention("btnh,bsnh,bsnv->btnv", q, k, v, causal=causal)

    def step(q, k, v):
        with tf.GradientTape() as tape:
            tape.watch([q, k, v])
            y = function(q, k, v)
        return y, tape.gradient(y, [q, k, v], y)

    if variant.startswith("keras"):
        layer = keras.layers.MultiHeadAttention(HEADS, SIZE)
        if variant.endswith("installed"):
            teg.install(attention=True)

        def function(q, k, v):
            return layer(q, v, k, use_causal_mask=causal)

        shape = (1, length, HEADS * SIZE)
    else:
        function = {"native": native, "ours": ours}[variant]
        shape = (1, length, HEADS, SIZE)
    operands = [tf.random.stateless_normal(shape, [0, k]) for k in range(3)]
    run = tf.function(step, autograph=False).get_concrete_function(*operands)
    report(lambda: run(*operands), length)


def measure_torch(length: int, causal: bool) -> None:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    shape = (1, HEADS, length, SIZE)  # its own layout
    q, k, v = (torch.randn(shape, requires_grad=True) for _ in range(3))

    def step():
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return torch.autograd.grad(y, [q, k, v], y.detach())

    report(step, length)


def measure_jax(length: int, causal: bool) -> None:
    import jax

    shape = (1, length, HEADS, SIZE)
    operands = [jax.random.normal(jax.random.key(i), shape) for i in range(3)]

    def attend(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, is_causal=causal)

    def step(q, k, v):
        y, pull_back = jax.vjp(attend, q, k, v)
        return y, pull_back(y)

    run = jax.jit(step).lower(*operands).compile()
    report(lambda: jax.block_until_ready(run(*operands)), length)


def report(run, length: int) -> None:
    """Prints the least time of a few runs, and by how much the process grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    seconds = []
    for _ in range(3 if length <= 8192 else 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": min(seconds), "megabytes": peak / 1024}))


def train(variant: str) -> None:
    """Trains a model of long sequences for three steps, in as much memory as a small machine has."""
    import keras
    import tensorflow as tf

    import tf_einsum_grad as teg

    if variant == "installed":
        teg.install(attention=True)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((MODEL_LENGTH,), dtype="int32")
    x = keras.layers.Embedding(256, HEADS * SIZE)(inputs)
    for _ in range(2):
        attended = keras.layers.MultiHeadAttention(HEADS, SIZE)(x, x, use_causal_mask=True)
        x = keras.layers.LayerNormalization()(x + attended)
        x = keras.layers.LayerNormalization()(x + keras.layers.Dense(HEADS * SIZE, "gelu")(x))
    model = keras.Model(inputs, keras.layers.Dense(256)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    text = tf.random.stateless_uniform((1, MODEL_LENGTH + 1), [0, 0], 0, 256, tf.int32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_DATA, (MODEL_LIMIT, MODEL_LIMIT))
    start = time.perf_counter()
    losses = [float(model.train_on_batch(text[:, :-1], text[:, 1:])) for _ in range(3)]
    seconds = (time.perf_counter() - start) / 3
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    shown = ", ".join(f"{value:.3f}" for value in losses)
    print(f"losses {shown}; {seconds:.1f} s a step; the process grew by {peak:.0f} MB")


def model() -> None:
    """Runs `train` as it is and installed, and says how each ended."""
    print(f"{MODEL_LENGTH} tokens, 2 blocks, at most {MODEL_LIMIT / 2**30:.0f} GiB of memory")
    for variant in ("as it is", "installed"):
        command = [sys.executable, __file__, "train", variant]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{variant}: {done.stdout.strip() or f'dies, exit code {done.returncode}'}")


def main() -> None:
    lengths = [int(n) for n in (sys.argv[1:] or ["1024,2048,4096,8192,16384,32768"])[0].split(",")]
    print("| T | causal | " + " | ".join(f"{v}, s | MB" for v in VARIANTS) + " |")
    print("|---:|---|" + "---:|" * 2 * len(VARIANTS))
    for length in lengths:
        for causal in (False, True):
            cells = []
            for variant in VARIANTS:
                if length > MOST.get(variant, length):
                    cells += ["-", "-"]
                    continue
                python = PEERS if variant in ("torch", "jax") else sys.executable
                command = [python, __file__, "one", variant, str(length), str(int(causal))]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    cells += ["out of memory", "-"]
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                cells += [f"{found['seconds']:.3f}", f"{found['megabytes']:.0f}"]
            print(f"| {length} | {'yes' if causal else 'no'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        variant, length, causal = sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1"
        peer = {"torch": measure_torch, "jax": measure_jax}.get(variant)
        peer(length, causal) if peer else measure(variant, length, causal)
    elif sys.argv[1:2] == ["train"]:
        train(sys.argv[2])
    elif sys.argv[1:2] == ["model"]:
        model()
    else:
        main()
