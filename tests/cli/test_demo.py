import math
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.cli.running import run
from tests.cli.test_check import scaled_gradients
from tf_einsum_grad.benchmark import variants
from tf_einsum_grad.benchmark.workloads import Workload
from tf_einsum_grad.cli import demo


def test_the_question_is_answered(capsys):
    code, out, _ = run(capsys, "ijkm,ijkn->imn", "6,3,3,4", "6,3,3,5", "--repeats", "2")
    assert code == 0
    assert "how is the gradient computed?" in out
    assert "dL/dA = einsum('imn,ijkn->ijkm', dL/dY, B)" in out
    for heading in ("against TensorFlow's", "against float64", "native", "ours", "peak memory"):
        assert heading in out
    assert f"{tf.config.list_logical_devices()[0].device_type}:0" in out


def test_the_answer_is_for_the_machine_that_it_runs_on():
    """The process knows its machine before the first line is written."""
    command = [sys.executable, "-m", "tf_einsum_grad", "demo", "ij,jk->ik", "4,4", "4,4"]
    done = subprocess.run(
        [*command, "--repeats", "1"],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "(with oneDNN)" in " ".join(done.stdout.split())


@pytest.mark.parametrize("equation, shapes", [("i->ii", ["5"]), ("ij,ij->ij", ["1,3", "2,3"])])
def test_where_native_refuses(capsys, equation, shapes):
    code, out, _ = run(capsys, equation, *shapes, "--repeats", "1")
    assert code == 0
    assert out.count("refused") == len(shapes) + 2
    assert "TensorFlow's own einsum refuses this equation" in out


@pytest.mark.parametrize(
    ("against_native", "against_numbers", "right"),
    [
        (1e-7, 1e-7, True),
        (None, 1e-7, True),
        (1e-5, 1e-7, False),
        (1e-7, 1e-5, False),
        (math.nan, 1e-7, False),
        (1e-7, math.nan, False),
    ],
)
def test_what_is_right(against_native, against_numbers, right):
    assert demo._Errors(against_native, against_numbers, tolerance=1e-6).right == right


def test_a_wrong_gradient_is_found(capsys, monkeypatch):
    monkeypatch.setitem(variants.VARIANTS, "ours", scaled_gradients(1.01))
    code, out, _ = run(capsys, "ijkm,ijkn->imn", "6,3,3,4", "6,3,3,5", "--repeats", "1")
    assert code == 1
    assert "WRONG on CPU:0" in out
    assert out.count("1.0e-02") == 2, "each gradient, against TensorFlow's"


def test_forward_and_backward_are_timed_as_often_as_asked(capsys, monkeypatch):
    from tf_einsum_grad.benchmark import timing

    calls = []

    def interleave(passes, effort):
        calls.append(effort)
        return {who: [0.2, 0.1, 0.4] if who == "native" else [0.1] * 3 for who in passes}

    monkeypatch.setattr(timing, "interleave", interleave)
    _, out, _ = run(capsys, "ijkm,ijkn->imn", "6,3,3,4", "6,3,3,5", "--repeats", "9")
    assert calls == [timing.Effort(repeats=9, seconds=math.inf, most=9)]
    (line,) = (line for line in out.splitlines() if "time, median" in line)
    assert line.split()[-5:] == ["200", "ms", "100", "ms", "2.00x"]


def test_shapes_shrink_where_memory_is_short():
    full = Workload("", "", "ij,kj->ik", ((1000, 8), (20, 8)))
    enough = demo._WORKING_SET * (full.input_bytes + full.output_bytes)
    assert demo._fit_memory(full, enough) == full
    assert demo._fit_memory(full, enough - 1).shapes == ((500, 8), (20, 8))
    assert demo._fit_memory(full, enough // 4).shapes == ((125, 8), (20, 8)), "a fourth is too much"
