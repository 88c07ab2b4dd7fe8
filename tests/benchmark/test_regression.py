import dataclasses

from tf_einsum_grad.benchmark.regression import confirm_regressions, find_regressions
from tf_einsum_grad.benchmark.statistics import Ratio


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
