import pytest

from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.algebra.roles import (
    UNKNOWN_SIZE,
    DotRoles,
    label_roles,
    num_elements,
    roles_among,
)


def test_the_five_roles():
    roles = label_roles(parse_equation("bijz,bjk->bikx"))
    assert roles == {
        "b": "batch",
        "i": "free",
        "j": "contracting",
        "z": "summed",
        "k": "free",
        "x": "broadcast",
    }


def test_a_label_of_three_operands_is_shared_as_one_of_two():
    assert label_roles(parse_equation("ab,ab,b->a")) == {"a": "batch", "b": "contracting"}


def test_groups_have_roles_as_labels_do():
    assert roles_among((("ab", "c"), ("c", "d")), ("ab", "d")) == {
        "ab": "free",
        "c": "contracting",
        "d": "free",
    }


def test_dot_roles_stand_in_the_order_of_their_operand():
    roles = DotRoles.of("bcij", "cjbkl", "bclki")
    assert roles == DotRoles(
        batch=("b", "c"), contracting=("j",), lhs_free=("i",), rhs_free=("k", "l")
    )
    both_ways = DotRoles.of("ab", "ba", ""), DotRoles.of("ab", "ba", "ba")
    assert both_ways[0].contracting == both_ways[1].batch == ("a", "b")


@pytest.mark.parametrize("k", [0, 1])
def test_the_four_roles_are_closed_under_transposition(k):
    equation = Equation(("bij", "bjk"), "bik").transpose(k)
    lhs, rhs = equation.inputs
    roles = DotRoles.of(lhs, rhs, equation.output)
    found = roles.batch + roles.contracting + roles.lhs_free + roles.rhs_free
    assert sorted(found) == sorted(equation.labels)
    assert set(label_roles(equation).values()) == {"batch", "contracting", "free"}


def test_num_elements():
    assert num_elements("", {}) == 1
    assert num_elements("iij", {"i": 3, "j": 4}) == 36  # a term, not a set
    assert num_elements("ij", {"i": None, "j": 0}) == 0
    assert num_elements("i", {"i": None}) == UNKNOWN_SIZE
