"""Models that one process saves and another loads, which has done no more than import the package."""

import pickle
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import tf_einsum_grad as teg
from tf_einsum_grad.keras import Einsum, EinsumDense

X = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
TABLE = np.arange(8, dtype="float32").reshape(4, 2)


def _model(function):
    x = keras.Input(X.shape[1:])
    return keras.Model(x, function(x))


def _nested():
    dense = keras.Sequential([keras.Input([6, 4]), EinsumDense("abc,cd->abd", (None, 5))])
    scores = keras.Input([6, 5])
    scores = keras.Model(scores, teg.einsum("btd,bsd->bts", scores, scores))
    return _model(lambda x: keras.layers.Dense(2)(scores(dense(x))))


def _with_lora():
    model = _model(EinsumDense("abc,cd->abd", (None, 5), lora_rank=2))
    model.layers[1].lora_kernel_b.assign(np.ones([2, 5]))
    return model


def _quantized(mode):
    layer = EinsumDense("abc,cd->abd", (None, 5), bias_axes="d")
    model = _model(layer)
    layer.quantize(mode)
    return model


def _shared():
    layer = EinsumDense("abc,cd->abd", (None, 4), kernel_regularizer="l2", activation="gelu")
    return _model(lambda x: layer(layer(x)))


def _fitted():
    model = _model(EinsumDense("...x,xy->...y", 5, bias_axes="y"))
    model.compile("adam", keras.losses.MeanSquaredError())
    model.fit(X, np.ones([3, 6, 5]), verbose=0)
    return model


PATH = [(0, 1), (0, 1)]
MODELS = {
    "dense": _fitted,
    "dense_bfloat16": lambda: _model(EinsumDense("...x,xy->...y", 5, dtype="mixed_bfloat16")),
    "dense_lora": _with_lora,
    "dense_int8": lambda: _quantized("int8"),
    "dense_int4": lambda: _quantized("int4"),
    "dense_shared": _shared,
    "layer": lambda: _model(lambda x: Einsum("btd,bsd->bts")([x, x])),
    "layer_float16": lambda: _model(
        lambda x: Einsum("btd,bsd->bts", dtype=keras.DTypePolicy("mixed_float16"))([x, x])
    ),
    "layer_path": lambda: _model(
        lambda x: Einsum("btd,bsd,bsf->btf", optimize=PATH)([x, x, x])
    ),
    "layer_limit": lambda: _model(
        lambda x: Einsum("btd,bsd,bsf->btf", optimize=("greedy", 1000))([x, x, x])
    ),
    "layer_sizes": lambda: _model(
        Einsum("bt...->bt...j", sizes={"j": np.int64(3)}, size_hints={"b": np.int32(4)})
    ),
    "layer_per_step": lambda: _model(keras.layers.TimeDistributed(Einsum("bd->bdd"))),
    "operation": lambda: _model(lambda x: teg.einsum("btd,bsd->bts", x, x, name="scores")),
    "operation_constant": lambda: _model(lambda x: teg.einsum("btd,df->btf", x, TABLE)),
    "operation_number": lambda: _model(lambda x: teg.einsum("btd,->bt", x, np.float64(2))),
    "operation_path": lambda: _model(
        lambda x: teg.einsum("btd,bsd,bsf->btf", x, x, x, optimize=("einsum_path", *PATH))
    ),
    "operation_sizes": lambda: _model(lambda x: teg.einsum("btd->btd...", x, sizes={"...": (2, 3)})),
    "operation_sublists": lambda: _model(lambda x: teg.einsum(x, [0, 1, 2], x, [0, 3, 2], [0, 1, 3])),
    "operation_names": lambda: _model(
        lambda x: teg.einsum(x, ["batch", "t", "d"], x, ["batch", "s", "d"], ["batch", "t", "s"])
    ),
    "nested": _nested,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every model in both formats, with what it gives for X."""
    folder = tmp_path_factory.mktemp("models")
    for name, make in MODELS.items():
        model = make()
        result = np.asarray(keras.ops.cast(model(X), "float32"))
        for suffix in ("keras", "h5"):
            model.save(folder / f"{name}.{suffix}")
            np.save(folder / f"{name}.{suffix}.npy", result)
    np.save(folder / "x.npy", X)
    return folder


def run_alone(program, *arguments):
    """Runs a program in a new process and returns what it prints."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


LOAD_ALL = """
    import pathlib
    import sys
    import numpy as np

    folder = pathlib.Path(sys.argv[1])
    x = np.load(folder / "x.npy")
    failed = {}
    paths = sorted(path for suffix in ("keras", "h5") for path in folder.glob(f"*.{suffix}"))
    for path in paths:
        try:
            result = keras.ops.cast(keras.models.load_model(path)(x), "float32")
            np.testing.assert_allclose(result, np.load(f"{path}.npy"), rtol=1e-4, atol=1e-4)
        except Exception as error:
            failed[path.name] = str(error)[:300]
    print(len(paths), failed)
"""


@pytest.mark.parametrize(
    "imports",
    ["import keras, tf_einsum_grad", "import tf_einsum_grad, tensorflow as tf; keras = tf.keras"],
)
def test_whatever_is_saved_loads_where_the_package_is_imported(folder, imports):
    program = f"{imports}\n{textwrap.dedent(LOAD_ALL)}"
    assert run_alone(program, folder) == f"{2 * len(MODELS)} {{}}\n"


def test_pickles_and_the_command_line(folder):
    """Keras pickles a model as a `.keras` file; unpickling imports nothing of ours."""
    pickled = folder / "model.pickle"
    pickled.write_bytes(pickle.dumps(MODELS["layer"]()))
    names = [
        "dense.keras",
        "layer.keras",
        "operation.keras",
        "layer.h5",
        "operation.h5",
        "nested.h5",
    ]
    program = """
        import pickle, sys
        import tf_einsum_grad
        from tf_einsum_grad.cli.main import main
        pickled, *paths = sys.argv[1:]
        model = pickle.load(open(pickled, "rb"))
        codes = [main(["check", path, "--directions", "1"]) for path in paths]
        print(type(model.layers[-1]).__name__, codes)
    """
    printed = run_alone(program, pickled, *(folder / name for name in names))
    assert printed.splitlines()[-1] == f"Einsum {[0] * len(names)}"
