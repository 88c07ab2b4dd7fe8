"""What an attention equation says: which label is normalised, which are contracted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tf_einsum_grad.algebra.equation import Equation, expand_ellipses, parse_call
from tf_einsum_grad.algebra.errors import EquationError, SizeError
from tf_einsum_grad.algebra.sizes import Shape, bind_sizes

__all__ = ["AttentionEquation", "read_attention"]


@dataclass(frozen=True, slots=True)
class AttentionEquation:
    """`query,key,value->output`, as the einsums that it is made of.

    Attributes:
        text: as the caller wrote it.
        query, key, value, output: subscripts.
        keys: the label that is normalised: of key and value, not of query and output.
        rows: the label of the query that is cut into blocks, and that `causal` and `window` count
            along; "" where the query has none.
        scores: the subscripts of query times key: `rows` and `keys` last.
        result: those of scores times value: `scores` without `keys`, then what value alone has.
    """

    text: str
    query: str
    key: str
    value: str
    output: str
    keys: str
    rows: str
    scores: str
    result: str

    @property
    def normaliser(self) -> str:
        """The subscripts of what there is one of for each row of scores."""
        return self.scores.replace(self.keys, "")

    @property
    def n_values(self) -> int:
        """How many labels value alone has."""
        return len(self.result) - len(self.normaliser)


def read_attention(text: str, shapes: tuple[Shape, ...], position: str = "") -> AttentionEquation:
    """Reads an attention equation of three operands.

    Args:
        text: such as "btnh,bsnh,bsnv->btnv".
        shapes: of query, key and value, None for sizes that are unknown.
        position: the label that rows are counted along; by default the one label that query and
            output alone have, or the longest of several.

    Raises:
        EquationError: it is no attention.
        SizeError: shapes do not fit.

    Example:
        >>> shapes = (2, 3, 4, 5), (2, 6, 4, 5), (2, 6, 4, 7)
        >>> found = read_attention("btnh,bsnh,bsnv->btnv", shapes)
        >>> found.keys, found.rows, found.scores, found.result
        ('s', 't', 'bnts', 'bntv')
    """
    parsed = parse_call(text, 3)
    parsed = expand_ellipses(parsed, tuple(len(shape) for shape in shapes))
    (query, key, value), output = parsed.inputs, parsed.output
    for term in (*parsed.inputs, output):
        if len(set(term)) < len(term):
            raise EquationError(f"attention {text!r} requires each label once, got {term!r}")
    found = [x for x in key if x in value and x not in output and x not in query]
    if len(found) != 1:
        raise EquationError(
            f"attention {text!r} requires one label that key and value share and query and output "
            f"lack, which is normalised, got {', '.join(found) or 'none'}"
        )
    (keys,) = found
    contracted = [x for x in query if x in key and x not in output]
    _check_roles(text, parsed, keys, contracted)
    sizes = _sizes(text, parsed, shapes)
    free = [x for x in query if x in output and x not in key and x not in value]
    rows = _rows(text, query, output, position, free, sizes)
    others = [x for x in dict.fromkeys(query + key) if x not in (*contracted, keys, rows)]
    normaliser = "".join([*others, rows])
    own = "".join(x for x in value if x != keys and x not in normaliser)
    return AttentionEquation(
        text, query, key, value, output, keys, rows, normaliser + keys, normaliser + own
    )


def _sizes(text: str, parsed: Equation, shapes: tuple[Shape, ...]) -> dict[str, int | None]:
    sizes = dict(bind_sizes(parsed, shapes, original=text).sizes)
    for k, (term, shape) in enumerate(zip(parsed.inputs, shapes, strict=True)):
        for label, size in zip(term, shape, strict=True):
            if None not in (size, sizes[label]) and size != sizes[label]:
                raise SizeError(
                    f"attention {text!r} requires one size for label {label!r}, got "
                    f"{sizes[label]} and {size} for operand {k}"
                )
    return sizes


def _check_roles(text: str, parsed: Equation, keys: str, contracted: list[str]) -> None:
    """Every label of an operand is of the output, the normalised one, or contracted by scores."""
    names = ("query", "key", "value")
    for name, term in zip(names, parsed.inputs, strict=True):
        for label in term:
            summed = label in contracted and name != "value"
            if label not in parsed.output and label != keys and not summed:
                raise EquationError(
                    f"attention {text!r} requires label {label!r} of {name} in the output, or in "
                    "query and key alone, which contract it"
                )
    for label in parsed.output:
        if not any(label in term for term in parsed.inputs):
            raise EquationError(
                f"attention {text!r} requires label {label!r} of the output in an operand"
            )


def _rows(
    text: str,
    query: str,
    output: str,
    position: str,
    free: list[str],
    sizes: dict[str, int | None],
) -> str:
    if position:
        if position not in free:
            raise EquationError(
                f"attention {text!r} requires a label that query and output alone have to count "
                f"along, got {position!r}"
            )
        return position
    known = [(sizes[label] or 2**62, -k, label) for k, label in enumerate(free)]
    return max(known)[2] if known else ""
