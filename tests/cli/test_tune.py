"""`tf-einsum-grad tune`."""

import json

import keras
import pytest

from tf_einsum_grad.cli.main import main
from tf_einsum_grad.tuning import tune as tuning


def test_an_equation_is_tuned_into_a_file(capsys, tmp_path):
    path = tmp_path / "machine.json"
    shapes = ["4,8,16", "4,16,8"]
    options = ["--seconds", "0.2", "--output", str(path)]
    assert main(["tune", "bij,bjk->bik", *shapes, *options]) == 0
    out = capsys.readouterr().out
    assert "of 4 measured, " in out
    assert f"TF_EINSUM_GRAD_MACHINE={path} uses it" in out
    assert json.loads(path.read_text())["schema"] == 1


def test_a_model_is_tuned(capsys, tmp_path):
    path = tmp_path / "model.keras"
    layer = keras.layers.EinsumDense("btd,de->bte", (None, 4))
    keras.Sequential([keras.Input((3, 5)), layer]).save(path)
    assert main(["tune", str(path), "--seconds", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "measured, " in out
    assert "of 0 " not in out


def test_nothing_is_the_rates(capsys, monkeypatch):
    monkeypatch.setattr(tuning, "time_probe", lambda probe, effort: 1000.0)
    assert main(["tune", "--seconds", "1"]) == 0
    assert capsys.readouterr().out.startswith("the rates of ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ij,jk->ik"], "an equation requires shapes"),
        (["ij,jk->ik", "2,3", "4,5"], "label 'j'"),
        (["ij,jk->ik", "2,3"], "2 operands"),
        (["ij->i", "2,3", "--dtype", "string"], "numeric dtype"),
        (["--seconds", "0"], "--seconds requires more than 0, got 0.0"),
        (["m.keras"], "m.keras: no such file"),
        (["m.keras", "2,3"], "a model takes no shapes"),
        (["--output", "/nowhere/m.json"], "cannot write '/nowhere/m.json'"),
    ],
)
def test_bad_usage_is_a_line_and_code_2(capsys, arguments, message):
    assert main(["tune", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
