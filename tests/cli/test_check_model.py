"""A saved Keras model, checked from the command line."""

import importlib
import io
import json
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tf_einsum_grad.cli import models
from tf_einsum_grad.cli.arguments import UsageError
from tf_einsum_grad.cli.main import main


@keras.saving.register_keras_serializable("gradcheck_tests")
class Wrong(L.Layer):
    def call(self, inputs):
        @tf.custom_gradient
        def fn(v):
            return tf.tanh(v), lambda dy: dy

        return fn(inputs)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    good = keras.Sequential([keras.Input((3,)), L.Dense(4, "tanh"), L.Dense(2)])
    bad = keras.Sequential([keras.Input((3,)), L.Dense(4), Wrong()])
    ids, x = keras.Input((2,), dtype="int32", name="ids"), keras.Input((3,), name="x")
    two = keras.Model(
        {"ids": ids, "x": x}, L.Dense(2)(L.Concatenate()([L.Flatten()(L.Embedding(5, 3)(ids)), x]))
    )
    for name, model in (("good", good), ("bad", bad), ("two", two)):
        model.save(folder / f"{name}.keras")
    unsafe = keras.Sequential([keras.Input((3,)), L.Lambda(lambda v: v * 2)])
    unsafe.save(folder / "unsafe.keras")
    image = [L.Conv2D(2, 3), L.AveragePooling2D(2), L.Conv2D(2, 5)]
    reshaped, never = L.Reshape((3, -1)), L.Reshape((5, 7))
    for name, shape, layers in (
        ("image", (None, None, 1), image),
        ("reshaped", (None, 1), [reshaped]),
        ("never", (None, 1), [never]),
    ):
        keras.Sequential([keras.Input(shape), *layers]).save(folder / f"{name}.keras")
    words = keras.Sequential([keras.Input((), dtype="string"), L.StringLookup(vocabulary=["a"])])
    words.add(L.Embedding(3, 2))
    words.save(folder / "words.keras")
    return folder


def run(*argv):
    return main(["check", *map(str, argv)])


def test_a_correct_model_exits_0(saved, capsys):
    assert run(saved / "good.keras") == 0
    out = capsys.readouterr().out
    assert "PASS" in out and "dense" in out


def test_a_wrong_model_exits_1_and_writes_its_reports(saved, tmp_path, capsys):
    html, data = tmp_path / "r.html", tmp_path / "r.json"
    assert (
        run(saved / "bad.keras", "--html", html, "--json", data, "--variants", "eager,graph") == 1
    )
    assert "FAIL" in capsys.readouterr().out
    assert "FAIL" in html.read_text() and html.read_text().startswith("<!doctype html>")
    assert json.loads(data.read_text())["passed"] is False


def test_several_inputs_random_or_from_a_file(saved, tmp_path):
    assert run(saved / "two.keras", "--order", "2", "--directions", "1") == 0
    path = tmp_path / "x.npz"
    np.savez(path, x=np.ones((4, 3)), ids=np.ones((4, 2), np.int32))
    assert run(saved / "two.keras", "--inputs", path) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.keras"], "there is no such file"),
        (["unsafe.keras"], "cannot be loaded"),
        (["text.keras"], "is no .keras model: it is not a zip archive"),
        (["good.keras", "--inputs", "text.txt"], "text.txt' is not an .npz file"),
        (["empty.keras"], "is no .keras model: it lacks model.weights"),
        (["text.h5"], "is no .h5 model: it is not an HDF5 file"),
        (["good.keras", "--inputs", "wrong.npz"], "needs shape (None, 3), got (2, 5)"),
        (["two.keras", "--inputs", "wrong.npz"], "the model's inputs are ['ids', 'x']"),
        (["good.keras", "--inputs", "strings.npz"], "needs float32, got <U1"),
        (["good.keras", "--inputs", "complex.npz"], "needs float32, got complex128"),
        (["good.keras", "--inputs", "infinite.npz"], "needs float32, got values that it cannot"),
        (["words.keras", "--inputs", "numbers.npz"], "needs strings, got float64"),
        (["words.keras"], "holds strings; give them with --inputs"),
        (["two.keras", "--inputs", "large.npz"], "cannot be called with the inputs of"),
        (["two.keras", "--inputs", "halves.npz"], "needs int32, got values that it cannot hold"),
        (
            ["never.keras"],
            "cannot be called with random inputs of shape (2, 2, 1), where 2 stands for each size "
            "that it leaves open (--inputs gives others): ",
        ),
        (["good.keras", "--import", "no_such_module"], "--import no_such_module: ModuleNotFound"),
    ],
)
def test_bad_usage_exits_2_with_one_clear_line(saved, arguments, message, capsys):
    for name in ("text.keras", "text.txt", "text.h5"):
        (saved / name).write_text("hello")
    with zipfile.ZipFile(saved / "empty.keras", "w") as file:
        file.writestr("config.json", "{}")
    np.savez(saved / "wrong.npz", a=np.ones((2, 5)))
    np.savez(saved / "strings.npz", a=np.full((2, 3), "a"))
    np.savez(saved / "complex.npz", a=np.full((2, 3), 1j))
    np.savez(saved / "infinite.npz", a=np.full((2, 3), 1e300))
    np.savez(saved / "numbers.npz", a=np.ones(2))
    np.savez(saved / "large.npz", ids=np.full((2, 2), 7), x=np.ones((2, 3)))
    np.savez(saved / "halves.npz", ids=np.full((2, 2), 0.5), x=np.ones((2, 3)))
    paths = [saved / a if "." in a else a for a in arguments]
    assert run(*paths) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("tf-einsum-grad check: ") and message in error[-1], error


