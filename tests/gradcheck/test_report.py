"""What a report says, in every form that it has."""

import dataclasses
import io
import json
import math

import pytest
from rich.console import Console

from tf_einsum_grad.gradcheck.report import GradientCheckError, GradientReport, LeafReport
from tf_einsum_grad.gradcheck.status import Status, worst


def leaf(name="dense/kernel", status=Status.FAIL, **changes):
    base = LeafReport(
        name, (3, 4), "float32", status, 2.0, 1.0, 1.0, 1.0, 1e-4, 1e-9, 1e-3,
        worst_indices=((1, 2),), worst_values=((4.0, 2.0),), ratio=2.0,
        cause="off by a factor of 2", variant="eager",
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def report(*leaves, **changes):
    status = worst(x.status for x in leaves)
    base = GradientReport(status, leaves, {"eager": status}, 0, "promote", 12, 2, 0.5)
    return dataclasses.replace(base, **changes)


def test_the_summary_names_leaf_indices_values_tolerance_and_cause():
    text = report(leaf(), leaf("ok", Status.PASS), hints=("look here",), warnings=("w",)).summary()
    for part in (
        "FAIL: gradients of function: 1 FAIL, 1 PASS",
        "dense/kernel (3x4 float32)",
        "analytic 2, numeric 1",
        "tolerance 0.0001",
        "[1, 2]: analytic 4, numeric 2",
        "off by a factor of 2",
        "hint: look here",
        "warning: w",
        "12 evaluations",
    ):
        assert part in text
    assert "ok (" not in text


def test_the_hint_comes_first_in_every_form():
    wrong = report(leaf(), hints=("look here",), notes=("held",), warnings=("w",))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(wrong)
    for text in (wrong.summary(), console.export_text(), wrong.to_html()):
        places = [text.index(part) for part in ("look here", "dense/kernel", "note: held")]
        assert places == sorted(places)
        assert "order 1" in text
    assert wrong.summary().splitlines()[1] == "  hint: look here"


def test_what_is_upstream_is_one_line():
    upstream = [leaf(f"layer{i}", upstream=True) for i in range(9)]
    text = report(*upstream, leaf()).summary()
    assert (
        "upstream, so wrong as well: 'layer0', 'layer1', 'layer2', 'layer3', 'layer4' and 4" in text
    )
    assert text.count("analytic") == 2  # the leaf's own, and its element's


@pytest.mark.parametrize("status", [Status.PASS_NEARBY, Status.INCONCLUSIVE, Status.MISSING])
def test_leaves_of_which_the_same_is_to_be_said_share_a_line(status):
    bare = {"status": status, "abs_error": math.nan, "cause": "for a reason"}
    text = report(*(leaf(f"leaf{i}", **bare) for i in range(3)), leaf("kernel")).summary()
    assert text.count("for a reason") == 1
    assert f"{status} 'leaf0', 'leaf1', 'leaf2'\n" in text


def test_a_long_list_of_failures_is_cut():
    text = report(*(leaf(f"leaf{i:02}") for i in range(30))).summary()
    assert "leaf09 (" in text and "leaf10 (" not in text
    assert "and like these: 'leaf10'" in text and "and 15 more" in text


def test_passed_and_raising():
    good = report(leaf(status=Status.PASS))
    assert good and good.passed and good.raise_if_failed() is good
    bad = report(leaf())
    assert not bad
    with pytest.raises(GradientCheckError, match="dense/kernel") as caught:
        bad.raise_if_failed()
    assert caught.value.report is bad
    assert isinstance(caught.value, AssertionError)
    assert not report(leaf(status=Status.SKIPPED)).passed
    assert not report(leaf(status=Status.INCONCLUSIVE)).passed


def test_json_is_strict():
    data = json.loads(report(leaf(analytic=math.nan, step=math.inf)).to_json())
    assert data["passed"] is False and data["status"] == "FAIL"
    assert data["leaves"][0]["analytic"] is None and data["leaves"][0]["step"] is None
    assert data["leaves"][0]["worst_indices"] == [[1, 2]]
    assert data["variants"] == {"eager": "FAIL"}


def test_html_escapes_names():
    html = report(leaf("<script>")).to_html()
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert report(leaf())._repr_html_().startswith("<div")


def test_rich_rendering_shows_every_leaf():
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(report(leaf(), leaf("[b]x[/b]", Status.PASS)))
    text = console.export_text()
    assert "dense/kernel" in text and "[b]x[/b]" in text and "12 evaluations" in text


def test_the_table_fits_into_80_columns():
    small = leaf(analytic=-1.234567e-8, numeric=-1.234567e-8, abs_error=1e-16, tolerance=2.34e-11)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(report(small))
    assert "dense/kernel 3×4   float32 FAIL   -1.235e-08 -1.235e-08 1e-16   2.3e-11" in (
        console.export_text()
    )
