import dataclasses
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from tf_einsum_grad.benchmark import Report
from tf_einsum_grad.benchmark.regression import confirm_regressions, find_regressions
from tf_einsum_grad.benchmark.report import Curve, Failure, Line, Memory, Peer
from tf_einsum_grad.benchmark.statistics import Ratio
from tf_einsum_grad.benchmark.tables import duration, percent, times


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


def test_reports_are_frozen(report):
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.comparisons = ()
    assert hash(report)


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


def _with_ratio(report, ratio):
    comparisons = tuple(
        dataclasses.replace(
            c,
            measurements=tuple(dataclasses.replace(m, ratio=ratio) for m in c.measurements),
        )
        for c in report.comparisons
    )
    return dataclasses.replace(report, comparisons=comparisons)


def test_regressions_are_found_beyond_the_noise(report):
    old = _with_ratio(report, Ratio(2.0, 1.9, 2.1))
    assert not find_regressions(old, old)
    assert not find_regressions(old, _with_ratio(report, Ratio(1.9, 1.8, 2.0)))
    fell = find_regressions(old, _with_ratio(report, Ratio(1.0, 0.9, 1.1)))
    assert len(fell) == sum(len(c.measurements) for c in report.comparisons)
    assert str(fell[0]) == "tiny_matmul (eager, forward): 1.00x, was 2.00x"


def test_what_is_not_in_both_is_not_compared(report):
    old = _with_ratio(report, Ratio(2.0, 1.9, 2.1))
    old = dataclasses.replace(old, comparisons=old.comparisons[:1])
    fell = find_regressions(old, _with_ratio(report, Ratio(1.0, 0.9, 1.1)))
    assert {r.workload.name for r in fell} == {"tiny_matmul"}


def test_only_what_falls_every_time_is_a_regression(report):
    old = _with_ratio(report, Ratio(2.0, 1.9, 2.1))
    slow = _with_ratio(report, Ratio(1.0, 0.9, 1.1))
    found = find_regressions(old, slow)
    first, *_ = {r.workload for r in found}
    only_first = dataclasses.replace(
        slow,
        comparisons=tuple(
            c if c.workload == first else o
            for c, o in zip(slow.comparisons, old.comparisons, strict=True)
        ),
    )
    asked, reports = [], [slow, only_first]

    def measure(workloads):
        asked.append(workloads)
        return reports[len(asked) - 1]

    confirmed = confirm_regressions(found, old, measure)
    assert {r.workload for r in confirmed} == {first}
    assert [len(workloads) for workloads in asked] == [len(slow.comparisons)] * 2
    assert not confirm_regressions(found, old, lambda workloads: old)
    broken = dataclasses.replace(slow, comparisons=())
    assert confirm_regressions(found, old, lambda workloads: broken) == found


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0012345, "1.23 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (0.0009996, "1.00 ms"),
        (0.09996, "100 ms"),
        (12.34, "12.3 s"),
        (1.2e-6, "1.20 us"),
        (float("nan"), "-"),
        (-2e-6, "-2.00 us"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_numbers():
    assert [times(x) for x in (0.957, 9.96, 153.2)] == ["0.96x", "10.0x", "153x"]
    assert percent(0.894) == "89%"
