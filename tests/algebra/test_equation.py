"""Equations as data, and the adjoint identity for every transposed equation, with NumPy alone."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given

from tests.corpus import CORPUS, Case, cases
from tests.reference import Reference, draw, replace
from tf_einsum_grad.algebra.equation import (
    Equation,
    expand_ellipses,
    fresh_labels,
    gradient_equations,
    parse_equation,
)
from tf_einsum_grad.algebra.errors import EquationError, SizeError
from tf_einsum_grad.algebra.sizes import bind_sizes


@pytest.mark.parametrize(
    ("text", "explicit"),
    [
        ("ij,jk->ik", "ij,jk->ik"),
        ("ij,jk", "ij,jk->ik"),
        ("ba", "ba->ab"),
        ("bA", "bA->Ab"),
        ("ii", "ii->"),
        ("iij", "iij->j"),
        ("a,a", "a,a->"),
        ("", "->"),
        (",", ",->"),
        ("->", "->"),
        ("...", "...->..."),
        ("b...a", "b...a->...ab"),
        ("...ij, ...jk", "...ij,...jk->...ik"),
        ("i...->", "i...->"),
        (" i\tj\n->\r\x0bj \u00a0i", "ij->ji"),
        (" ... i -> i ... ", "...i->i..."),
        ("...i\t,i->...", "...i,i->..."),
        ("i->ii", "i->ii"),
        ("жи,иж", "жи,иж->"),
    ],
)
def test_parse(text, explicit):
    assert str(parse_equation(text)) == explicit


# What np.einsum refuses too, but where its `optimize` takes all spaces out first.
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (". ..->...", "got '.' in operand 0 ('...'); an ellipsis is three dots, side by side"),
        ("i.. .->i", "got '.' in operand 0 ('i...'); an ellipsis"),
        ("...->...\n.", "got '.' in the output ('....'); an ellipsis"),
        ("...->. . .", "got '.' in the output ('...'); an ellipsis"),
        ("ij- >ji", "got '-' in operand 0 ('ij->ji'); an arrow is '->', side by side"),
        ("ij-\t> ji", "got '-' in operand 0 ('ij->ji'); an arrow"),
    ],
)
def test_white_space_within_a_symbol(text, message):
    with pytest.raises(EquationError) as error:
        parse_equation(text)
    assert message in str(error.value)
    rank = 2 if "j" in text else 1
    with pytest.raises(ValueError, match=r"ellipsis|output specified|invalid subscript"):
        np.einsum(text, np.ones([2] * rank), optimize=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("i->j->k", "requires at most one '->', got several"),
        ("i->i,i", "requires one output, got 'i,i'"),
        ("i...j...->", "requires at most one '...' in operand 0, got 'i...j...'"),
        ("i->...i...", "requires at most one '...' in the output, got '...i...'"),
        ("i,1->", "requires labels that are letters, got '1' in operand 1 ('1')"),
    ],
)
def test_what_is_no_equation(text, message):
    with pytest.raises(EquationError) as error:
        parse_equation(text)
    assert str(error.value).endswith(message)


def test_fresh_labels_go_on_after_ascii():
    assert next(fresh_labels("b")) == "a" and next(fresh_labels("a")) == "b"
    assert next(fresh_labels(string.ascii_letters)) == "À"


@pytest.mark.parametrize(
    ("equation", "ranks", "output_rank", "wanted"),
    [
        ("...k,kn->...n", (3, 2), None, "abk,kn->abn"),
        ("...k,kn->...n", (1, 2), None, "k,kn->n"),
        ("...a,...b->...", (3, 2), None, "cda,db->cd"),
        ("a...->a", (3,), None, "abc->a"),
        ("...,...->...", (0, 2), None, ",ab->ab"),
        ("...,...->...", (1, 2), None, "b,ab->ab"),
        ("i->...i", (1,), None, "i->i"),
        ("i->...i", (1,), 2, "i->abi"),
        ("...i->...i", (2,), 3, "ci->abci"),
    ],
)
def test_expand_ellipses(equation, ranks, output_rank, wanted):
    assert str(expand_ellipses(parse_equation(equation), ranks, output_rank)) == wanted


@pytest.mark.parametrize(
    ("equation", "ranks", "output_rank"),
    [("ab->a", (1,), None), ("ab->a", (3,), None), ("a...b->a", (1,), None), ("...->...", (3,), 2)],
)
def test_ranks_that_do_not_fit(equation, ranks, output_rank):
    with pytest.raises(SizeError, match="requires"):
        expand_ellipses(parse_equation(equation), ranks, output_rank)


@pytest.mark.parametrize(
    ("equation", "gradients"),
    [
        ("ijkm,ijkn->imn", ("imn,ijkn->ijkm", "ijkm,imn->ijkn")),
        ("ii->i", ("i->ii",)),
        ("ij->i", ("i->ij",)),
        ("ii", ("->ii",)),
        ("...k,kn->...n", ("...n,kn->...k", "...k,...n->kn")),
        ("a,b,c->abc", ("abc,b,c->a", "a,abc,c->b", "a,b,abc->c")),
        ("", ("->",)),
    ],
)
def test_gradient_equations(equation, gradients):
    assert gradient_equations(equation) == gradients


def test_transposing_twice_changes_nothing():
    for case in CORPUS:
        equation = parse_equation(case.equation)
        for k in range(len(equation.inputs)):
            assert equation.transpose(k).transpose(k) == equation


def check_adjoint_identity(case: Case):
    """<A v, w> = <v, A* w>: A is the einsum as a map of one operand, A* its transposed equation.

    Ellipses are labels by now, and dimensions of size 1 that broadcast are gone.
    """
    shapes, given = case.shapes, dict(case.sizes)
    extra = given.pop("...", None)
    equation = expand_ellipses(
        parse_equation(case.equation),
        tuple(map(len, shapes)),
        None if extra is None else len(extra),
    )
    if extra:
        at = parse_equation(case.equation).output.index("...")
        given |= dict(zip(equation.output[at:], extra, strict=False))
    binding = bind_sizes(equation, shapes, given)
    equation, sizes = binding.equation, dict(binding.sizes)
    rng = np.random.default_rng(0)

    def tensor(subscripts):
        return draw([sizes[label] for label in subscripts], rng)

    def apply(equation: Equation, operands):
        return Reference(str(equation), [x.shape for x in operands], sizes).value(operands)

    operands, w = [tensor(subscripts) for subscripts in equation.inputs], tensor(equation.output)
    for k, subscripts in enumerate(equation.inputs):
        v = tensor(subscripts)
        forward = np.vdot(apply(equation, replace(operands, k, v)), w)
        pulled = apply(equation.transpose(k), replace(operands, k, w))
        assert pulled.shape == v.shape
        assert forward == np.vdot(v, pulled), (case, k)


def test_the_adjoint_identity_for_every_transposed_equation():
    for case in CORPUS:
        check_adjoint_identity(case)


@given(cases())
def test_the_adjoint_identity_for_random_equations(case):
    check_adjoint_identity(case)
