"""The model of TensorFlow's Einsum op."""

import pytest

from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.lowering.einsum_layout import einsum_layout


@pytest.mark.parametrize(
    ("text", "permuted", "transposed"),
    [
        ("ij,jk->ik", (), (False, False)),
        ("ji,jk->ik", (), (True, False)),
        ("ij,kj->ik", (), (False, True)),
        ("ij,jk->ki", ("ki",), (False, False)),
        ("j,jk->k", (), (False, False)),  # a vector has no rows
        ("ij,j->i", (), (False, False)),
        ("bthd,bshd->bhts", ("bthd", "bshd"), (False, False)),
    ],
)
def test_what_tensorflows_einsum_permutes(text, permuted, transposed):
    layout = einsum_layout(parse_equation(text))
    assert (layout.permuted, layout.transposed) == (permuted, transposed)


def test_roles_stand_in_the_order_of_first_appearance():
    roles = einsum_layout(parse_equation("bca,dcab->dbac")).roles
    assert "".join(roles.batch) == "bca" and "".join(roles.rhs_free) == "d"
    assert roles.contracting == roles.lhs_free == ()
