"""Data classes from what JSON made of them."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

__all__ = ["decode"]


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
        inner = typing.get_args(kind)
        kinds = [inner[0]] * len(data) if inner[-1] is Ellipsis else inner
        return tuple(decode(k, x) for k, x in zip(kinds, data, strict=True))
    if typing.get_origin(kind) in (typing.Union, types.UnionType) and data is not None:
        (kind,) = (k for k in typing.get_args(kind) if k is not type(None))
        return decode(kind, data)
    return data
