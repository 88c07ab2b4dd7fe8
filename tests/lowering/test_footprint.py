"""Bytes held beside operands and result, of lowerings written by hand."""

import dataclasses

import pytest

from tests.lowering.test_cost import SIZES, binary, unary
from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.footprint import footprint


@pytest.fixture
def held(monkeypatch):
    def of(lowering, dtype="float32"):
        lowering = dataclasses.replace(lowering, dtype=dtype)
        sizes = tuple((SIZES | {"d": 5}).items())
        monkeypatch.setattr("tf_einsum_grad.lowering.footprint.lower", lambda _: lowering)
        return footprint(Contraction(lowering.equation, sizes, dtype))

    return of


@pytest.mark.parametrize(
    ("lowering", "n_bytes"),
    [
        (unary("ab->ab", do.Reshape(("ab",)), do.Reshape(("a", "b"))), 0),
        (unary("ab->ba", do.Permute((1, 0))), 0),  # the result
        (unary("ab->a", do.Permute((1, 0)), do.Sum((0,))), 800),
        (unary("abc->cba", do.Permute((2, 1, 0), "gather")), 32 * 6000),
        (unary("aab->ab", do.Diagonal(0, 1, ("a", "b"), "gather")), 32 * 10),
        (unary("aa->", do.Diagonal(0, 1, ("a",), "stride"), do.Sum((0,))), 40),
        (unary("a->aa", do.EmbedDiagonal(0, 1, ("a",), "select")), 400 + 100),
        (unary("ba->baa", do.EmbedDiagonal(1, 2, ("b", "a"), "set_diag")), 8000 + 32 * 200),
        (unary("b->ab", do.Reshape(("", "b")), do.Broadcast(("a", "b")), do.Permute((1, 0))), 800),
        (binary("ab,b->a", (), (), do.Multiply(), (do.Sum((1,)),)), 800),
        (binary("ab,bc->ac", (), (), do.MatMul(False, False, False)), 0),
        (binary("ba,bc->ac", (do.Permute((1, 0)),), (), do.MatMul(False, False, False)), 800),
        (binary("ab,bc->ca", (), (), do.NativeEinsum("ab,bc->ca")), 1200),
    ],
)  # fmt: skip
def test_all_that_is_made_but_the_result(held, lowering, n_bytes):
    assert held(lowering) == n_bytes


def test_what_is_cast_is_held_and_so_is_what_the_result_is_cast_from(held):
    plain = binary("ab,bc->ac", (), (), do.MatMul(False, False, False))
    assert held(dataclasses.replace(plain, compute_dtype="float32"), "float16") == 4 * 1100


@pytest.mark.parametrize(
    ("text", "flags", "swap", "n_bytes"),
    [
        ("dba,dbc->dac", (True, False), False, 8 * 1000),
        ("dab,dcb->dac", (False, True), False, 8 * 3000),
        ("dba,dcb->dac", (True, True), False, 8 * 4000),
        ("dba,dbc->dca", (True, False), True, 8 * 3000),
        ("dab,dbc->dac", (False, False), False, 0),
    ],
)
def test_a_batch_conjugates_what_it_transposes(held, text, flags, swap, n_bytes):
    def product(batched):
        return binary(text, (), (), do.MatMul(*flags, batched), swap=swap)

    assert held(product(True), "complex64") == n_bytes
    assert held(product(False), "complex64") == held(product(True), "float32") == 0


def test_unknown_sizes_count_as_their_hints():
    equation, sizes = parse_equation("bij,bjk->kbi"), dict.fromkeys("bijk", 16)
    known = Contraction.of(equation, sizes, "float32")
    unknown = Contraction.of(equation, dict.fromkeys(sizes), "float32", hints=sizes)
    assert footprint(unknown) == footprint(known) > 0
