import io
import time

import pytest
from rich.console import Console
from rich.text import Text

from tf_einsum_grad.text.terminal import (
    make_console,
    make_table,
    progress,
    terminal_width,
    use_plain_characters,
)

ERASED = "\x1b[1A\x1b[2K"  # the line above


def shown(what, width=40, **options):
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)
    console.print(what)
    return console.file.getvalue().splitlines()


def test_names_stand_left_and_numbers_right():
    table = make_table(("name", "ours"), [("a", "1.5 ms"), ("long", "x")], gap=3)
    assert shown(table) == ["name     ours   ", "a      1.5 ms   ", "long        x   "]


def test_a_ruled_table_with_a_title():
    lines = shown(make_table(("a", "b"), [("1", "234")], title="T", ruled=True, gap=0))
    assert [line.rstrip() for line in lines] == ["T", "", " a   b", " ─────", " 1 234", ""]


def test_where_space_is_short_names_fold():
    rows = [("abcdefgh" * 4, "123")]
    lines = shown(make_table(("name", "x"), rows, gap=0, folded=("name",)), width=20)
    assert [line.rstrip() for line in lines] == [
        "name               x",
        "abcdefghabcdefgha123",
        "bcdefghabcdefgh",
    ]


def test_where_there_is_no_room_for_a_table_each_cell_is_a_line():
    table = make_table(("name", "ours"), [("a" * 20, "1.5 ms"), ("b", "")], title="T")
    assert shown(table, width=29)[2].split() == ["a" * 20, "1.5", "ms"]
    lines = ["T", f"name: {'a' * 20}", "  ours: 1.5 ms", "name: b"]
    assert [line.rstrip() for line in shown(table, width=26)] == lines
    table = make_table(("name", "ours"), [("a" * 20, "1 ms"), ("", "2 ms")])
    assert [line.rstrip() for line in shown(table, width=20)][-2:] == [
        "  ours: 1 ms",
        "  ours: 2 ms",
    ]


def test_a_console_is_as_wide_as_its_terminal(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal_width(io.StringIO()) == 100
    for columns, width in (("7", 40), ("40", 40), ("200", 200)):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal_width(io.StringIO()) == make_console().width == width


def test_no_color(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = make_console()
    console.file = io.StringIO()
    console.print(Text("bad", style="red"))
    assert console.file.getvalue() == "bad\n"


def test_a_closed_pipe_is_no_exit_with_1():
    with pytest.raises(BrokenPipeError):
        make_console().on_broken_pipe()


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", b"2x3 -> ... e \\u03b1 fi"),
        ("latin-1", b"2\xd73 -> ... \xe9 \\u03b1 fi"),
        ("utf-8", "2×3 → … é α ﬁ".encode()),
    ],
)
def test_what_an_encoding_has_not_is_written_with_what_it_has(encoding, written):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    use_plain_characters(file)
    file.write("2×3 → … é α ﬁ")
    file.flush()
    assert file.buffer.getvalue() == written


def test_strings_are_no_markup_and_cells_may_have_a_style():
    table = make_table(("x",), [("[red]",), (Text("bad", style="red"),)])
    lines = shown(table, force_terminal=True, color_system="standard")
    assert "[red]" in lines[1] and "\x1b[31m" in lines[2] and "\x1b[31m" not in lines[1]


def test_in_a_log_each_step_is_a_line():
    console = Console(file=io.StringIO(), highlight=False)
    with progress(console) as advance:
        advance("first", 0, 2)
        advance("second", 1, 2)
    assert console.file.getvalue() == "0/2 first\n1/2 second\n"


def test_in_a_terminal_a_bar_stays():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress(console) as advance:
        advance("first", 1, 2)
    out = console.file.getvalue()
    assert "first" in out and "1/2" in out and not out.endswith(ERASED)


def test_a_patient_bar_appears_only_where_the_task_takes_long(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    for seconds, appears in ((0.9, False), (1.1, True)):
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        with progress(console, unit="comparisons", patience=1.0) as advance:
            now[0] += seconds
            advance("checking", 3, 7)
        out = console.file.getvalue()
        assert ("checking" in out and "3/7" in out and "comparisons" in out) == appears
        assert out.endswith(ERASED) == appears


def test_a_patient_bar_says_nothing_in_a_log():
    console = Console(file=io.StringIO())
    with progress(console, unit="comparisons", patience=1e-9) as advance:
        advance("checking", 3, 7)
    assert console.file.getvalue().strip() == ""
