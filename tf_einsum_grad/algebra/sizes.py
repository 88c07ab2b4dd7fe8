"""Binds labels to sizes: known, unknown (None), and dimensions of size 1 that broadcast.

Two rules, both NumPy's. Within one operand a repeated label has one size (`ii` of shape (3, 1) is
an error). Across operands a dimension of size 1 broadcasts against any other size; what is left
must agree. A size-1 dimension that broadcasts carries nothing, so it is dropped: `ij,ij->ij` with
shapes (1, 3) and (2, 3) becomes `j,ij->ij`, and its gradient sums over `i` by itself.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_einsum_grad.algebra.equation import ELLIPSIS, Equation, expand_ellipses, parse_call
from tf_einsum_grad.algebra.errors import SizeError
from tf_einsum_grad.algebra.names import naming, show_names

__all__ = ["Binding", "Shape", "Size", "bind_call", "bind_sizes", "show_shape"]

Size = int | None
Shape = tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One place where a label stands: an axis of an operand."""

    operand: int
    axis: int


@dataclass(frozen=True, slots=True)
class Check:
    """A label whose sizes can only be compared when the tensors are there.

    Within an operand the sizes must be equal; across operands a size of 1 broadcasts.

    Attributes:
        label: of one operand or several.
        size: where the caller gave one, None elsewhere.
        occurrences: where the label stands, but for dimensions that broadcast for certain.
    """

    label: str
    size: Size
    occurrences: tuple[Occurrence, ...]

    @property
    def across(self) -> bool:
        """Whether several operands have the label."""
        return len({place.operand for place in self.occurrences}) > 1


@dataclass(frozen=True, slots=True)
class Binding:
    """An equation with the sizes of its labels.

    Attributes:
        expanded: with ellipses as labels.
        equation: the same without the dimensions that were dropped.
        dropped: for each operand, the axes of size 1 that broadcast.
        sizes: each label of `equation` with its size, None where it is unknown.
        checks: what has to be compared at run time.
    """

    expanded: Equation
    equation: Equation
    dropped: tuple[tuple[int, ...], ...]
    sizes: tuple[tuple[str, Size], ...]
    checks: tuple[Check, ...]

    @property
    def elastic(self) -> str:
        """The labels that may turn out to be 1 in one operand and not in another."""
        return "".join([check.label for check in self.checks if check.across])


def show_shape(shape: Shape) -> str:
    """A shape as Python writes it, "?" for what is unknown."""
    dims = ["?" if size is None else str(size) for size in shape]
    return f"({dims[0]},)" if len(dims) == 1 else f"({', '.join(dims)})"


def bind_call(
    text: str,
    shapes: Sequence[Shape],
    sizes: Mapping[str, Any] | None = None,
    parsed: Equation | None = None,
) -> Binding:
    """Parses an equation, expands its ellipses, and gives every label its size.

    Args:
        text: the equation as the caller wrote it.
        shapes: one for each operand.
        sizes: sizes of output labels that no operand has, None for one that only a tensor knows;
            for the label "..." a tuple of them.
        parsed: what stands for the equation where unknown ranks were given one; else it is parsed.

    Raises:
        EquationError: the equation cannot be read, or has another number of operands.
        SizeError: a rank does not fit its subscripts, or a label has two sizes or none.
    """
    with naming(text):
        parsed = parsed or parse_call(text, len(shapes))
        return _bind(text, shapes, dict(sizes or {}), parsed)


def _bind(text: str, shapes: Sequence[Shape], given: dict[str, Any], parsed: Equation) -> Binding:
    hidden = given.pop(ELLIPSIS, None)
    if hidden is None:
        equation = expand_ellipses(parsed, tuple(map(len, shapes)))
        return bind_sizes(equation, shapes, given, text)
    if ELLIPSIS not in parsed.output:
        raise SizeError(f"einsum {text!r} requires '...' in the output for sizes={{'...': ...}}")
    if not isinstance(hidden, tuple | list):
        raise SizeError(f"einsum {text!r} requires a tuple of sizes for '...', got {hidden!r}")
    equation = expand_ellipses(parsed, tuple(map(len, shapes)), len(hidden))
    labels = equation.output[parsed.output.index(ELLIPSIS) :][: len(hidden)]
    return bind_sizes(equation, shapes, given | dict(zip(labels, hidden, strict=True)), text)


