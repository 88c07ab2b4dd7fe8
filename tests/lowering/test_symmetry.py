"""Which contractions of a tensor with itself take one gradient in the place of two."""

import pytest

from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.symmetry import mirrored


@pytest.mark.parametrize(
    ("text", "size", "elastic", "permute"),
    [
        ("ij,kj->ik", 400, "", "ab->ba"),
        ("bij,bkj->kbi", 100, "", "abc->cba"),
        ("ij,kj->ik", 8, "", None),  # saves nothing
        ("ij,kj->ij", 400, "", None),  # the output is not that of both
        ("ij,jk->ik", 400, "", None),  # the labels do not change places
        ("bij,bkj->bik", 100, "b", "abc->acb"),
        ("bij,cbj->cbi", 100, "b", None),
        ("ij->i", 400, "", None),
    ],
)
def test_operands_that_change_places(text, size, elastic, permute):
    equation = parse_equation(text)
    sizes = dict.fromkeys(equation.labels, size) | dict.fromkeys(elastic)
    hints = dict.fromkeys(elastic, size)
    c = Contraction.of(equation, sizes, "float32", hints=hints, elastic=elastic)
    found = mirrored(c)
    assert (found and str(found.equation)) == permute
