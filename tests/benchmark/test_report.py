import dataclasses
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from tf_einsum_grad.benchmark import Report
from tf_einsum_grad.benchmark.results import Curve, Failure, Line, Memory, Peer


@pytest.fixture
def full(report):
    """A report with everything that one can hold."""
    first, *rest = report.comparisons
    timing = first.measurements[0].ours
    first = dataclasses.replace(
        first,
        memory=(Memory("graph", 3 << 20, 6 << 20, 2 << 20),),
        peers=(Peer("torch", timing, timing), Peer("jax", timing, timing)),
    )
    points = ((2, 1e-3), (4, 2e-3), (64, 1e-1))
    curves = (Curve("chain <&>", "operands", (Line("ours, forward", points), Line("b", points))),)
    failures = (Failure("bad", "the <result> differs"),)
    return dataclasses.replace(report, comparisons=(first, *rest), curves=curves, failures=failures)


def test_json_round_trip(full, tmp_path):
    path = tmp_path / "report.json"
    text = full.to_json(path)
    assert path.read_text() == text
    assert Report.from_json(text) == full
    assert json.loads(text)["comparisons"][0]["workload"]["equation"] == "ij,jk->ik"


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"schema": 999}', '{"schema": 1}'])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(ValueError, match=r"report|schema"):
        Report.from_json(text)


def test_markdown_is_one_table_and_says_where(full):
    text = full.to_markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "tiny_matmul" in table[2] and "geometric mean" in table[-1]
    assert "50%" in table[2], "memory as a share of native's"
    for needed in ("GFLOP/s", "tensorflow 2.", "FAILED bad", "threads"):
        assert needed in text


def test_html_is_self_contained_and_well_formed(full, tmp_path):
    text = full.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == text
    assert not re.search(r"<script|<link|<img|https?://|url\(|@import", text)
    assert "chain &lt;&amp;&gt;" in text and "the &lt;result&gt; differs" in text
    charts = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(charts) >= 3
    for chart in charts:
        ElementTree.fromstring(chart)


def test_html_of_one_comparison(report):
    alone = dataclasses.replace(report, comparisons=report.comparisons[:1])
    assert "<details open>" in alone.to_html()


def test_plot_is_saved(report, tmp_path):
    pytest.importorskip("matplotlib")
    figure = report.plot(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == 2
    with pytest.raises(ValueError, match=r"\.png"):
        report.plot(tmp_path / "chart.doc")
    with pytest.raises(ValueError, match="requires forward and backward together"):
        dataclasses.replace(report, comparisons=()).plot()


def test_without_matplotlib_the_extra_is_named(report, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"tf-einsum-grad\[plot\]"):
        report.plot()
    assert report.to_html(), "the page needs no Matplotlib"
