"""Keras models as SavedModels, served by a process that has this package, and by one that has not."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tests.keras.test_saving import MODELS, run_alone

X = {size: np.random.default_rng(0).normal(size=(size, 6, 4)).astype("float32") for size in (1, 5)}


def _attention():
    x = keras.Input([None, 4])
    y = keras.layers.MultiHeadAttention(2, 4)(x, x, return_attention_scores=True)[0]
    return keras.Model(x, keras.ops.einsum("btd->bd", y))


EXPORTED = {
    **{name: MODELS[name] for name in ("dense_lora", "dense_int8", "layer_float16", "nested")},
    "attention_installed": _attention,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every model as Keras exports it and as TensorFlow saves it, with what it gives."""
    folder = tmp_path_factory.mktemp("exported")
    for name, make in EXPORTED.items():
        with teg.installed() if name.endswith("installed") else contextlib.nullcontext():
            model = make()
            model.export(folder / name / "keras", verbose=False)
            tf.saved_model.save(model, folder / name / "tensorflow")
        for size, x in X.items():
            np.save(folder / name / f"{size}.npy", keras.ops.cast(model(x), "float32"))
            np.save(folder / f"x{size}.npy", x)
    return folder


@pytest.mark.parametrize("package", ["missing", "present"])
def test_exported_models_are_served(folder, package):
    program = """
        import pathlib, sys
        if sys.argv[2] == "missing":
            sys.modules["tf_einsum_grad"] = None  # an import of it raises
        else:
            import tf_einsum_grad
        import keras, numpy as np, tensorflow as tf

        n_served = 0
        folder = pathlib.Path(sys.argv[1])
        for path in sorted(p for p in folder.iterdir() if p.is_dir()):
            exported, saved = (tf.saved_model.load(path / how) for how in ("keras", "tensorflow"))
            signature = saved.signatures["serving_default"]
            layer = keras.layers.TFSMLayer(path / "keras", call_endpoint="serve")
            compiled = tf.function(exported.serve, jit_compile=True)
            for size in (1, 5):
                x = tf.constant(np.load(folder / f"x{size}.npy"))
                expected = np.load(path / f"{size}.npy")
                ways = [exported.serve, lambda x: [*signature(x).values()][0], layer]
                for call in ways if size == 1 else [*ways, compiled]:  # which takes seconds
                    result = tf.cast(call(x), "float32")
                    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3)
                    n_served += 1
        print(n_served)
    """
    assert run_alone(program, folder, package) == f"{7 * len(EXPORTED)}\n"
