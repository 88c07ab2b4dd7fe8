import dataclasses

from tf_einsum_grad.benchmark.statistics import Ratio
from tf_einsum_grad.benchmark.tables import details, headline, suite_table
from tf_einsum_grad.text.numbers import duration, times


def test_markdown_is_one_table_and_says_where(full):
    text = full.to_markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "tiny_matmul" in table[2] and "geometric mean" in table[-1]
    assert "50%" in table[2], "memory as a share of native's"
    for needed in ("GFLOP/s", "tensorflow 2.", "FAILED bad", "threads"):
        assert needed in text


def test_one_comparison_is_shown_pass_by_pass(report):
    head, rows = details(report.comparisons[0], report)
    assert head[:3] == ["mode", "pass", "ours"]
    assert [row[:2] for row in rows[:3]] == [
        ["eager", "forward"],
        ["eager", "backward"],
        ["eager", "forward+backward"],
    ]


def test_times_of_the_suite_are_those_of_the_main_mode_and_both_passes(report):
    (c, *_), (_, (row, *_)) = report.comparisons, suite_table(report)
    m = c.find("graph", "both")
    assert row[:3] == [c.workload.name, duration(m.ours.median), duration(m.native.median)]
    assert row[3:6] == [times(c.find(mode).ratio.value) for mode in ("eager", "graph", "xla")]


def test_the_headline_is_the_mean_in_each_mode(report):
    twice = Ratio(2.0, 2.0, 2.0)
    comparisons = tuple(
        dataclasses.replace(
            c, measurements=tuple(dataclasses.replace(m, ratio=twice) for m in c.measurements)
        )
        for c in report.comparisons
    )
    results = dataclasses.replace(report, comparisons=comparisons)
    assert headline(results) == (
        "2 workloads, forward and backward: geometric mean 2.00x in eager mode, 2.00x in graph "
        "mode and 2.00x in XLA mode"
    )
    alone = dataclasses.replace(results, comparisons=comparisons[:1])
    assert headline(alone) == "ij,jk->ik, float32"
