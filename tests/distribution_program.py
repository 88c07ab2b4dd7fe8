"""What test_distribution runs in processes of its own: devices are configured once per process.

python -m tests.distribution_program mirrored OUT    MirroredStrategy, on logical devices
python -m tests.distribution_program dtensor OUT     DTensor, on a mesh of logical devices
python -m tests.distribution_program worker OUT      one of the workers that TF_CONFIG names
"""

import json
import sys

import numpy as np
import tensorflow as tf

import tf_einsum_grad as teg

STEPS, BATCH, RATE = 4, 8, 0.01


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(BATCH, 5, 6)).astype("float32"), rng.normal(size=(BATCH, 3)).astype(
        "float32"
    )


def initial_weights():
    rng = np.random.default_rng(1)
    return [rng.normal(size=s).astype("float32") * 0.3 for s in ((6, 4), (4, 3))]


def gradients(weights, x, y):
    """Of the loss of one replica's part of the batch, as a share of the whole batch's."""
    with tf.GradientTape() as tape:
        hidden = tf.tanh(teg.einsum("...x,xy->...y", x, weights[0]))
        scores = teg.einsum("bty,bsy->bts", hidden, hidden) / 10
        out = teg.einsum("bts,bsy,yz->bz", scores, hidden, weights[1])
        loss = tf.reduce_sum((out - y) ** 2) / BATCH
    return tape.gradient(loss, weights)


def train(strategy, x, y):
    """Trains on a distributed batch; `x` and `y` are this process' part of it."""
    with strategy.scope():
        mean = tf.VariableAggregation.MEAN
        weights = [tf.Variable(w, aggregation=mean) for w in initial_weights()]
    n_local = strategy.num_replicas_in_sync * len(x) // BATCH

    def replica_values(context):
        size = len(x) // n_local
        start = context.replica_id_in_sync_group % n_local * size
        return x[start : start + size], y[start : start + size]

    values = strategy.experimental_distribute_values_from_function(replica_values)

    @tf.function
    def step(values):
        def replica_step(values):
            grads = gradients(weights, *values)
            grads = tf.distribute.get_replica_context().all_reduce("SUM", grads)
            for w, g in zip(weights, grads, strict=True):
                w.assign_sub(RATE * g)

        strategy.run(replica_step, args=(values,))

    for _ in range(STEPS):
        step(values)
    return [w.numpy() for w in weights]


def fit(strategy):
    """`model.fit` of a model of our layers."""
    import keras

    from tf_einsum_grad.keras import Einsum, EinsumDense

    keras.utils.set_random_seed(5)
    with strategy.scope():
        x = keras.Input([5, 6])
        h = EinsumDense("...x,xy->...y", 4, bias_axes="y")(x)
        out = teg.einsum("bts,bsy->by", Einsum("bty,bsy->bts")([h, h]), h)
        model = keras.Model(x, keras.layers.Dense(3)(out))
        model.compile(keras.optimizers.SGD(1e-3), "mse")
    model.fit(*data(), batch_size=BATCH, epochs=2, verbose=0)
    return [v.numpy() for v in model.trainable_variables]


# Labels on mesh axes, and the layouts that forward and gradients must have: None is unsharded.
DTENSOR_CASES = [
    ("bij,bjk->bik", {"b": "x"}),  # batch
    ("btx,xy->bty", {"b": "x", "y": "y"}),  # data parallel, columns of the kernel
    ("btx,xy->bty", {"b": "x", "x": "y"}),  # data parallel, rows of the kernel
    ("btx,xhd->bthd", {"b": "x", "h": "y"}),  # heads
    ("bhts,bshd->bthd", {"b": "x", "h": "y"}),
    ("ijkm,ijkn->imn", {"i": "x", "n": "y"}),
    ("ij->i", {"i": "x"}),
    ("bij,bij->bij", {"b": "x", "j": "y"}),
    ("bi,bi->b", {"b": "x"}),
    ("ij,jk,kl->il", {"i": "x", "l": "y"}),
]


def dtensor_case(mesh, equation, placed):
    """Largest relative error of result and gradients, and their layouts."""
    from tensorflow.experimental import dtensor

    terms = equation.split("->")[0].split(",")
    rng = np.random.default_rng(2)
    arrays = [rng.normal(size=[4] * len(term)).astype("float32") for term in terms]

    def layout(term):
        return dtensor.Layout([placed.get(x, dtensor.UNSHARDED) for x in term], mesh)

    def whole(rank):
        return dtensor.Layout.replicated(mesh, rank)

    sharded = [
        dtensor.relayout(dtensor.copy_to_mesh(tf.constant(a), whole(a.ndim)), layout(term))
        for a, term in zip(arrays, terms, strict=True)
    ]

    def step(einsum, operands):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            y = einsum(equation, *operands)
            loss = tf.reduce_sum(y * y)
        return [y, *tape.gradient(loss, operands)]

    results = tf.function(lambda *xs: step(teg.einsum, xs))(*sharded)
    expected = step(tf.einsum, [tf.constant(a) for a in arrays])
    errors = [
        float(np.abs(dtensor.relayout(r, whole(len(r.shape))).numpy() - e).max() / np.abs(e).max())
        for r, e in zip(results, expected, strict=True)
    ]
    found = [list(dtensor.fetch_layout(r).sharding_specs) for r in results]
    wanted = [list(layout(term).sharding_specs) for term in (equation.split("->")[1], *terms)]
    return {"equation": equation, "error": max(errors), "found": found, "wanted": wanted}


def configure_devices():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)


def mirrored_main(out):
    configure_devices()
    mirrored = tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(4)])
    single = tf.distribute.get_strategy()
    weights = {
        "mirrored": train(mirrored, *data()),
        "single": train(single, *data()),
        "fit_mirrored": fit(mirrored),
        "fit_single": fit(single),
    }
    np.savez(out + ".npz", **{f"{k}_{n}": w for k, ws in weights.items() for n, w in enumerate(ws)})


def dtensor_main(out):
    from tensorflow.experimental import dtensor

    configure_devices()
    mesh = dtensor.create_mesh([("x", 2), ("y", 2)], device_type="CPU")
    with open(out + ".json", "w") as file:
        json.dump([dtensor_case(mesh, *case) for case in DTENSOR_CASES], file)


def worker_main(out):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    resolver = strategy.cluster_resolver
    x, y = data()
    half = slice(resolver.task_id * BATCH // 2, (resolver.task_id + 1) * BATCH // 2)
    weights = train(strategy, x[half], y[half])
    np.savez(f"{out}_{resolver.task_id}.npz", *weights, replicas=strategy.num_replicas_in_sync)


if __name__ == "__main__":
    mains = {"mirrored": mirrored_main, "dtensor": dtensor_main, "worker": worker_main}
    mains[sys.argv[1]](sys.argv[2])
