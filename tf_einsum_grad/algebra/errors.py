"""The errors that `einsum` raises at its public boundary, before any kernel runs.

All are `EinsumError`, which is a `ValueError`, so code that catches what `tf.einsum` raises goes on
working. Messages have one form: what was called, what it requires, what it got.
"""

from __future__ import annotations

__all__ = [
    "EinsumError",
    "EquationError",
    "MachineError",
    "OperandError",
    "PathError",
    "SizeError",
]


class EinsumError(ValueError):
    """Anything that is wrong with a call of `einsum`; the kinds below say what."""

    # AutoGraph rebuilds an error, with the user's lines in its message, only if its constructor is
    # this very function; what has another becomes a StagingError, which is no ValueError.
    __init__ = Exception.__init__


class EquationError(EinsumError):
    """The equation (or the sublists) cannot be read, or asks for something that has no meaning."""


class OperandError(EinsumError):
    """An operand is missing, is not a dense tensor, or has a dtype that does not fit."""


class SizeError(EinsumError):
    """A rank does not fit its subscripts, or one label has two sizes."""


class PathError(EinsumError):
    """`optimize` is not a contraction path for this equation."""


class MachineError(EinsumError):
    """There is no such machine, or what a file says of one is not to be used here."""
