"""Einsum equations as data, and the one line that the package is about: `Equation.transpose`.

A label is one letter; subscripts are a string of labels; an equation is the subscripts of each
operand and of the output. Internally there are no special cases: an output label that no input has
means a broadcast (`i->ij`), and a repeated output label means a diagonal (`i->ii`). With those two
allowed, equations are closed under transposition, so every gradient is again an equation.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tf_einsum_grad.algebra.errors import EquationError, SizeError

__all__ = [
    "ELLIPSIS",
    "Equation",
    "canonical",
    "expand_ellipses",
    "fresh_labels",
    "gradient_equations",
    "parse_call",
    "parse_equation",
]

ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Equation:
    """An explicit einsum equation: the subscripts of every operand, and those of the output.

    Subscripts may hold one `...` as long as ranks are unknown; `expand_ellipses` replaces it.

    Example:
        >>> str(Equation(("ij", "jk"), "ik").transpose(0))
        'ik,jk->ij'
    """

    inputs: tuple[str, ...]
    output: str

    def __str__(self) -> str:
        return f"{','.join(self.inputs)}->{self.output}"

    def transpose(self, k: int) -> Equation:
        """The transpose of the map from operand `k` to the output, the others held fixed.

        einsum is multilinear: with all operands but `A` fixed it is `y[o] = sum_s A[a] B[b]`, where
        the sum runs over the labels that are not in `o`. The chain rule's `dL/dA[a]` is then
        `sum dL/dy[o] B[b]` over the labels that are not in `a`: the same einsum, with `a` and `o`
        in each other's places and the incoming gradient in the slot of `A`.
        """
        return Equation((*self.inputs[:k], self.output, *self.inputs[k + 1 :]), self.inputs[k])

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label once, in the order of first appearance; ellipses are not labels."""
        return tuple(dict.fromkeys("".join((*self.inputs, self.output)).replace(ELLIPSIS, "")))

    @property
    def has_ellipsis(self) -> bool:
        """Whether any subscripts still hold `...`."""
        return any(ELLIPSIS in subscripts for subscripts in (*self.inputs, self.output))


def parse_equation(text: str) -> Equation:
    """Reads an equation as `np.einsum` does, and more.

    White space of any kind is ignored but within `...` and `->`, labels are any Unicode letters.
    Without `->` the output is every label that appears once, sorted, after the ellipsis if there is
    one.

    Raises:
        EquationError: what is wrong, and where.

    Example:
        >>> str(parse_equation("...ij, ...jk"))
        '...ij,...jk->...ik'
    """
    if not isinstance(text, str):
        raise EquationError(
            "einsum requires an equation of type str, such as 'ij,jk->ik', or sublists; got "
            f"{type(text).__name__}"
        )
    return _parse(text)


def parse_call(text: str, n_operands: int) -> Equation:
    """Reads the equation of a call with so many operands.

    Raises:
        EquationError: it cannot be read, or is for another number of operands.
    """
    parsed = parse_equation(text)
    n = len(parsed.inputs)
    if n != n_operands:
        raise EquationError(
            f"einsum {text!r} requires {n} operand{'s' * (n != 1)}, got {n_operands}"
        )
    return parsed


@lru_cache(maxsize=4096)
def _parse(text: str) -> Equation:
    left, *right = _split(_TOKENS.findall(text), "->")
    if len(right) > 1:
        raise EquationError(f"einsum equation {text!r} requires at most one '->', got several")
    terms = _split(left, ",")
    inputs = tuple(_subscripts(text, tokens, f"operand {k}") for k, tokens in enumerate(terms))
    if not right:
        return Equation(inputs, _implicit_output(inputs))
    if "," in right[0]:
        raise EquationError(
            f"einsum equation {text!r} requires one output, got {''.join(right[0])!r}"
        )
    return Equation(inputs, _subscripts(text, right[0], "the output"))


_TOKENS = re.compile(r"\.\.\.|->|\S")
_HINTS = {
    ".": "; an ellipsis is three dots, side by side",
    "-": "; an arrow is '->', side by side",
}


