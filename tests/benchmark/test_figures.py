import dataclasses

import pytest

from tf_einsum_grad.benchmark.figures import Row, headline, log_ticks, ratio_rows, ratio_ticks
from tf_einsum_grad.benchmark.statistics import Ratio


def test_rows_stand_by_their_ratio_in_the_main_mode(report):
    first, second = report.comparisons

    def graph_ratio(c, value):
        measurements = tuple(
            dataclasses.replace(m, ratio=Ratio(value, value, value)) if m.mode == "graph" else m
            for m in c.measurements
        )
        return dataclasses.replace(c, measurements=measurements)

    comparisons = (graph_ratio(first, 1.0), graph_ratio(second, 2.0))
    results = dataclasses.replace(report, comparisons=comparisons)
    rows = ratio_rows(results)
    assert [row.name for row in rows] == [second.workload.name, first.workload.name]
    assert dict(rows[0].ratios)["graph"].value == 2.0
    limit = results.limit_seconds(second.workload)
    assert rows[0].ours == pytest.approx(limit / second.find("graph").ours.median)
    assert headline(results).startswith("2 workloads, forward and backward: geometric mean ")
    assert "1.41x in graph mode" in headline(results)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 1.8, (0.5, 1, 2)),
        (1.2, 1.3, (1, 2)),
        (3.0, 60.0, (1, 2, 5, 10, 20, 50, 100)),
        (1e-3, 1e5, (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
    ],
)
def test_ticks_of_ratios_hold_the_noise_and_one(low, high, ticks):
    assert ratio_ticks([Row("", "", (("graph", Ratio(2.0, low, high)),), 1.0, 1.0)]) == ticks


def test_powers_of_ten_hold_the_values():
    assert log_ticks([0.02, 3.0]) == pytest.approx((0.01, 0.1, 1.0, 10.0))
    assert log_ticks([1.0, 1.0]) == pytest.approx((1.0, 10.0))
