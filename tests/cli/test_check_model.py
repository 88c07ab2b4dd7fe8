"""A saved Keras model, checked from the command line."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

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
        run(saved / "bad.keras", "--html", html, "--json", data, "--variants", "eager", "graph")
        == 1
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
        (["missing.keras"], "no such file"),
        (["unsafe.keras"], "cannot be loaded"),
        (["text.keras"], "cannot be loaded"),
        (["good.keras", "--inputs", "text.txt"], "not an .npz file"),
        (["good.keras", "--inputs", "wrong.npz"], "needs shape (None, 3), got (2, 5)"),
        (["two.keras", "--inputs", "wrong.npz"], "the model's inputs are ['ids', 'x']"),
        (["good.keras", "--html", "nowhere/x.html"], "cannot write the report"),
    ],
)
def test_bad_usage_exits_2_with_one_clear_line(saved, arguments, message, capsys):
    for name in ("text.keras", "text.txt"):
        (saved / name).write_text("hello")
    np.savez(saved / "wrong.npz", a=np.ones((2, 5)))
    paths = [a if a.startswith("--") else saved / a for a in arguments]
    assert run(*paths) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in error if line.startswith("error:")]) == 1, error
    assert message in error[-1]


def test_unknown_options_exit_2(saved):
    with pytest.raises(SystemExit) as caught:
        run(saved / "good.keras", "--order", "3")
    assert caught.value.code == 2
