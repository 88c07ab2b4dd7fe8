import numpy as np
import pytest

from tf_einsum_grad import EquationError, SizeError
from tf_einsum_grad.algebra.sizes import bind_call, show_shape


def bind(text, *shapes, **sizes):
    return bind_call(text, shapes, sizes)


@pytest.mark.parametrize(
    ("text", "shapes", "bound"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], {"i": 2, "j": 3, "k": 4}),
        ("ij,jk->ik", [(None, 3), (None, 4)], {"i": None, "j": 3, "k": 4}),
        ("ij,ij->ij", [(1, 3), (2, 1)], {"i": 2, "j": 3}),
        ("i,i->", [(0,), (1,)], {"i": 0}),  # NumPy's rule: 1 broadcasts to 0
        ("i,i->", [(1,), (1,)], {"i": 1}),
        ("...k,kn->...n", [(5, 6, 7), (7, 8)], {"a": 5, "b": 6, "k": 7, "n": 8}),
    ],
)
def test_sizes_of_labels(text, shapes, bound):
    assert dict(bind(text, *shapes).sizes) == bound


@pytest.mark.parametrize(
    ("text", "shapes", "equation", "dropped"),
    [
        ("ij,ij->ij", [(1, 3), (2, 3)], "j,ij->ij", ((0,), ())),
        ("ij,ij->ij", [(1, 3), (2, 1)], "j,i->ij", ((0,), (1,))),
        ("i,i->i", [(1,), (1,)], "i,i->i", ((), ())),  # nothing to broadcast against
        ("ii,i->i", [(1, 1), (3,)], ",i->i", ((0, 1), ())),
        ("i,i->i", [(1,), (None,)], ",i->i", ((0,), ())),
    ],
)
def test_dimensions_of_size_1_are_dropped(text, shapes, equation, dropped):
    binding = bind(text, *shapes)
    assert (str(binding.equation), binding.dropped) == (equation, dropped)
    assert str(binding.expanded) == text


@pytest.mark.parametrize(
    ("text", "shapes", "checks"),
    [
        ("ij,jk->ik", [(None, 3), (3, None)], []),
        ("ij,jk->ik", [(None, None), (3, None)], [("j", None, 2)]),
        ("ij,jk->ik", [(None, None), (None, None)], [("j", None, 2)]),
        ("ii->i", [(None, None)], [("i", None, 2)]),
        ("ii->i", [(None, 3)], [("i", None, 2)]),
        ("i,i->i", [(1,), (None,)], []),  # whatever it is, the 1 was dropped
    ],
)
def test_what_is_left_to_compare_at_run_time(text, shapes, checks):
    found = [(c.label, c.size, len(c.occurrences)) for c in bind(text, *shapes).checks]
    assert found == checks


def test_labels_that_may_turn_out_to_be_1_are_elastic():
    assert bind("ij,jk,ki->", (None, None), (3, None), (None, 2)).elastic == "ijk"
    assert bind("ii,j->ij", (None, None), (None,)).elastic == ""  # equal, within an operand


@pytest.mark.parametrize(
    ("text", "shapes", "sizes", "kind", "message"),
    [
        ("ij,jk", [(2, 3), (4, 5)], {}, SizeError, "got 3 in operand 0 (shape (2, 3)) and 4 in"),
        ("ij,jk", [(2, 4), (3, 5)], {}, SizeError, "got 4 in operand 0 (shape (2, 4)) and 3 in"),
        ("ii", [(2, 3)], {}, SizeError, "repeated label 'i' of operand 0, got 2 and 3"),
        ("ii", [(3, 1)], {}, SizeError, "got 3 and 1"),  # no broadcast within an operand
        ("i->ij", [(2,)], {}, SizeError, "requires sizes={'j': ...}"),
        ("i->ij", [(2,)], {"k": 3}, SizeError, "sizes of its own labels, got 'k'"),
        ("i->i", [(5,)], {"i": 3}, SizeError, "got 5 in operand 0 (shape (5,)) and 3 in sizes"),
        ("i->i", [(5,)], {"i": 3}, SizeError, "einsum 'i->i' requires one size"),
        ("i", [(2,)], {"j": 3}, SizeError, "einsum 'i' (that is, 'i->i') requires sizes"),
        ("i->ij", [(2,)], {"j": -1}, SizeError, "integer from 0 on for label 'j', got -1"),
        ("i->ij", [(2,)], {"j": True}, SizeError, "integer from 0 on for label 'j', got True"),
        ("i->ij", [(2,)], {"j": 2.0}, SizeError, "integer from 0 on for label 'j', got 2.0"),
        ("i->i", [(2,)], {"i": None}, SizeError, "integer as the size of label 'i'"),
        ("ij,jk", [(2, 3)], {}, EquationError, "requires 2 operands, got 1"),
        ("ij", [(2, 3), (2, 3)], {}, EquationError, "requires 1 operand, got 2"),
        ("ij", [(2,)], {}, SizeError, "requires rank 2 for operand 0 ('ij'), got rank 1"),
    ],
)
def test_errors(text, shapes, sizes, kind, message):
    with pytest.raises(kind) as error:
        bind(text, *shapes, **sizes)
    assert message in str(error.value)


def test_given_sizes():
    assert dict(bind("i->ij", (2,), j=5).sizes) == {"i": 2, "j": 5}
    assert dict(bind("i->ij", (2,), j=None).sizes) == {"i": 2, "j": None}
    assert str(bind("i->i", (1,), i=5).equation) == "->i"
    assert str(bind("i->i", (1,), i=1).equation) == "i->i"
    assert [(c.label, c.size) for c in bind("i->i", (None,), i=5).checks] == [("i", 5)]
    expanded = bind_call("i->...i", [(2,)], {"...": (3, 4)})
    assert dict(expanded.sizes) == {"i": 2, "a": 3, "b": 4}
    assert type(dict(bind("i->ij", (2,), j=np.int64(5)).sizes)["j"]) is int


def test_shapes_are_shown_as_python_writes_them():
    assert [show_shape(s) for s in [(), (3,), (2, None)]] == ["()", "(3,)", "(2, ?)"]
