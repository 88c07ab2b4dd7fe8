"""Peak memory and time of attention, one process for each figure: 8 heads of 64, float32."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

HEADS, SIZE = 8, 64
VARIANTS = ("native", "ours", "keras", "keras, installed")
MOST = {"native": 8192, "keras": 8192}  # beyond which memory is not there
LIMIT = 20 * 2**30  # bytes that a process may take


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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    seconds = []
    for _ in range(3 if length <= 8192 else 1):
        start = time.perf_counter()
        run(*operands)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": min(seconds), "megabytes": peak / 1024}))


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
                command = [sys.executable, __file__, "one", variant, str(length), str(int(causal))]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    cells += ["out of memory", "-"]
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                cells += [f"{found['seconds']:.3f}", f"{found['megabytes']:.0f}"]
            print(f"| {length} | {'yes' if causal else 'no'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        measure(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")
    else:
        main()
