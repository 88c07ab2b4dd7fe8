import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tf_einsum_grad.cli import demo as question
from tf_einsum_grad.cli import main as cli


def run(capsys, *arguments):
    try:
        code = cli.main(list(arguments))
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_explain(capsys):
    code, out, err = run(capsys, "explain", "ij,jk->ik", "3,4", "4,5")
    assert (code, err) == (0, "")
    assert "dL/dA = einsum('ik,jk->ij', dL/dY, B)" in out


def test_explain_as_json(capsys):
    _, out, _ = run(capsys, "explain", "i,->i", "3", "scalar", "--json")
    assert json.loads(out)["shapes"] == [[3], []]


def test_explain_on_a_mesh(capsys):
    code, out, _ = run(capsys, "explain", "bk,kn->bn", "64,8", "8,8", "--mesh", "b=4")
    assert code == 0
    assert "sums over b: an all-reduce of 256 B over 4 devices" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "ij", "3,4", "--mesh", "b4"], "a label and a number like b=4 is required"),
        (["explain", "ij", "3,4", "--mesh", "b=4"], "requires a mesh of its own labels, got 'b'"),
        (["explain", "ij,jk", "3,4", "5,6"], "label 'j', got 4 in operand 0 (shape (3, 4)) and 5"),
        (["explain", "ij", "3,x"], "a shape like 100,28,28,512 is required, got '3,x'"),
        (["explain"], "the following arguments are required: EQUATION"),
        (["explain", "i", "3", "--dtype", "str"], "requires a numeric dtype, got 'str'"),
        (["--equation", "ij,jk"], "requires --shapes, got none"),
        (["--repeats", "0"], "--repeats requires 1 or more, got 0"),
        (["--shapes", "3,4"], "requires 2 operands, got 1"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["check", "ij,jk", "3,4"], "requires 2 operands, got 1"),
        (["check", "ij,jk"], "'ij,jk' requires a shape for each operand"),
        (["check", "no.keras"], "no.keras"),
        (["check", "no.keras", "3,4"], "a model takes no shapes"),
        (["check", "no.keras", "--dtype", "float64"], "a model takes no --dtype"),
        (["check", "ij->i", "3,4", "--training"], "an equation takes no --training"),
        (["check", "i->ij", "3"], "requires sizes={'j': ...}"),
        (["explain", "i->ij", "3", "--size", "j"], "a label and a number like b=4 is required"),
        (["explain", "i,i->i", "3", "3", "--optimize", "best"], "the name of an optimiser"),
        (["--equation", "ij,jk->ik", "--shapes", "0,3", "3,4"], "requires sizes from 1 on"),
        (["bench"], "an equation with shapes is required"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert out == "" and err.count("\n") == 1


def test_check_of_an_equation(capsys):
    code, out, _ = run(capsys, "check", "ij,jk->ik", "3,4", "4,2")
    assert code == 0
    assert "PASS" in out and "Against native einsum's gradients" in out


def test_check_says_where_native_has_nothing_to_compare_with(capsys):
    code, out, _ = run(capsys, "check", "i->ii", "3")
    assert code == 0
    assert "Native einsum does not take this equation" in out


def test_sizes_of_new_labels(capsys):
    code, out, _ = run(capsys, "explain", "i->ij", "3", "--size", "j=5")
    assert code == 0 and "Y(3, 5)" in out
    code, out, _ = run(capsys, "check", "i->ij", "3", "--size", "j=5")
    assert code == 0 and "PASS" in out


def test_check_finds_a_wrong_gradient(capsys, monkeypatch):
    from tf_einsum_grad import ops

    @tf.custom_gradient
    def wrong(equation_result):
        return equation_result, lambda cotangent: 1.01 * cotangent

    right = ops.einsum
    monkeypatch.setattr(ops, "einsum", lambda equation, *xs, **_: wrong(right(equation, *xs)))
    code, out, _ = run(capsys, "check", "ij,jk->ik", "3,4", "4,2")
    assert code == 1
    assert "FAIL" in out


def test_the_main_job(capsys):
    code, out, _ = run(capsys, "--shapes", "6,3,3,4", "6,3,3,5", "--repeats", "2")
    assert code == 0
    assert "how is the gradient computed?" in out
    assert "dL/dA = einsum('imn,ijkn->ijkm', dL/dY, B)" in out
    for heading in ("against TensorFlow's", "against float64", "native", "ours", "peak memory"):
        assert heading in out
    assert f"{tf.config.list_logical_devices()[0].device_type}:0" in out


@pytest.mark.parametrize("equation, shapes", [("i->ii", ["5"]), ("ij,ij->ij", ["1,3", "2,3"])])
def test_the_main_job_where_native_refuses(capsys, equation, shapes):
    code, out, _ = run(capsys, "--equation", equation, "--shapes", *shapes, "--repeats", "1")
    assert code == 0
    assert out.count("refused") == len(shapes) + 2
    assert "TensorFlow's own einsum refuses this equation" in out


def test_a_nan_is_not_right():
    nan = float("nan")
    numbers = {"ours": 1.0, "native": 1.0, "ours_bytes": 1, "native_bytes": 1}
    for against_native, against_numbers, right in (
        ((1e-7, 1e-7), (1e-7, 1e-7), True),
        ((1e-7, nan), (1e-7, 1e-7), False),
        ((1e-7, 1e-7), (1e-7, nan), False),
    ):
        c = question._Comparison("CPU:0", against_native, against_numbers, **numbers)
        assert c.right == right


def test_the_main_job_fails_on_a_wrong_gradient(capsys, monkeypatch):
    from tf_einsum_grad import ops

    right = ops.einsum

    def wrong(equation, *operands):
        result = right(equation, *operands)
        return result + 0.01 * (result - tf.stop_gradient(result))

    monkeypatch.setattr(ops, "einsum", wrong)
    code, out, _ = run(capsys, "--shapes", "6,3,3,4", "6,3,3,5", "--repeats", "1")
    assert code == 1
    assert "WRONG on CPU:0" in out


def test_shapes_shrink_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(question, "_available_memory", lambda: 10**9)
    full = ((100, 28, 28, 512), (100, 28, 28, 512))
    smaller = question._fit_memory("ijkm,ijkn->imn", full)
    elements = sum(int(np.prod(shape)) for shape in smaller)
    assert 4 * question._WORKING_SET * elements < 10**9
    assert smaller[0][:3] == smaller[1][:3]
    monkeypatch.setattr(question, "_available_memory", lambda: 10**12)
    assert question._fit_memory("ijkm,ijkn->imn", full) == full


def test_tensorflow_starts_without_a_word_and_fails_with_its_words():
    quiet = "from tf_einsum_grad.cli.main import start_tensorflow; start_tensorflow()"
    done = subprocess.run([sys.executable, "-c", quiet], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    loud = (
        "import os, sys, types; fake = types.ModuleType('tensorflow'); sys.modules['tensorflow'] = fake\n"
        "def fail(): os.write(2, b'the reason\\n'); raise RuntimeError('no devices')\n"
        "fake.config = types.SimpleNamespace(list_logical_devices=fail)\n" + quiet
    )
    done = subprocess.run([sys.executable, "-c", loud], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the reason" in done.stderr and "no devices" in done.stderr


def test_the_module_runs_and_explain_needs_no_tensorflow():
    program = (
        "import sys, tf_einsum_grad.cli.main as c; c.main(['explain', 'ij,jk', '2,3', '3,4']); "
    )
    program += "sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Y = einsum('ij,jk'" in done.stdout
    done = subprocess.run([sys.executable, "-m", "tf_einsum_grad", "--help"], capture_output=True)
    assert done.returncode == 0 and b"explain" in done.stdout
