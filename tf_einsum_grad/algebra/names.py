"""NumPy's other calling form, operands each followed by a sublist of labels; labels with names.

A label is one letter everywhere in this package. Where the caller has names for labels, each stands
for a letter that nobody writes an equation in, so that what is said of an equation (in errors, in
what `explain` finds) can have the names put back, wherever it was written.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Number
from typing import Any, SupportsIndex

from tf_einsum_grad.algebra.equation import ELLIPSIS, parse_equation
from tf_einsum_grad.algebra.errors import EinsumError, EquationError, SizeError

__all__ = ["NamedText", "naming", "read_call", "read_names", "show_names", "sublists_to_text"]

# Ideographs of Unicode's Extension B, 42,720 letters; and subscripts that have one, beside labels
# that an ellipsis was expanded to.
_FIRST = 0x20000
_SUBSCRIPTS = re.compile(r"[^\W\d_]*[\U00020000-\U0002a6df][^\W\d_]*")


class NamedText(str):
    """The text of an equation whose labels have names; shows itself with them.

    Attributes:
        names: of the labels, the first of which is `chr(0x20000)`.

    Example:
        >>> sublists_to_text([["batch", "key"], ["key"]], ["batch"])
        'batch key,key->batch'
    """

    names: tuple[Hashable, ...]

    def __new__(cls, text: str, names: tuple[Hashable, ...]) -> NamedText:
        """Makes one of a text in letters from `chr(0x20000)` on."""
        self = super().__new__(cls, text)
        self.names = names
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str.__str__(self), self.names

    def show(self, text: str) -> str:
        """Puts names in the place of labels, with spaces between those of one tensor."""
        return _SUBSCRIPTS.sub(lambda labels: " ".join(map(self._name, labels[0])), text)

    def _name(self, label: str) -> str:
        return label if ord(label) < _FIRST else str(self.names[ord(label) - _FIRST])

    def __str__(self) -> str:
        return self.show(str.__str__(self))

    def __repr__(self) -> str:
        return repr(str(self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    # Caches hold messages, so texts with other names are other texts.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedText) and (
            str.__eq__(self, other) and self.names == other.names
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)


def show_names(text: str, message: str) -> str:
    """What is said of an equation, with the names that its caller gave to labels."""
    return text.show(message) if isinstance(text, NamedText) else message


@contextmanager
def naming(text: str) -> Iterator[None]:
    """Puts the caller's names into the messages of errors."""
    try:
        yield
    except EinsumError as error:
        error.args = (show_names(text, str(error)),)
        raise


def read_names(text: str, option: str, sizes: Any) -> Any:
    """`sizes`, `size_hints` and the like with labels as keys, in the place of the caller's names.

    Raises:
        SizeError: a key is none of the equation's names.
    """
    if not isinstance(text, NamedText) or not isinstance(sizes, Mapping):
        return sizes
    labels = {name: chr(_FIRST + k) for k, name in enumerate(text.names)}
    labels |= {Ellipsis: ELLIPSIS, ELLIPSIS: ELLIPSIS}
    for name in sizes:
        if name not in labels:
            raise SizeError(f"einsum {text!r} requires {option} of its own labels, got {name!r}")
    return {labels[name]: size for name, size in sizes.items()}


def read_call(equation: Any, operands: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """Tells NumPy's two calling forms apart: `(text, a, b)` and `(a, [0, 1], b, [1, 2], [0, 2])`.

    Raises:
        EquationError: neither.
    """
    if isinstance(equation, str):
        return equation, tuple(operands)
    arguments = (equation, *operands)
    if equation is None or isinstance(equation, bytes) or len(arguments) < 2:
        raise EquationError(
            "einsum requires an equation of type str, such as 'ij,jk->ik', or operands each "
            f"followed by a sublist; got {type(equation).__name__} as its first argument"
        )
    output = arguments[-1] if len(arguments) % 2 else None
    pairs = arguments[: len(arguments) // 2 * 2]
    return sublists_to_text(pairs[1::2], output), pairs[::2]


def sublists_to_text(sublists: Sequence[Any], output: Any) -> NamedText:
    """The equation that sublists mean: `["i", "j"], ["j"]` or `[0, 1], [1]`.

    Labels are integers from 0 on, as in NumPy, or anything else that is hashable and no number;
    `...` (the object `Ellipsis`) is allowed among them. Without an output it is every label that
    appears once, sorted, after the ellipsis if there is one.

    Raises:
        EquationError: a sublist is not a sequence, an entry cannot be a label, or labels that
            cannot be sorted need an output.
    """
    named = [(f"operand {k}", sublist) for k, sublist in enumerate(sublists)]
    if output is not None:
        named.append(("the output", output))
    for where, sublist in named:
        if isinstance(sublist, str) or not isinstance(sublist, Sequence):
            raise EquationError(
                f"einsum with sublists requires a list of labels for {where}, got "
                f"{type(sublist).__name__}"
            )
    rows = [[_read_label(entry, where) for entry in sublist] for where, sublist in named]
    names = list(dict.fromkeys([name for row in rows for name in row if name is not Ellipsis]))
    try:
        names = sorted(names)  # type: ignore[type-var]
    except TypeError as error:
        if output is None:
            raise EquationError(
                "einsum with sublists requires an output for labels that cannot be sorted, got "
                f"{', '.join(map(repr, names))}"
            ) from error
    letters: dict[Hashable, str] = {name: chr(_FIRST + k) for k, name in enumerate(names)}
    letters[Ellipsis] = ELLIPSIS
    texts = ["".join([letters[name] for name in row]) for row in rows]
    left = ",".join(texts[: len(sublists)])
    text = NamedText(left if output is None else f"{left}->{texts[-1]}", tuple(names))
    with naming(text):
        parse_equation(text)
    return text


def _read_label(entry: Any, where: str) -> Hashable:
    """An entry of a sublist: a number as an integer, anything else as it is."""
    if isinstance(entry, SupportsIndex) and not isinstance(entry, bool | str):
        label = operator.index(entry)
        if label >= 0:
            return label
    elif _is_hashable(entry) and not isinstance(entry, Number) and entry not in (None, ELLIPSIS):
        name: Hashable = entry
        return name
    raise EquationError(
        "einsum with sublists requires labels that are integers from 0 on, or names (anything else "
        f"that is hashable and no number), or the object '...'; got {entry!r} for {where}"
    )


def _is_hashable(entry: Any) -> bool:
    try:
        hash(entry)
    except TypeError:
        return False
    return True
