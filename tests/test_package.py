"""What is said about the package in several places is the same in all of them."""

import re
import runpy
from pathlib import Path

import pytest

import tf_einsum_grad as teg

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_version_is_the_same_everywhere():
    assert f"version: {teg.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^## (\S+)", CHANGELOG, re.MULTILINE)[1] == teg.__version__
    assert 'attr = "tf_einsum_grad._version.__version__"' in PROJECT


def test_classifiers_name_the_versions_of_python_that_are_allowed():
    low, high = map(int, re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', PROJECT).groups())
    named = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', PROJECT)
    assert [int(minor) for minor in named] == list(range(low, high))
    workflow = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    assert re.findall(r'"3\.(\d+)"', workflow.split("include:")[0]) == named


def test_a_package_index_finds_what_the_readme_links_to(monkeypatch):
    import setuptools

    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path(str(ROOT / "setup.py"))
    links = re.findall(r"\]\(([^)]*)\)", given["long_description"])
    assert links and all(link.startswith(("https://", "#")) for link in links)
    repository = re.search(r'^Repository = "(.*)"$', PROJECT, re.MULTILINE)[1]
    at = f"{repository}/raw/v{teg.__version__}/"
    (picture,) = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", given["long_description"])
    assert picture.startswith(at) and (ROOT / picture.removeprefix(at)).is_file()


@pytest.mark.parametrize(
    "name", ["test", "docs", "package", "release", "notebooks", "demo", "bench"]
)
def test_scripts_can_be_run(name):
    script = ROOT / "ci" / name
    assert script.stat().st_mode & 0o111
    assert script.read_text("utf-8").startswith("#!/usr/bin/env bash\n")
