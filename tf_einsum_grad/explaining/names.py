"""What the tensors of an einsum are called, in words and in pictures."""

from __future__ import annotations

__all__ = ["intermediate_name", "operand_name", "tensor_names"]


def operand_name(k: int) -> str:
    """Names operand `k`: A, B, C, ... and, after W, A23, A24, ...; Y is the output."""
    return chr(ord("A") + k) if k < 23 else f"A{k}"


def intermediate_name(position: int) -> str:
    """Names the result of a step that is not the last: Z1, Z2, ..."""
    return f"Z{position + 1}"


def tensor_names(n: int) -> list[str]:
    """Names `n` operands and the output."""
    return [*map(operand_name, range(n)), "Y"]
