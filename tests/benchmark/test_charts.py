import dataclasses
import sys

import pytest


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
