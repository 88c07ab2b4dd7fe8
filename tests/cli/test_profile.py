"""`tf-einsum-grad profile`."""

import json

import keras
import numpy as np
import pytest

from tests.profiling.conftest import clock  # noqa: F401
from tf_einsum_grad.cli.main import main


@pytest.fixture
def saved(tmp_path):
    layer = keras.layers.EinsumDense("btd,de->bte", (None, 4), name="inner")
    keras.Sequential([keras.Input((3, 5), name="x"), layer]).save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def test_a_model_is_profiled_into_files(saved, capsys):
    folder = saved.parent
    np.savez(folder / "x.npz", x=np.ones([7, 3, 5], "float32"))
    names = {kind: folder / f"profile.{kind}" for kind in ("html", "json")}
    options = ["--html", str(names["html"]), "--json", str(names["json"])]
    before = saved.read_bytes()
    assert main(["profile", str(saved), "--inputs", str(folder / "x.npz"), *options]) == 0
    out = capsys.readouterr().out
    assert "inner" in out and "btd,de->bte" in out and "7,3,5 5,4" in out
    assert "a step of training takes 3.00 ms as it is, 1.00 ms installed" in out
    (row,) = json.loads(names["json"].read_text())["rows"]
    assert row["product"]["needed"] == [1]
    assert names["html"].read_text().startswith("<!doctype html>")
    assert saved.read_bytes() == before


def test_without_gradients_in_two_modes(saved, capsys):
    assert main(["profile", str(saved), "--inference", "--modes", "graph,eager"]) == 0
    out = capsys.readouterr().out
    assert "graph: a forward pass takes" in out and "eager: a forward pass takes" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.keras"], "there is no such file"),
        (["{saved}", "--modes", "fast"], "one or more of eager, graph, xla required, got 'fast'"),
        (["{saved}", "--html", "/nowhere/p.html"], "cannot write '/nowhere/p.html'"),
        (["{saved}", "--inputs", "{saved}"], "inputs are ['x']"),
    ],
)
def test_bad_usage_is_a_line_and_code_2(saved, capsys, arguments, message):
    assert main(["profile", *(part.format(saved=saved) for part in arguments)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_a_model_that_no_graph_takes(tmp_path, capsys):
    layer = keras.layers.Dense(2, name="[bold]x")  # which is no name scope
    keras.Sequential([keras.Input((3,)), layer]).save(tmp_path / "m.keras")
    assert main(["profile", str(tmp_path / "m.keras")]) == 2
    err = capsys.readouterr().err
    assert "cannot be traced" in err and "[bold]x" in err and "Traceback" not in err