def _split(tokens: list[str], separator: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _subscripts(text: str, tokens: list[str], where: str) -> str:
    subscripts = "".join(tokens)
    if tokens.count(ELLIPSIS) > 1:
        raise EquationError(
            f"einsum equation {text!r} requires at most one '...' in {where}, got {subscripts!r}"
        )
    for token in tokens:
        if token != ELLIPSIS and not token.isalpha():
            raise EquationError(
                f"einsum equation {text!r} requires labels that are letters, got {token!r} in "
                f"{where} ({subscripts!r}){_HINTS.get(token, '')}"
            )
    return subscripts


def _implicit_output(inputs: Sequence[str]) -> str:
    ellipsis = ELLIPSIS if any(ELLIPSIS in subscripts for subscripts in inputs) else ""
    labels = "".join(inputs).replace(ELLIPSIS, "")
    return ellipsis + "".join(sorted(label for label in labels if labels.count(label) == 1))


def fresh_labels(used: str) -> Iterator[str]:
    """Letters that `used` does not hold: ASCII first, then any Unicode letter."""
    every = itertools.chain(
        string.ascii_letters, (c for c in map(chr, range(192, 0xD800)) if c.isalpha())
    )
    taken = frozenset(used)
    return (label for label in every if label not in taken)


@lru_cache(maxsize=4096)
def canonical(equation: Equation) -> Equation:
    """The same equation with labels named in order of first appearance.

    Example:
        >>> str(canonical(Equation(("ik", "jk"), "ij")))
        'ab,cb->ac'
    """
    table = str.maketrans(dict(zip(equation.labels, fresh_labels(""), strict=False)))
    return Equation(
        tuple(subscripts.translate(table) for subscripts in equation.inputs),
        equation.output.translate(table),
    )


@lru_cache(maxsize=4096)
def expand_ellipses(
    equation: Equation, ranks: tuple[int, ...], output_ellipsis_rank: int | None = None
) -> Equation:
    """Replaces every `...` by labels, aligned on the right as NumPy broadcasts.

    Args:
        equation: an explicit equation.
        ranks: the rank of each operand.
        output_ellipsis_rank: how many dimensions the output's `...` stands for where no operand
            has one (`i->...i`); none by default, as in NumPy.

    Raises:
        SizeError: a rank does not fit its subscripts.

    Example:
        >>> str(expand_ellipses(parse_equation("...k,kn->...n"), (3, 2)))
        'abk,kn->abn'
    """
    spare = []
    for k, (subscripts, rank) in enumerate(zip(equation.inputs, ranks, strict=True)):
        n_labels = len(subscripts.replace(ELLIPSIS, ""))
        ellipsis = ELLIPSIS in subscripts
        if rank < n_labels or (rank > n_labels and not ellipsis):
            raise SizeError(
                f"einsum {str(equation)!r} requires rank {n_labels}{' or more' * ellipsis} for "
                f"operand {k} ({subscripts!r}), got rank {rank}"
            )
        if ellipsis:
            spare.append(rank - n_labels)
    width = max(spare, default=output_ellipsis_rank or 0)
    if output_ellipsis_rank is not None and output_ellipsis_rank < width:
        raise SizeError(
            f"einsum {str(equation)!r} requires a size for each of the {width} dimensions of '...',"
            f" got {output_ellipsis_rank}"
        )
    width = max(width, output_ellipsis_rank or 0)
    used = "".join((*equation.inputs, equation.output))
    names = "".join(itertools.islice(fresh_labels(used), width))

    def expand(subscripts: str, rank: int | None) -> str:
        if ELLIPSIS not in subscripts:
            return subscripts
        n = width if rank is None else rank - len(subscripts) + len(ELLIPSIS)
        return subscripts.replace(ELLIPSIS, names[width - n :])

    return Equation(
        tuple(expand(s, rank) for s, rank in zip(equation.inputs, ranks, strict=True)),
        expand(equation.output, None),
    )


def gradient_equations(equation: str) -> tuple[str, ...]:
    """The gradient of an einsum with respect to each operand, as einsum equations.

    In equation `k` the incoming gradient stands in the slot of operand `k`; the other slots hold
    the other operands (conjugated, where they are complex). `einsum` runs each of them; where an
    output label appears in no input, its size goes into `sizes`.

    Args:
        equation: any equation that `einsum` takes.

    Returns:
        One equation for each operand, in their order.

    Raises:
        EquationError: the equation cannot be read.

    Example:
        >>> gradient_equations("ijkm,ijkn->imn")
        ('imn,ijkn->ijkm', 'ijkm,imn->ijkn')
        >>> gradient_equations("ii->i"), gradient_equations("ij->i")
        (('i->ii',), ('i->ij',))
    """
    parsed = parse_equation(equation)
    return tuple(str(parsed.transpose(k)) for k in range(len(parsed.inputs)))
