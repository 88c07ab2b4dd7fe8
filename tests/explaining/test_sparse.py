"""`explain` of a sparse operand says what runs, as the ops that TensorFlow runs have it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tf_einsum_grad import EinsumError, OperandError, SizeError, explain


@dataclass
class SparseTensorSpec:
    """What there is of TensorFlow's class, without TensorFlow."""

    shape: tuple
    dtype: str = "float32"


@dataclass
class Values:
    shape: tuple


@dataclass
class IndexedSlices:
    shape: tuple
    dtype: str = "float32"
    values: Values = field(default_factory=lambda: Values((5, 3)))


A = SparseTensorSpec((4000, 3000))


def test_a_product_is_one_kernel():
    found = explain("ij,jk->ik", A, (3000, 64))
    assert [work.call for work in found.forward] == [
        "sparse_dense_matmul(A.values at A.indices[i,j], B)"
    ]
    assert found.flops_forward == 2 * 120_000 * 64
    assert found.output_shape == (4000, 64)
    assert "z  120000  entries: of the sparse operand, a guess  (A)" in str(found)


def test_gradients_are_sampled_and_transposed():
    by_values, by_dense = explain("ij,jk->ik", A, (3000, 64)).gradients
    assert by_values.equation == "ik,jk->ij" and "never computed" in by_values.derivation
    (work,) = by_values.work
    assert work.call == (
        "einsum('zk,zk->z', look_up(dL/dY, A.indices[i]), look_up(B, A.indices[j]))"
    )
    assert [work.call for work in by_dense.work] == [
        "sparse_dense_matmul(A.values at A.indices[j,i], dL/dY)"
    ]


def test_steps_and_their_transposes():
    found = explain("ij,jk->ik", A, (3000, 64), target="xla")
    calls = [work.call for work in found.forward]
    assert calls[0] == "look_up(B, A.indices[j])" and calls[-1] == "add_up(Z2, A.indices[i])"
    route = [work.call for work in found.gradients[1].work]
    assert route[0] == "look_up(dL/dY, A.indices[i])"
    assert route[-1] == "add_up(dL/dZ1, A.indices[j])"
    assert found.flops_backward > found.flops_forward


def test_slices_have_as_many_entries_as_values():
    found = explain("ij,ik->jk", IndexedSlices((4, 3)), (4, 2))
    entries = found.roles[-1]
    assert (entries.label, entries.size, entries.role) == ("z", 5, "entries: of the sparse operand")


def test_numbers_are_those_of_a_dense_einsum_with_one_label_more():
    found = explain("ij,ij->", A, (4000, 3000))
    assert found.flops_forward == 2 * 120_000
    assert found.largest_intermediate_bytes == 4 * 120_000


def test_html_and_dict():
    found = explain("ij,jk->ik", A, (3000, 64))
    assert "sparse_dense_matmul" in found._repr_html_()
    assert found.to_dict()["forward"][0]["kernel"] == "sparse-dense matmul"


def test_errors():
    with pytest.raises(OperandError, match="at most one sparse operand, got 2"):
        explain("ij,jk->ik", A, SparseTensorSpec((3000, 4)))
    with pytest.raises(SizeError, match="label 'j', got 3000"):
        explain("ij,jk->ik", A, (4, 4))
    with pytest.raises(EinsumError, match="mesh"):
        explain("ij,jk->ik", A, (3000, 64), mesh={"k": 2})
