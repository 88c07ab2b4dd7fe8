"""What people see who wait."""

import sys

import pytest
import tensorflow as tf

from tests.gradcheck.helpers import x
from tf_einsum_grad.gradcheck import check_gradients, progress


class Terminal:
    """A stderr that says that it is a terminal, and keeps what is written."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.mark.parametrize("fn", [tf.sin, lambda v: v + float(v[0])])
@pytest.mark.parametrize(("wanted", "patience"), [(True, 0.0), (True, 60.0), (False, 0.0)])
def test_a_bar_with_an_estimate_appears_when_it_takes_long(monkeypatch, fn, wanted, patience):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_PATIENCE", patience or 1e-9)
    check_gradients(fn, x(3), progress=wanted)
    shown = wanted and not patience
    assert ("comparisons" in terminal.text) == shown
    assert ("evaluations of" in terminal.text) == shown


def test_nothing_is_written_where_nobody_looks(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_PATIENCE", 1e-9)
    check_gradients(tf.sin, x(3))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ((0.1, 0, 0, 0), "checking"),
        ((3.0, 2, 0, 4), "checking: 2 evaluations of 1.5 s"),
        ((3.0, 2, 1, 4), "checking: 2 evaluations of 1.5 s, about 9.0 s left"),
        ((3.0, 2, 4, 4), "checking: 2 evaluations of 1.5 s"),
    ],
)
def test_an_estimate_needs_something_done_and_something_left(told, text):
    assert progress.describe(*told) == text
