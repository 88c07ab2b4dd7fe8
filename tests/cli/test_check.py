import html
import json
import math

import pytest
import tensorflow as tf

from tests.cli.running import run
from tf_einsum_grad.benchmark import variants
from tf_einsum_grad.cli import check


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_an_equation_is_checked_by_differences_and_against_native(capsys, dtype):
    code, out, _ = run(capsys, "check", "ij,jk->ik", "3,4", "4,2", "--dtype", dtype)
    assert code == 0
    assert "PASS" in out and "Against native einsum's gradients" in out


def test_where_native_has_nothing_to_compare_with_it_says_so(capsys):
    code, out, _ = run(capsys, "check", "i->ii", "3")
    assert code == 0
    assert "Native einsum does not take this equation" in out


def test_sizes_of_new_labels(capsys):
    code, out, _ = run(capsys, "check", "i->ij", "3", "--size", "j=5")
    assert code == 0 and "PASS" in out


def test_empty_operands(capsys):
    code, out, _ = run(capsys, "check", "ij,jk->ik", "0,4", "4,2")
    assert code == 0
    assert "Against native einsum's gradients: 0.0e+00" in out


def scaled_gradients(factor):
    """Our einsum, its gradients multiplied by a factor."""
    right = variants.VARIANTS["ours"]

    @tf.custom_gradient
    def scaled(result):
        return result, lambda cotangent: factor * cotangent

    return lambda equation, *operands, **options: scaled(right(equation, *operands, **options))


def test_a_wrong_gradient_is_found(capsys, monkeypatch):
    monkeypatch.setitem(variants.VARIANTS, "ours", scaled_gradients(1.01))
    code, out, _ = run(capsys, "check", "ij,jk->ik", "3,4", "4,2")
    assert code == 1
    assert "FAIL" in out


@pytest.mark.parametrize(
    ("comparison", "code", "shown"),
    [
        ([(1e-7, 1e-6), (2e-7, 1e-6)], 0, "2.0e-07"),
        ([(1e-5, 1e-6), (1e-7, 1e-6)], 1, "1.0e-05"),
        ([(math.nan, 1e-6), (1e-7, 1e-6)], 1, "nan"),
    ],
)
def test_gradients_that_differ_from_natives_are_wrong(
    capsys, monkeypatch, tmp_path, comparison, code, shown
):
    page, data = tmp_path / "x.html", tmp_path / "x.json"
    monkeypatch.setattr(check, "_compare_with_native", lambda *_: comparison)
    arguments = ("ij,jk->ik", "3,4", "4,2", "--html", str(page), "--json", str(data))
    found, out, _ = run(capsys, "check", *arguments)
    assert found == code
    sentence = f"Against native einsum's gradients: {shown} of their largest element"
    assert "PASS: gradients of" in out and sentence in out
    assert f"<title>{'FAIL' if code else 'PASS'}: gradients of" in page.read_text()
    assert sentence in html.unescape(page.read_text())
    written = json.loads(data.read_text())
    assert written["passed"] == written["native"]["passed"] == (code == 0)


def test_files_hold_what_was_asked_and_where(capsys, tmp_path):
    page, data = tmp_path / "x.html", tmp_path / "x.json"
    arguments = (
        "i->ij",
        "3",
        "--size",
        "j=5",
        "--seed",
        "7",
        "--html",
        str(page),
        "--json",
        str(data),
    )
    assert run(capsys, "check", *arguments)[0] == 0
    written = json.loads(data.read_text())
    assert written["arguments"]["target"] == "i->ij" and written["arguments"]["seed"] == 7
    assert written["native"] == {"compared": False, "errors": [], "tolerances": [], "passed": True}
    assert ["tensorflow", tf.__version__] in written["environment"]["versions"]
    text = page.read_text()
    assert "i->ij" not in text and "i-&gt;ij" in text and tf.__version__ in text


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_it_fits_the_terminal_with_names_whole(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = run(capsys, "check", "ij,jk->ik", "3,4", "4,2")
    assert code == 0
    assert max(map(len, out.splitlines())) <= columns
    assert "inputs[0]" in out and "float32" in out
