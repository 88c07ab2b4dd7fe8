"""Data classes to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

__all__ = ["decode", "read_json", "write_json"]


def write_json(value: Any, schema: int) -> str:
    """A data class as JSON, with the version of its form."""
    return json.dumps({"schema": schema, **dataclasses.asdict(value)}, indent=1) + "\n"


def read_json(kind: Any, text: str, schema: int, what: str) -> Any:
    """Reads what `write_json` wrote.

    Args:
        kind: the data class.
        text: the JSON.
        schema: the version that it has to have.
        what: names it in the error: "a report of this benchmark".

    Raises:
        ValueError: it is something else, or of another version.
    """
    try:
        data = json.loads(text)
        if data["schema"] != schema:
            raise ValueError(f"requires {what} in schema {schema}, got {data['schema']}")
        return decode(kind, data)
    except (KeyError, TypeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not {what} ({error!r})") from error


def decode(kind: Any, data: Any) -> Any:
    """Rebuilds a (nested) data class, or a tuple of them.

    Args:
        kind: its type.
        data: what `json.loads` gives for it.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(
            **{f.name: decode(hints[f.name], data[f.name]) for f in dataclasses.fields(kind)}
        )
    if typing.get_origin(kind) is tuple:
        if not isinstance(data, list):
            raise TypeError(f"requires a list, got {type(data).__name__}")
        inner = typing.get_args(kind)
        kinds = [inner[0]] * len(data) if inner[-1] is Ellipsis else inner
        return tuple(decode(k, x) for k, x in zip(kinds, data, strict=True))
    if typing.get_origin(kind) in (typing.Union, types.UnionType) and data is not None:
        (kind,) = (k for k in typing.get_args(kind) if k is not type(None))
        return decode(kind, data)
    # A whole number may stand for a float; True is a number to Python, and to no report.
    accepted = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}.get(kind)
    if accepted and (type(data) not in accepted):
        raise TypeError(f"requires {kind.__name__}, got {type(data).__name__}")
    return data
