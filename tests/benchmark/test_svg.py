import dataclasses
import itertools
import re

from tf_einsum_grad.benchmark.results import Curve, Line
from tf_einsum_grad.benchmark.svg import legend, line_chart, suite_chart


def test_a_line_goes_from_corner_to_corner():
    curve = Curve("t", "n", (Line("native", ((1, 1e-3), (10, 1e-2), (100, 1e-1))),))
    chart = line_chart(curve)
    assert 'points="70.0,250.0 215.0,140.0 360.0,30.0"' in chart
    assert "stroke-dasharray" in chart, "native is dashed"
    ticks = re.findall(r'class="label"[^>]*>([^<]*)<', chart)
    assert ticks == ["1 ms", "10 ms", "100 ms"]
    assert "native, 10: 10.0 ms" in chart


def test_names_of_lines_that_end_together_do_not_overlap():
    points = ((1, 1e-3), (2, 2e-3))
    chart = line_chart(Curve("t", "n", (Line("a", points), Line("b", points), Line("c", points))))
    places = [float(y) for y in re.findall(r'<text x="370.0" y="([^"]*)"', chart)]
    assert [b - a for a, b in itertools.pairwise(places)] == [14.0, 14.0]


def test_of_one_size_there_is_no_chart():
    assert line_chart(Curve("t", "n", (Line("a", ((1, 1e-3),)),))) == ""


def test_every_mode_has_its_marker(report):
    chart = suite_chart(report)
    rows = len(report.comparisons)
    for mode, shape in (("eager", "polygon"), ("xla", "polygon"), ("native", "circle")):
        assert chart.count(f'<{shape} class="{mode}"') == rows
    assert chart.count('<circle class="graph"') == 2 * rows, "its ratio, and its share of the limit"
    assert suite_chart(dataclasses.replace(report, comparisons=())) == ""
    assert re.findall(r">(eager|graph|XLA)</span>", legend(report)) == ["eager", "graph", "XLA"]
