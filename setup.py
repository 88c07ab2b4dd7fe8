"""The build lives in pyproject.toml; here stands what it cannot say.

A package index shows the README, but not the files that it links to, so links become addresses in
the repository, as the version that is built has them.
"""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def find(pattern: str, file: str) -> str:
    """Finds what a file says about the package."""
    match = re.search(pattern, (HERE / file).read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise SystemExit(f"{file} has nothing like {pattern}")
    return match[1]


def readme() -> str:
    """Reads the README, and writes its links out."""
    repository = find(r'^Repository = "(.*)"$', "pyproject.toml")
    version = find(r'^__version__ = "(.*)"$', "tf_einsum_grad/_version.py")

    def absolute(link: re.Match[str]) -> str:
        view = "raw" if link[1].startswith("!") else "blob"
        return f"{link[1]}({repository}/{view}/v{version}/{link[2]})"

    text = (HERE / "README.md").read_text("utf-8")
    return re.sub(r"(!?\[[^\]]*\])\((?!https?:|#)([^)]+)\)", absolute, text)


setup(long_description=readme(), long_description_content_type="text/markdown")
