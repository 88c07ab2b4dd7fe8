"""What an einsum with a sparse operand is made of, and that the choice goes by price."""

from __future__ import annotations

import pytest

from tf_einsum_grad.algebra.sizes import bind_call
from tf_einsum_grad.planning.plan import Step
from tf_einsum_grad.planning.sparse_plan import entries_to_expect, make_sparse_plan
from tf_einsum_grad.planning.sparse_steps import Gather, Scatter, SparseMatMul, SparseOperand

SIZES = {"i": 4000, "j": 3000, "k": 64, "l": 8, "b": 16}


def plan_of(text, nnz=10_000, dtype="float32", k=0, n_index=None, **options):
    terms = text.partition("->")[0].split(",")
    shapes = tuple(tuple(SIZES[label] for label in term) for term in terms)
    binding = bind_call(text, shapes)
    operand = SparseOperand.of(binding, k, n_index or len(shapes[k]), nnz)
    return make_sparse_plan(binding.equation, operand, binding.sizes, dtype, **options)


def shown(plan):
    """The steps in a line, those of the dense rest after a bar."""
    texts = []
    for step in plan.steps:
        match step:
            case Step():
                texts.append(str(step.equation))
            case Gather():
                texts.append(f"gather {step.labels} {step.result}")
            case Scatter():
                texts.append(f"scatter {step.labels} {step.result}")
            case SparseMatMul():
                texts.append(f"matmul {step.rows} {step.columns} {step.result}")
    rest = [
        str(step.equation)
        for step in plan.rest.steps
        if step.equation.inputs != (step.equation.output,)
    ]
    return ", ".join(texts) + " | " * bool(rest) + ", ".join(rest)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ij,jk->ik", "matmul i j ik"),
        ("ij,kj->ki", "kj->jk, matmul i j ik | ik->ki"),
        ("bij,bjk->bik", "matmul bi bj bik"),
        ("ij->ji", "scatter ji ji"),
        ("ij->", "z->"),
        ("ij->j", "scatter j j"),
        ("ij,jk->k", "scatter j j | j,jk->k"),
        ("ij,ik,jk->", "matmul j i jk | jk,jk->"),
        ("ij,jk,kl->il", "jk,kl->jl, matmul i j il"),
        ("ij,k->ik", "scatter i i | i,k->ik"),
        ("ij,jkl->ik", "jkl->jk, matmul i j ik"),
        ("ij,jjk->ik", "jjk->jk, matmul i j ik"),
        ("ij,jl,lk->ik", "matmul i j il | lk,il->ik"),
    ],
)
def test_steps(text, wanted):
    found = shown(plan_of(text))
    assert found == wanted


def test_slices_are_labels_of_the_values():
    plan = plan_of("ik,kl->il", n_index=1)
    assert plan.sparse == SparseOperand(0, "i", "k", 10_000)
    assert shown(plan) in ("zk,kl->zl, scatter i il", "scatter i ik | ik,kl->il")


@pytest.mark.parametrize("options", [{"target": "xla"}, {"dtype": "int64"}])
def test_rows_are_looked_up_where_there_is_no_product(options):
    assert shown(plan_of("ij,jk->ik", **options)) == "gather j zk, z,zk->zk, scatter i ik"


def test_the_price_of_entries_decides_what_comes_first():
    """Few entries are looked up in what is large; of many, the dense operands come first."""
    few = shown(plan_of("ij,jk,kl->il", nnz=10))
    assert few == "gather j zk, z,zk->zk, zk,kl->zl, scatter i il"
    assert shown(plan_of("ij,jk,kl->il", nnz=10**7)) == "jk,kl->jl, matmul i j il"


@pytest.mark.parametrize(
    "text", ["ij,ik,jk->", "ij,ik,jk->k", "ij,i,j->", "ij,jk,ik,l,lk->l", "ij,ik,jk,kl,il,jl->"]
)
@pytest.mark.parametrize("nnz", [10, 10**4, 10**7])
def test_no_order_makes_a_tensor_as_large_as_the_sparse_operand(text, nnz):
    plan = plan_of(text, nnz)
    steps = [*plan.steps, *plan.rest.steps]
    results = [s.equation.output if isinstance(s, Step) else s.result for s in steps]
    assert not [labels for labels in results if {*"ij"} <= {*labels}]


@pytest.mark.parametrize(
    "optimize", [False, "optimal", [(0, 2), (0, 1)], [(0, 1, 2)], lambda *_: [(0, 1), (0, 1)]]
)
def test_paths_are_followed(optimize):
    assert plan_of("ij,jk,kl->il", optimize=optimize).equation.output == "il"


def test_a_path_says_what_is_contracted_first():
    assert shown(plan_of("ij,jk,kl->il", optimize=[(1, 2), (0, 1)])) == "jk,kl->jl, matmul i j il"
    assert shown(plan_of("ij,jk,kl->il", optimize=[(0, 1), (0, 1)])) == "matmul i j ik | kl,ik->il"


def test_many_operands_take_no_time():
    """Not every order of them is tried."""
    text = "ij," + ",".join(["jk", "kl", "li", "ij", "jl", "ik", "kk", "il"]) + "->"
    assert plan_of(text).operands


def test_entries_to_expect():
    assert entries_to_expect(SparseOperand(0, "ij", "", 7), "ij", SIZES) == 7
    assert entries_to_expect(SparseOperand(0, "ij", "", None), "ij", SIZES) == 120_000
    assert entries_to_expect(SparseOperand(0, "i", "j", None), "ij", SIZES) == 40
    assert entries_to_expect(SparseOperand(0, "l", "", None), "l", SIZES) == 1
