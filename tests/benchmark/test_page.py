import dataclasses
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest


def test_html_is_self_contained_and_well_formed(full, tmp_path):
    text = full.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == text
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"<script|<link|<img|https?://|url\((?!#)|@import", without_namespaces)
    assert text.count("<tr class='mean'><td>geometric mean</td>") == 1
    assert "chain &lt;&amp;&gt;" in text and "the &lt;result&gt; differs" in text


def test_html_has_a_chart_of_the_suite_and_of_each_curve(full):
    pytest.importorskip("matplotlib")
    text = full.to_html()
    suite, *curves = re.findall(r"<svg.*?</svg>", text, re.S)
    assert "tiny_attention" in suite and len(curves) == len(full.curves) == 1
    assert "ours, forward" in curves[0]
    for chart in (suite, *curves):
        ElementTree.fromstring(chart)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids)), "no chart refers to a part of another one"
    assert text == full.to_html(), "the same report is the same page"


def test_without_matplotlib_the_extra_is_named(full, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"tf-einsum-grad\[plot\]"):
        full.plot()
    text = full.to_html()
    assert "<svg" not in text and text.count("tf-einsum-grad[plot]") == 1
    assert "tiny_attention" in text, "the tables need no Matplotlib"


def test_html_of_one_comparison(report):
    alone = dataclasses.replace(report, comparisons=report.comparisons[:1])
    assert "<details open>" in alone.to_html()
