"""Every candidate for a contraction of two operands: what it computes, and which there are."""

import random

import numpy as np
import pytest

from tests.lowering.interpreter import run
from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.binary import pairwise_lowerings
from tf_einsum_grad.lowering.contraction import Contraction


def lowerings(text, size=8, dtype="float32", target="graph"):
    equation = parse_equation(text)
    return pairwise_lowerings(
        Contraction.of(equation, dict.fromkeys(equation.labels, size), dtype, target)
    )


def kernels(found, name):
    return [lowering for lowering in found if lowering.kernel == name]


def permuted(lowering):
    """Whether the left operand, the right one and the result are permuted."""
    parts = *lowering.prepare, lowering.finish
    return tuple(any(isinstance(step, do.Permute) for step in part) for part in parts)


def random_equation(rng):
    roles = {label: rng.choice("bckn") for label in "abcdefg"[: rng.randint(1, 7)]}
    terms = ["".join(x for x in roles if roles[x] in role) for role in ("bck", "bcn", "bkn")]
    lhs, rhs, output = ("".join(rng.sample(term, len(term))) for term in terms)
    return Equation((lhs, rhs), output)


@pytest.mark.parametrize("target", ["eager", "graph", "xla"])
def test_every_candidate_computes_the_contraction(target):
    rng, draw = random.Random(0), np.random.default_rng(0)
    for _ in range(150):
        equation = random_equation(rng)
        sizes = {label: rng.choice([1, 2, 2, 3]) for label in equation.labels}
        operands = [
            draw.integers(-9, 9, [sizes[label] for label in term]) for term in equation.inputs
        ]
        expected = np.einsum(str(equation), *operands)
        c = Contraction(equation, tuple(sizes.items()), "float32", target)
        for lowering in pairwise_lowerings(c):
            np.testing.assert_array_equal(run(lowering, operands, sizes), expected, str(lowering))


def test_either_operand_stands_first():
    assert {x.swap for x in kernels(lowerings("bij,bjk->bik"), "einsum")} == {False, True}
    assert {x.swap for x in lowerings("bij,bjk->bki", target="xla")} == {True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bij,bjk->bik", {(False, False, False)}),  # as they stand
        ("iab,baj->ij", {(True, False, False), (False, True, False)}),  # in the other's order
        (
            "abci,bcaj->cabij",  # in one operand's order, or the result's
            {(False, True, True), (True, False, True), (True, True, False), (True, True, True)},
        ),
    ],
)
def test_what_a_matmul_permutes(text, expected):
    assert {permuted(x) for x in kernels(lowerings(text), "matmul")} == expected


@pytest.mark.parametrize(("target", "expected"), [("graph", {False, True}), ("xla", {False})])
def test_the_transpose_of_a_plain_product_is_a_candidate_but_for_xla(target, expected):
    found = kernels(lowerings("ki,jk->ij", target=target), "matmul")
    assert {permuted(lowering)[2] for lowering in found} == expected


@pytest.mark.parametrize("text", ["k,kj->j", "ik,k->i", "bk,bjk->bj", "bki,bk->bi", "k,k->"])
def test_a_vector_is_read_as_it_stands(text):
    lhs, rhs = (len(term) for term in parse_equation(text).inputs)
    for lowering in kernels(lowerings(text), "matmul"):
        flags = lowering.combine.transpose_a, lowering.combine.transpose_b
        flags = flags[::-1] if lowering.swap else flags
        assert not (flags[0] and lhs <= rhs) and not (flags[1] and rhs <= lhs)


def test_batch_dimensions_stay_apart_where_that_spares_every_reshape():
    steps = [(*x.prepare, x.finish) for x in kernels(lowerings("bcij,bcjk->bcik"), "matmul")]
    assert ((), (), ()) in steps


@pytest.mark.parametrize(
    ("dtype", "target", "einsum"),
    [
        ("float32", "graph", True),
        ("complex64", "eager", True),
        ("float32", "xla", False),
        ("float16", "graph", False),  # the op would accumulate in half precision
        ("bfloat16", "eager", False),
        ("int32", "graph", False),
    ],
)
def test_where_tensorflows_op_is_a_candidate(dtype, target, einsum):
    assert bool(kernels(lowerings("ij,jk->ik", 8, dtype, target), "einsum")) is einsum


@pytest.mark.parametrize(("target", "matmul"), [("eager", True), ("graph", True), ("xla", False)])
def test_an_outer_product_is_a_matmul_but_for_xla(target, matmul):
    assert bool(kernels(lowerings("bi,bj->bij", target=target), "matmul")) is matmul


def test_a_product_is_made_in_the_order_of_the_result_or_of_an_operand():
    assert {permuted(lowering) for lowering in lowerings("ab,b->ba")} == {
        (True, False, False),
        (False, False, True),
    }


def test_an_operand_gets_no_more_dimensions_than_it_needs():
    assert all(lowering.prepare == ((), ()) for lowering in lowerings("b,ab->ab"))


@pytest.mark.parametrize(("text", "broadcasts"), [("ac,bd->abcd", 0), ("ace,bd->abcde", 2)])
def test_kernels_broadcast_in_few_dimensions(text, broadcasts):
    steps = [step for part in lowerings(text, target="xla")[0].prepare for step in part]
    assert sum(isinstance(step, do.Broadcast) for step in steps) >= broadcasts
    assert bool(broadcasts) == any(isinstance(step, do.Broadcast) for step in steps)


@pytest.mark.parametrize(("target", "labels"), [("eager", "c"), ("graph", "c"), ("xla", "ac")])
def test_products_stretch_both_operands_along_what_they_contract(target, labels):
    sizes = {"a": None, "b": 2, "c": None, "d": 3}
    equation = Equation(("abc", "acd"), "abd")
    c = Contraction(equation, tuple(sizes.items()), "float32", target, elastic="ac")
    products = [x for x in pairwise_lowerings(c) if isinstance(x.combine, do.MatMul)]
    assert products
    for lowering in products:
        assert all(do.Stretch(labels) in steps for steps in lowering.prepare), str(lowering)
