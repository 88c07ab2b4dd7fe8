import argparse
import subprocess
import sys

import pytest

from tf_einsum_grad.cli.arguments import (
    at_least,
    input_file,
    output_file,
    parse_shape,
    parse_sizes,
    say,
)


def test_tensorflow_starts_without_a_word_and_fails_with_its_words():
    quiet = "from tf_einsum_grad.cli.arguments import start_tensorflow; start_tensorflow()"
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


@pytest.mark.parametrize(
    ("text", "shape"),
    [("2,3", (2, 3)), ("(2, 3)", (2, 3)), ("[7]", (7,)), ("7,", (7,)), ("scalar", ())],
)
def test_shapes(text, shape):
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "2,x", "-1", "2,,3"])
def test_what_is_no_shape(text):
    with pytest.raises(argparse.ArgumentTypeError, match="a shape like 100,28,28,512 is required"):
        parse_shape(text)


def test_whole_numbers():
    assert at_least(0)("0") == 0 and at_least(-2)("-2") == -2 and at_least(1)("12") == 12
    for text in ("-1", "x", "1.5", "", "--1"):
        with pytest.raises(argparse.ArgumentTypeError, match="a whole number, at least 0"):
            at_least(0)(text)


def test_sizes():
    assert parse_sizes("b=4") == [("b", 4)] and parse_sizes("b=4,é=2") == [("b", 4), ("é", 2)]
    for text in ("b", "bc=4", "b=-4", "=4", "b=4,", "b=4 c=5"):
        with pytest.raises(argparse.ArgumentTypeError, match="a label and a number"):
            parse_sizes(text)


def test_files(tmp_path):
    there = tmp_path / "there"
    there.write_text("")
    assert input_file(str(there)) == output_file(str(there)) == there
    assert output_file(str(tmp_path / "new")) == tmp_path / "new"
    for read, name, message in (
        (input_file, "new", "cannot read .*: there is no such file"),
        (input_file, "", "cannot read .*: it is a directory"),
        (output_file, "", "cannot write .*: it is a directory"),
        (output_file, "no/x.json", "cannot write .*: there is no directory .*no'"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            read(str(tmp_path / name))


def test_a_message_does_not_steer_the_terminal(capsys):
    say("no \x1b[31mred\x1b[0m,\nno \u202eturn, [b]no[/b] <b>markup</b>")
    expected = r"tf-einsum-grad: no \x1b[31mred\x1b[0m, no \u202eturn, [b]no[/b] <b>markup</b>"
    assert capsys.readouterr().err == expected + "\n"
