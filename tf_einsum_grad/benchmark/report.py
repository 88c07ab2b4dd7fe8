"""A report: what was measured, to and from JSON, and shown as Markdown, a page and a chart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tf_einsum_grad.benchmark import charts, page, tables
from tf_einsum_grad.benchmark.decoding import read_json, write_json
from tf_einsum_grad.benchmark.results import Results
from tf_einsum_grad.text.files import written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Report"]

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Report(Results):
    """What `compare` and `run_suite` return.

    Example:
        >>> from tf_einsum_grad.benchmark import compare
        >>> report = compare("ij,jk->ik", (4, 4), (4, 4), modes=["graph"], memory=False, quick=True)
        >>> Report.from_json(report.to_json()) == report
        True
    """

    def to_json(self, path: str | Path | None = None) -> str:
        """Returns JSON, which `from_json` reads; also writes it to `path` if given."""
        return written(write_json(self, _SCHEMA), path)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is no report, or one of another version of the package.
        """
        report: Report = read_json(cls, text, _SCHEMA, "a report of this benchmark")
        return report

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Returns a Markdown table; also writes it to `path` if given."""
        return written(tables.to_markdown(self), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Returns one self-contained page with charts; also writes it to `path` if given."""
        return written(page.to_html(self), path)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Returns a Matplotlib figure; also saves it to `path` (.png, .svg, .pdf) if given.

        Raises:
            ImportError: Matplotlib is missing; it comes with the extra `plot`.
            ValueError: `path` is no kind of picture, or the report has nothing to show.
        """
        return charts.plot(self, path)
