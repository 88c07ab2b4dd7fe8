"""A profile as users get it: text, JSON, a page."""

from __future__ import annotations

from pathlib import Path

from tf_einsum_grad.benchmark.decoding import read_json, write_json
from tf_einsum_grad.profiling.page import body, scoped_style, to_html
from tf_einsum_grad.profiling.result import Results
from tf_einsum_grad.profiling.tables import to_text
from tf_einsum_grad.text.files import written

__all__ = ["Profile"]

_SCHEMA = 1


class Profile(Results):
    """The einsums of a model and what they cost: `print` it, or show it in a notebook."""

    __slots__ = ()

    def to_json(self, path: str | Path | None = None) -> str:
        """Returns JSON, which `from_json` reads; also writes it to `path` if given."""
        return written(write_json(self, _SCHEMA), path)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is no profile, or one of another version of the package.
        """
        profile: Profile = read_json(cls, text, _SCHEMA, "a profile")
        return profile

    def to_html(self, path: str | Path | None = None) -> str:
        """Returns one self-contained page with bars; also writes it to `path` if given."""
        return written(to_html(self), path)

    def to_text(self, width: int = 100) -> str:
        """Returns it as text, in lines of at most `width` characters."""
        return to_text(self, width)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return scoped_style() + body(self)
