"""What the tensors of an einsum are called, in words and in pictures; and its labels."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from tf_einsum_grad.algebra.names import NamedText

__all__ = ["intermediate_name", "name_labels", "operand_name", "tensor_names"]

_Found = TypeVar("_Found")


def name_labels(text: str, found: _Found) -> _Found:
    """Puts the caller's names into whatever was found, where sublists gave some to labels."""
    return _rename(text, found) if isinstance(text, NamedText) else found


def _rename(text: NamedText, found: Any) -> Any:
    if isinstance(found, str):
        return text.show(found)
    if isinstance(found, tuple):
        return tuple(_rename(text, part) for part in found)
    if is_dataclass(found) and not isinstance(found, type):
        parts = {part.name: getattr(found, part.name) for part in fields(found)}
        return replace(found, **{name: _rename(text, part) for name, part in parts.items()})
    return found


def operand_name(k: int) -> str:
    """Names operand `k`: A, B, C, ... and, after W, A23, A24, ...; Y is the output."""
    return chr(ord("A") + k) if k < 23 else f"A{k}"


def intermediate_name(position: int) -> str:
    """Names the result of a step that is not the last: Z1, Z2, ..."""
    return f"Z{position + 1}"


def tensor_names(n: int) -> list[str]:
    """Names `n` operands and the output."""
    return [*map(operand_name, range(n)), "Y"]
