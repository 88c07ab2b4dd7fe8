import dataclasses
import re

from tf_einsum_grad.benchmark.statistics import Ratio
from tf_einsum_grad.benchmark.tables import details, headline, notes, short_equation, suite_table
from tf_einsum_grad.text.numbers import duration, times


def test_markdown_is_one_table_and_says_where(full):
    text = full.to_markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert text.startswith("# ") and f"{headline(full)}." in text.splitlines()
    assert "| tiny_matmul | `ij,jk->ik` | 4×5, 5×3 |" in table[2] and "geometric mean" in table[-1]
    for name in table[0].strip("| ").split(" | "):
        assert re.search(rf"^\* \*\*.*\b{name}\b.*\*\*: ", text, re.MULTILINE), (
            f"{name} is explained"
        )
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
        "Times as fast, the geometric mean of 2 einsums, forward and backward: 2.00x in eager "
        "mode, 2.00x in tf.function, 2.00x under XLA"
    )
    alone = dataclasses.replace(results, comparisons=comparisons[:1])
    assert headline(alone) == "ij,jk->ik, float32"


def test_an_interval_that_says_nothing_is_warned_of(report):
    def ratios(c, ratio):
        return dataclasses.replace(
            c, measurements=tuple(dataclasses.replace(m, ratio=ratio) for m in c.measurements)
        )

    narrow = [ratios(c, Ratio(1.0, 0.9, 1.1)) for c in report.comparisons]
    assert "noisy" not in "".join(notes(dataclasses.replace(report, comparisons=tuple(narrow))))
    wide = (ratios(narrow[0], Ratio(1.0, 0.5, 2.0)), *narrow[1:])
    (line,) = [n for n in notes(dataclasses.replace(report, comparisons=wide)) if "noisy" in n]
    assert "tiny_matmul (eager mode, 0.50 to 2.00)" in line and "tiny_attention" not in line
    every = tuple(ratios(c, Ratio(1.0, 0.5, 2.0)) for c in narrow)
    assert "and 3 more. A quiet machine" in "".join(
        notes(dataclasses.replace(report, comparisons=every))
    )


def test_long_equations_are_short():
    chain = ",".join(a + b for a, b in zip("abcdefghijklmnop", "bcdefghijklmnopq", strict=True))
    assert short_equation(f"{chain}->aq") == "ab,bc,[12 more],op,pq->aq"
    assert short_equation("abcdefghijk,abcdefghijklm->abcdefghijklm").startswith("abcdefghijk,")