def bind_sizes(
    equation: Equation,
    shapes: Sequence[Shape],
    sizes: Mapping[str, Size] | None = None,
    original: str = "",
) -> Binding:
    """Gives every label its size.

    Args:
        equation: explicit and without ellipses.
        shapes: one for each operand, of the rank of its subscripts.
        sizes: sizes given by the caller; needed for output labels that no input has, where None
            is one that only a tensor knows.
        original: the equation as the caller wrote it, for messages.

    Raises:
        SizeError: a label has two sizes, or none.
    """
    name = _describe(equation, original)
    given = _read_given(name, equation, sizes or {})
    drops: list[set[int]] = [set() for _ in shapes]
    bound: dict[str, Size] = {}
    checks = []
    occurrences: dict[str, list[Occurrence]] = {label: [] for label in equation.labels}
    for k, subscripts in enumerate(equation.inputs):
        for axis, label in enumerate(subscripts):
            occurrences[label].append(Occurrence(k, axis))
    for label, places in occurrences.items():
        bound[label], narrow = _bind_label(name, label, places, shapes, given)
        for place in narrow:
            drops[place.operand].add(place.axis)
        wide = tuple(place for place in places if place not in narrow)
        unknown = any(shapes[p.operand][p.axis] is None for p in wide)
        if unknown and (len(wide) > 1 or label in given):
            checks.append(Check(label, given.get(label), wide))
    inputs = tuple(
        "".join(label for axis, label in enumerate(subscripts) if axis not in drops[k])
        for k, subscripts in enumerate(equation.inputs)
    )
    return Binding(
        equation,
        Equation(inputs, equation.output),
        tuple(tuple(sorted(drop)) for drop in drops),
        tuple(bound.items()),
        tuple(checks),
    )


def _bind_label(
    name: str,
    label: str,
    places: Sequence[Occurrence],
    shapes: Sequence[Shape],
    given: Mapping[str, Size],
) -> tuple[Size, tuple[Occurrence, ...]]:
    """The size of a label, and where it has size 1 and broadcasts to it."""
    if not places and label not in given:
        raise SizeError(
            f"einsum {name} requires sizes={{{label!r}: ...}}, since no operand has the output "
            f"label {label!r}"
        )
    by_operand = {
        k: _size_within(name, label, k, shapes[k], places)
        for k in sorted({place.operand for place in places})
    }
    if places and label in given and given[label] is None:
        raise SizeError(
            f"einsum {name} requires an integer as the size of label {label!r}, since operand "
            f"{places[0].operand} has it too; got a tensor"
        )
    size = _size_across(name, label, by_operand, shapes, given.get(label))
    narrow = [k for k, own in by_operand.items() if own == 1]
    if size == 1 or (len(narrow) == len(by_operand) and label not in given):
        return size, ()
    return size, tuple(place for place in places if place.operand in narrow)


def _describe(equation: Equation, original: str) -> str:
    explicit = show_names(original, str(equation))
    if original and str(original) != explicit:
        return f"{original!r} (that is, {explicit!r})"
    return repr(explicit)


def _read_given(name: str, equation: Equation, given: Mapping[str, Size]) -> dict[str, Size]:
    """Sizes as Python's integers, whatever integers were given."""
    known_labels = equation.labels
    for label, size in given.items():
        if label not in known_labels:
            raise SizeError(f"einsum {name} requires sizes of its own labels, got {label!r}")
        if size is not None and (
            isinstance(size, bool) or not hasattr(size, "__index__") or size < 0
        ):
            raise SizeError(
                f"einsum {name} requires a size that is an integer from 0 on for label {label!r}, "
                f"got {size!r}"
            )
    return {label: None if n is None else operator.index(n) for label, n in given.items()}


def _size_within(name: str, label: str, k: int, shape: Shape, places: Sequence[Occurrence]) -> Size:
    """The one size of a label within operand `k`."""
    known = [shape[p.axis] for p in places if p.operand == k and shape[p.axis] is not None]
    if len(set(known)) > 1:
        raise SizeError(
            f"einsum {name} requires one size for the repeated label {label!r} of operand {k}, got "
            f"{known[0]} and {next(s for s in known if s != known[0])} (shape {show_shape(shape)})"
        )
    return known[0] if known else None


def _size_across(
    name: str,
    label: str,
    by_operand: Mapping[int, Size],
    shapes: Sequence[Shape],
    given: int | None,
) -> Size:
    """The size that the operands' sizes broadcast to."""
    wide = {k: size for k, size in by_operand.items() if size is not None and size != 1}
    first = next(iter(wide), None)
    for k, size in wide.items():
        if first is not None and size != wide[first]:
            raise SizeError(
                f"einsum {name} requires one size for label {label!r}, got {wide[first]} in operand"
                f" {first} (shape {show_shape(shapes[first])}) and {size} in operand {k} (shape "
                f"{show_shape(shapes[k])})"
            )
        if given is not None and size != given:
            raise SizeError(
                f"einsum {name} requires one size for label {label!r}, got {size} in operand {k} "
                f"(shape {show_shape(shapes[k])}) and {given} in sizes"
            )
    if given is not None or not by_operand:
        return given
    if first is not None:
        return wide[first]
    return None if None in by_operand.values() else 1
