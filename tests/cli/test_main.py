import os
import re
import signal
import subprocess
import sys

import pytest

from tests.cli.running import run
from tf_einsum_grad.cli.arguments import PROGRAM
from tf_einsum_grad.cli.main import build_parser


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "ij", "3,4", "--mesh", "b4"], "a label and a number like b=4 is required"),
        (["explain", "ij", "3,4", "--mesh", "b=4"], "requires a mesh of its own labels, got 'b'"),
        (["explain", "ij,jk", "3,4", "5,6"], "label 'j', got 4 in operand 0 (shape (3, 4)) and 5"),
        (["explain", "ij", "3,x"], "a shape like 100,28,28,512 is required, got '3,x'"),
        (["explain"], "the following arguments are required: EQUATION"),
        (["explain", "i", "3", "--dtype", "str"], "requires a numeric dtype, got 'str'"),
        (["explain", "i", "3", "--target", "tpu"], "invalid choice: 'tpu'"),
        (["explain", "i,i->i", "3", "3", "--optimize", "best"], "the name of an optimiser"),
        (["explain", "i->ij", "3", "--size", "j"], "a label and a number like b=4 is required"),
        (["explain", "i", "3", "--js"], "unrecognized arguments: --js"),
        (["ij,jk"], "'ij,jk' requires a shape for each operand, got none"),
        (["ij,jk", "3,4"], "requires 2 operands, got 1"),
        (["ij,jk->ik", "0,3", "3,4"], "requires sizes from 1 on"),
        (["frobnicate"], "'frobnicate' requires a shape for each operand, got none"),
        (["--repeats", "0"], "--repeats requires 1 or more, got 0"),
        (["check"], "the following arguments are required: EQUATION|MODEL.keras"),
        (["check", "ij,jk", "3,4"], "requires 2 operands, got 1"),
        (["check", "ij,jk"], "'ij,jk' requires a shape for each operand"),
        (["check", "no.keras"], "no.keras"),
        (["check", "no.keras", "3,4"], "a model takes no shapes"),
        (["check", "no.keras", "--dtype", "float64"], "a model takes no --dtype"),
        (
            ["check", "no.keras", "--inputs", "no.npz"],
            "cannot read 'no.npz': there is no such file",
        ),
        (
            ["check", "ij", "3,4", "--html", "no/x.html"],
            "cannot write 'no/x.html': there is no dir",
        ),
        (["check", "ij", "3,4", "--json", "."], "cannot write '.': it is a directory"),
        (["check", "ij->i", "3,4", "--training"], "an equation takes no --training"),
        (["check", "i->ij", "3"], "requires sizes={'j': ...}"),
        (["bench"], "an equation with shapes is required"),
        (["bench", "ij", "3,4", "--plot", "no/x.png"], "cannot write 'no/x.png'"),
        (["bench", "--suite", "--compare", "no.json"], "cannot read 'no.json'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert out == "" and err.count("\n") == 1
    assert re.match(rf"{PROGRAM}( demo| explain| check| bench)?: ", err)


def program(*arguments, before="", **options):
    """The program in a process of its own."""
    code = f"import sys\n{before}\nfrom tf_einsum_grad.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(command, **given)


WITHOUT_TENSORFLOW = "sys.modules['tensorflow'] = None"


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "no.keras"],
        ["check", "ij", "3,4", "--html", "no/x.html"],
        ["check", "{model}", "--inputs", "no.npz"],
        ["check", "{text}"],
        ["check", "{model}", "--inputs", "{text}"],
        ["check", "{part}"],
        ["bench", "ij", "3,4", "--json", "no/x.json"],
        ["bench", "--suite", "--compare", "{text}"],
    ],
)
def test_what_can_be_refused_is_refused_before_tensorflow_starts(arguments, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
        file.writestr("config.json", "{}")
        file.writestr("model.weights.h5", "")
    (tmp_path / "p.keras").write_bytes((tmp_path / "m.keras").read_bytes()[:-20])
    (tmp_path / "t.keras").write_text("hello")
    names = {
        "model": tmp_path / "m.keras",
        "text": tmp_path / "t.keras",
        "part": tmp_path / "p.keras",
    }
    process = program(*(a.format(**names) for a in arguments), before=WITHOUT_TENSORFLOW)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err.count("\n") == 1, err
    assert any(part.format(**names) in err for part in arguments[1:])


@pytest.mark.parametrize("missing", ["numpy", "opt_einsum", "tensorflow", "rich"])
def test_a_missing_dependency_is_named_in_one_line(missing):
    process = program("check", "ij", "3,4", before=f"sys.modules[{missing!r}] = None")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert err == f"{PROGRAM}: requires {missing}, which is not installed: pip install {PROGRAM}\n"


def test_a_closed_pipe_ends_it_without_a_word(monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # argparse drops errors of its own writes
    for arguments in (["explain", "ij,jk", "2,3", "3,4"], ["--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        process = program(*arguments, stdout=writing)
        os.close(writing)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="requires /dev/full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        process = program("explain", "ij,jk", "2,3", "3,4", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert err == f"{PROGRAM}: No space left on device\n"


def test_an_interrupt_is_one_line_and_130():
    # A shell that starts the tests in the background has its children ignore Ctrl-C.
    before = """
import signal, time, tf_einsum_grad.cli.explain as module
signal.signal(signal.SIGINT, signal.default_int_handler)
def explain(*_, **__):
    print("ready", flush=True)
    time.sleep(60)
module.explain = explain
"""
    process = program("explain", "ij", "2,3", before=before)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, f"{PROGRAM}: interrupted\n")


def test_an_interrupt_is_heard_while_the_program_is_imported():
    before = """
import importlib.abc
class Interrupted(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "tf_einsum_grad.cli.explain":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
"""
    process = program("explain", "ij", "2,3", before=before)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, f"{PROGRAM}: interrupted\n")


def test_a_fault_of_ours_is_never_1(capsys, monkeypatch):
    monkeypatch.setattr("tf_einsum_grad.cli.explain.explain", lambda *_, **__: 1 / 0)
    code, _, err = run(capsys, "explain", "ij", "2,3")
    assert code == 3 and "ZeroDivisionError" in err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_encoding_will_do(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    process = program("explain", "αβ,βé->αé", "2,3", "3,4", env=environment, text=False)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert rb"\u03b1" in out
    process = program("check", "αβ,βé->αé", "2,3", "3,4", env=environment, text=False)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, b"")
    assert b"PASS" in out and b"2x3" in out.replace("×".encode("latin-1"), b"x")


def test_the_version_names_what_a_result_depends_on(capsys):
    import tensorflow as tf

    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert out.startswith(f"{PROGRAM} ") and f"TensorFlow {tf.__version__}" in out


def options():
    parser = build_parser()
    for name, command in parser._subparsers._group_actions[0].choices.items():
        for action in command._actions:
            if action.dest != "help":
                yield pytest.param(action, id=f"{name} {action.option_strings or action.metavar}")


@pytest.mark.parametrize("action", options())
def test_every_option_has_help_and_says_its_default(action):
    assert action.help
    assert "default: " in action.help or not action.option_strings
    assert action.metavar or action.choices or action.nargs == 0


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
