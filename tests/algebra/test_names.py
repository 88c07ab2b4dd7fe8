"""Sublists and the names of their labels: read, and put back into whatever is said of them."""

from __future__ import annotations

import copy
import enum
import json
import pickle

import numpy as np
import pytest

from tf_einsum_grad.algebra.equation import expand_ellipses, parse_equation
from tf_einsum_grad.algebra.errors import EquationError, SizeError
from tf_einsum_grad.algebra.names import (
    NamedText,
    naming,
    read_call,
    read_names,
    show_names,
    sublists_to_text,
)
from tf_einsum_grad.algebra.sizes import bind_call


class Axis(enum.Enum):
    ROW = "row"
    COLUMN = "column"


class Number(enum.IntEnum):
    ZERO = 0


@pytest.mark.parametrize(
    ("sublists", "output", "shown"),
    [
        ([[0, 1], [1, 2]], [0, 2], "0 1,1 2->0 2"),
        ([[0, 1], [1, 2]], None, "0 1,1 2->0 2"),
        ([[7, 3]], None, "7 3->3 7"),
        ([[..., 0], [0, 1]], [..., 1], "...0,0 1->...1"),
        ([[], []], [], ",->"),
        ([(2, 2)], (2,), "2 2->2"),
        ([np.arange(2).tolist()], [np.int64(1)], "0 1->1"),
        ([[Number.ZERO, 1]], [0], "0 1->0"),
        ([["batch", "key"], ["key", "head"]], ["head", "batch"], "batch key,key head->head batch"),
        ([["b", "a"]], None, "b a->a b"),
        ([["row", ..., "row"]], [...], "row...row->..."),
        ([["row"], ["row", "column"]], None, "row,row column->column"),
        ([[Axis.ROW, Axis.COLUMN]], [Axis.COLUMN], "Axis.ROW Axis.COLUMN->Axis.COLUMN"),
        ([[("x", 0), ("x", 1)]], None, "('x', 0) ('x', 1)->('x', 0) ('x', 1)"),
        ([[0, "a"]], ["a", 0], "0 a->a 0"),  # cannot be sorted, and need not be
        ([["a,b", "->"]], ["->"], "a,b ->->->"),  # shown as it is; never read again
    ],
)
def test_sublists(sublists, output, shown):
    text = sublists_to_text(sublists, output)
    parsed = parse_equation(text)
    assert show_names(text, str(parsed)) == shown
    # The equation is of as many labels, at the same places.
    flat = [x for row in [*sublists, output or ()] for x in row if x is not ...]
    letters = "".join((*parsed.inputs, parsed.output)).replace("...", "")[: len(flat)]
    assert [flat.index(x) for x in flat] == [letters.index(x) for x in letters]


def test_many_labels_keep_their_order():
    n = 300
    parsed = parse_equation(sublists_to_text([list(range(n))[::-1]], None))
    assert parsed.output == parsed.inputs[0][::-1]
    assert len(parsed.labels) == n


@pytest.mark.parametrize(
    ("sublists", "output", "message"),
    [
        (["ab"], None, "requires a list of labels for operand 0, got str"),
        ([[0]], "a", "requires a list of labels for the output, got str"),
        ([3], None, "got int"),
        ([[0.5]], None, "got 0.5 for operand 0"),
        ([[0], [-1]], None, "got -1 for operand 1"),
        ([[True]], None, "got True"),
        ([[1j]], None, "got 1j"),
        ([[0]], [None], "got None for the output"),
        ([["..."]], None, "or the object '...'; got '...' for operand 0"),
        ([[["a"]]], None, "got ['a'] for operand 0"),
        ([[("a", [])]], None, "got ('a', []) for operand 0"),
        ([[0, "a"]], None, "requires an output for labels that cannot be sorted, got 0, 'a'"),
        ([["a", ..., ...]], None, "at most one '...' in operand 0, got 'a......'"),
    ],
)
def test_sublists_that_are_none(sublists, output, message):
    with pytest.raises(EquationError) as error:
        sublists_to_text(sublists, output)
    assert message in str(error.value)


def test_two_forms_of_a_call():
    assert read_call("ij->i", ["x"]) == ("ij->i", ("x",))
    text, operands = read_call(1.0, ([0, 1], 2.0, [1], [0]))
    assert operands == (1.0, 2.0)
    assert str(text) == "0 1,1->0"
    text, operands = read_call(1.0, ([0, 0],))
    assert operands == (1.0,)
    assert str(text) == "0 0"


@pytest.mark.parametrize("call", [(None, "x"), (b"ij", "x"), (1.0,), (None,), (b"ij",)])
def test_a_call_in_neither_form(call):
    with pytest.raises(EquationError, match=rf"got {type(call[0]).__name__} as its first argument"):
        read_call(call[0], call[1:])


TEXT = sublists_to_text([["batch", "key"], [..., "key"]], ["batch", ...])


def test_a_text_shows_itself_with_names():
    assert str(TEXT) == f"{TEXT}" == "batch key,...key->batch..."
    assert repr(TEXT) == f"{TEXT!r}" == "'batch key,...key->batch...'"
    assert f"{TEXT:>30}" == f"{'batch key,...key->batch...':>30}"
    expanded = str(expand_ellipses(parse_equation(TEXT), (2, 3)))
    assert TEXT.show(f"that is, {expanded!r}") == "that is, 'batch key,a b key->batch a b'"
    assert show_names("ab->a", "label 'a'") == "label 'a'"


def test_a_text_is_another_with_other_names():
    first, second = (sublists_to_text([[name]], None) for name in ("a", "b"))
    same = sublists_to_text([["a"]], None)
    assert first == same
    assert hash(first) == hash(same)
    assert (first != same) is (first == second) is (first == str.__str__(first)) is False
    assert (first != second) is (first != str.__str__(first)) is True


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_text_is_copied_with_its_names(copied):
    other = copied(TEXT)
    assert type(other) is NamedText
    assert other == TEXT
    assert other.names == TEXT.names


def test_a_text_is_saved_as_an_equation():
    assert parse_equation(json.loads(json.dumps(TEXT))) == parse_equation(TEXT)


def test_names_as_keys():
    labels = parse_equation(TEXT).labels
    assert read_names(TEXT, "sizes", {"key": 2, "batch": 3}) == {labels[1]: 2, labels[0]: 3}
    assert read_names(TEXT, "sizes", {...: (2,)}) == read_names(TEXT, "sizes", {"...": (2,)})
    assert read_names(TEXT, "sizes", None) is None
    assert read_names("ab->a", "sizes", {"z": 3}) == {"z": 3}  # compared later on
    with pytest.raises(SizeError, match=r"'batch key,.* requires sizes of its own labels, got 'z'"):
        read_names(TEXT, "sizes", {"z": 3})


def test_errors_say_names():
    with pytest.raises(SizeError) as error:
        bind_call(TEXT, [(2, 3), (5, 4)])
    assert str(error.value) == (
        "einsum 'batch key,...key->batch...' (that is, 'batch key,a key->batch a') requires one "
        "size for label 'key', got 3 in operand 0 (shape (2, 3)) and 4 in operand 1 (shape (5, 4))"
    )
    with pytest.raises(SizeError, match=r"^einsum '0 1->0' requires rank 2 for operand 0"):
        bind_call(sublists_to_text([[0, 1]], [0]), [(2,)])


def test_other_errors_pass():
    with pytest.raises(KeyError, match="own"), naming(TEXT):
        raise KeyError("own")
