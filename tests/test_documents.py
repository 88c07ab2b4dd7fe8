"""What people read is so: the examples of every page run, and figures are those that were measured."""

import contextlib
import io
import runpy
from pathlib import Path

import pytest
import tensorflow as tf
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import tf_einsum_grad as teg
from tf_einsum_grad.benchmark import Report

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SYBIL = Sybil([PythonCodeBlockParser(), SkipParser()])
QUESTION = ("ijkm,ijkn->imn", (100, 28, 28, 512), (100, 28, 28, 512))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tf.keras.utils.set_random_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
        for example in SYBIL.parse(page).examples():
            example.evaluate()


def test_examples_that_fail_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\n>>> 1 + 1\n3\n```\n")
    with pytest.raises(Exception, match="Expected"):
        for example in SYBIL.parse(page).examples():
            example.evaluate()


def test_examples_are_many():
    n = sum(len(list(SYBIL.parse(page).examples())) for page in PAGES)
    assert n > 25


def test_what_explain_says_is_what_it_says():
    text = str(teg.explain(*QUESTION, machine="cpu"))
    assert f"```text\n{text}\n```" in (ROOT / "docs/explain.md").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    first = text[text.index("  dL/dA = ") : text.index("  dL/dB = ")].rstrip()
    assert first in readme


def test_the_answer_in_a_page_has_the_calls_that_run():
    page = (ROOT / "docs/index.md").read_text("utf-8")
    for gradient in teg.explain(*QUESTION).gradients:
        assert f"`{gradient.native.call}`, which permutes" in page
        assert f"`{gradient.work[0].call}` |" in page


def test_results_are_those_that_were_measured():
    """docs/benchmark.md is what the report in docs/benchmark.json says."""
    report = Report.from_json((ROOT / "docs/benchmark.json").read_text("utf-8"))
    assert report.to_markdown() == (ROOT / "docs/benchmark.md").read_text("utf-8")


def test_the_answers_picture_is_drawn_from_the_rule():
    pictures = runpy.run_path(str(ROOT / "ci/pictures.py"))
    file = io.BytesIO()
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "answer"}):
        pictures["answer"]().savefig(file, format="svg", metadata={"Date": None}, facecolor="white")
    title = "ijkm,ijkn-&gt;imn   to   imn,ijkn-&gt;ijkm"
    assert title in file.getvalue().decode() and title in (
        pictures["PICTURES"] / "answer.svg"
    ).read_text("utf-8")
