import dataclasses
import re
import xml.etree.ElementTree as ElementTree


def test_html_is_self_contained_and_well_formed(full, tmp_path):
    text = full.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == text
    assert not re.search(r"<script|<link|<img|https?://|url\(|@import", text)
    assert text.count("<tr class='mean'><td>geometric mean</td>") == 1
    assert "chain &lt;&amp;&gt;" in text and "the &lt;result&gt; differs" in text
    charts = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(charts) >= 3
    for chart in charts:
        ElementTree.fromstring(chart)


def test_html_of_one_comparison(report):
    alone = dataclasses.replace(report, comparisons=report.comparisons[:1])
    assert "<details open>" in alone.to_html()