@pytest.mark.parametrize(
    "option", [("--order", "3"), ("--seed", "-1"), ("--directions", "0"), ("--seconds", "0.5")]
)
def test_options_out_of_range_exit_2(saved, option):
    assert run(saved / "good.keras", *option) == 2


def test_strings_from_a_file(saved):
    np.savez(saved / "words.npz", np.array(["a", "b"]))
    assert run(saved / "words.keras", "--inputs", saved / "words.npz") == 0


@pytest.mark.parametrize(
    ("name", "shape", "given"),
    [("image", "2×16×16×1", (1, 15, 18, 1)), ("reshaped", "2×3×1", (4, 6, 1))],
)
def test_sizes_left_open_are_large_enough_or_come_from_a_file(saved, capsys, name, shape, given):
    assert run(saved / f"{name}.keras") == 0
    assert shape in capsys.readouterr().out
    np.savez(saved / f"{name}.npz", np.random.default_rng(0).normal(size=given))
    assert run(saved / f"{name}.keras", "--inputs", saved / f"{name}.npz") == 0


def test_stop_gradient_and_seconds(saved, capsys):
    assert run(saved / "good.keras", "--stop-gradient", "differentiate", "--seconds", "60") == 0


@pytest.mark.parametrize("how", ["module", "file"])
def test_the_module_of_a_custom_layer_is_imported(tmp_path, monkeypatch, capsys, how):
    name = f"layers_from_a_{how}"
    source = (
        f"import keras\n@keras.saving.register_keras_serializable({how!r})\n"
        "class Double(keras.layers.Layer):\n    def call(self, v):\n        return 2 * v\n"
    )
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as other:  # what the program that saves the model has imported
        other.syspath_prepend(str(tmp_path))
        double = importlib.import_module(name).Double
        keras.Sequential([keras.Input((3,)), L.Dense(2), double()]).save("m.keras")
    del sys.modules[name], keras.saving.get_custom_objects()[f"{how}>Double"]
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    assert run("m.keras") == 2
    assert "--import MODULE imports the module" in capsys.readouterr().err
    given = name if how == "module" else tmp_path / f"{name}.py"
    assert run("m.keras", "--import", given) == 0


def _member(data, name="x.npy"):
    """An archive of one member."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, data)
    return archive.getvalue()


def _array(header):
    """The bytes of an array's file with that header, and nothing after it."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


_HUGE = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3)}\n"
_LOCKED = bytearray(_member(b"x" * 50))
_LOCKED[6] |= 1
_LOCKED[_LOCKED.find(b"PK\x01\x02") + 8] |= 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_array(_HUGE), "not an .npz file: BadZipFile"),
        (_member(_array(_HUGE)), "not an .npz file: "),
        (_member(_array(b"{'descr': (\n")), "not an .npz file: "),
        (_member(b"no array", "x"), "needs shape"),
        (bytes(_LOCKED), "not an .npz file: RuntimeError: File 'x.npy' is encrypted"),
    ],
    ids=["one array", "huge", "cut off", "no array", "encrypted"],
)
def test_a_hostile_archive_is_refused(tmp_path, data, message):
    (tmp_path / "x.npz").write_bytes(data)
    model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    with pytest.raises(UsageError, match=message):
        models.inputs_for(model, tmp_path / "x.npz", seed=0)
