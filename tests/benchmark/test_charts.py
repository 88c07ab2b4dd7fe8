import dataclasses

import pytest

from tf_einsum_grad.benchmark.charts import _by_ratio, _decades, _ratio_ticks, curve_svg, suite_svg
from tf_einsum_grad.benchmark.results import Curve, Line
from tf_einsum_grad.benchmark.statistics import Ratio

pytest.importorskip("matplotlib")


def test_plot_is_saved(report, tmp_path):
    figure = report.plot(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == 2
    with pytest.raises(ValueError, match=r"\.png"):
        report.plot(tmp_path / "chart.doc")
    with pytest.raises(ValueError, match="requires forward and backward together"):
        dataclasses.replace(report, comparisons=()).plot()


def test_every_mode_and_workload_is_drawn_and_said(report):
    ratios, limits = report.plot().axes
    rows = len(report.comparisons)
    markers = [line for line, *_ in ratios.containers]
    assert [line.get_marker() for line in markers] == ["^", "o", "D"]
    assert all(len(line.get_xdata()) == rows for line in markers)
    assert [len(points.get_offsets()) for points in limits.collections[1:]] == [rows, rows]
    svg = suite_svg(report)
    for text in ("eager mode", "tf.function", "XLA", "tf.einsum", "tf_einsum_grad"):
        assert f">{text}</text>" in svg, "text is text"
    for c in report.comparisons:
        equation = c.workload.equation.replace(">", "&gt;")
        assert f">{c.workload.name}: {equation}</text>" in svg
    assert svg == suite_svg(report), "a page is the same from the same report"
    assert suite_svg(dataclasses.replace(report, comparisons=())) == ""


def test_rows_stand_by_their_ratio_in_the_main_mode(report):
    first, second = report.comparisons

    def graph_ratio(c, value):
        measurements = tuple(
            dataclasses.replace(m, ratio=Ratio(value, value, value)) if m.mode == "graph" else m
            for m in c.measurements
        )
        return dataclasses.replace(c, measurements=measurements)

    slow, fast = graph_ratio(first, 1.0), graph_ratio(second, 2.0)
    results = dataclasses.replace(report, comparisons=(slow, fast))
    assert _by_ratio(results) == [fast, slow]
    ratios, limits = results.plot().axes
    graph = ratios.containers[1][0]
    assert list(graph.get_xdata()) == [2.0, 1.0]
    ours = limits.collections[2].get_offsets()
    share = results.limit_seconds(fast.workload) / fast.find("graph").ours.median
    assert tuple(ours[0]) == pytest.approx((100 * share, 0))


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
    assert _ratio_ticks([low, high]) == ticks


def test_a_curve_names_its_lines_sizes_and_times():
    points = ((1, 1e-3), (10, 1e-2), (100, 1e-1))
    svg = curve_svg(Curve("a <b>", "n", (Line("native", points), Line("ours", points))))
    for text in ("native", "ours", "1", "10", "100", "1 ms", "10 ms", "100 ms", "n", "a &lt;b&gt;"):
        assert f">{text}</text>" in svg
    assert "stroke-dasharray" in svg, "native is dashed"
    alone = curve_svg(Curve("t", "n", (Line("ours", points),)))
    assert "stroke-dasharray" not in alone


def test_of_one_size_there_is_no_chart():
    assert curve_svg(Curve("t", "n", (Line("a", ((1, 1e-3),)),))) == ""


def test_powers_of_ten_hold_the_values():
    assert _decades([0.02, 3.0]) == pytest.approx((0.01, 0.1, 1.0, 10.0))
    assert _decades([1.0, 1.0]) == pytest.approx((1.0, 10.0))
