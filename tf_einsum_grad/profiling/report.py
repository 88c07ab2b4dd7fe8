"""A profile as users get it: text, JSON, a page."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tf_einsum_grad.benchmark.decoding import decode
from tf_einsum_grad.profiling.page import body, scoped_style, to_html
from tf_einsum_grad.profiling.result import Results
from tf_einsum_grad.profiling.tables import to_text
from tf_einsum_grad.text.files import write_whole

__all__ = ["Profile"]

_SCHEMA = 1


class Profile(Results):
    """The einsums of a model and what they cost: `print` it, or show it in a notebook."""

    __slots__ = ()

    def to_json(self, path: str | Path | None = None) -> str:
        """Returns JSON, which `from_json` reads; also writes it to `path` if given."""
        return _write(json.dumps({"schema": _SCHEMA, **dataclasses.asdict(self)}, indent=1), path)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is no profile, or one of another version of the package.
        """
        try:
            data = json.loads(text)
            if data["schema"] != _SCHEMA:
                raise ValueError(f"requires a profile of schema {_SCHEMA}, got {data['schema']}")
            profile: Profile = decode(cls, data)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a profile ({error!r})") from error
        return profile

    def to_html(self, path: str | Path | None = None) -> str:
        """Returns one self-contained page with bars; also writes it to `path` if given."""
        return _write(to_html(self), path)

    def to_text(self, width: int = 100) -> str:
        """Returns it as text, in lines of at most `width` characters."""
        return to_text(self, width)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return scoped_style() + body(self)


def _write(text: str, path: str | Path | None) -> str:
    if path is not None:
        write_whole(path, text)
    return text
