import pytest

from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.contraction import Contraction, Lowering
from tf_einsum_grad.lowering.lower import lower
from tf_einsum_grad.lowering.machine import CPU, Machine

SIZES = {"q": 2, "r": 3, "s": None}


def test_labels_are_renamed_with_their_sizes():
    contraction = Contraction.of(
        parse_equation("rq,qs->rs"), SIZES, "float32", "xla", {"s": 7, "q": 9}
    )
    assert contraction == Contraction(
        Equation(("ab", "bc"), "ac"),
        (("a", 3), ("b", 2), ("c", None)),
        "float32",
        "xla",
        (("c", 7),),  # what is known needs no hint
        CPU,
    )
    assert contraction.likely_sizes == {"a": 3, "b": 2, "c": 7}


def test_equal_gradients_share_a_lowering():
    """Of `ij,jk->ik` and of its like; also a gradient and a contraction that computes the same."""
    sizes = dict.fromkeys("ijk", 8)
    product = Contraction.of(parse_equation("ij,jk->ik"), sizes, "float32")
    renamed = Contraction.of(parse_equation("ki,ij->kj"), sizes, "float32")
    assert product.transpose(0) == renamed.transpose(0)
    forward = Contraction.of(parse_equation("ik,jk->ij"), sizes, "float32")
    assert product.transpose(0) == forward
    assert lower(product.transpose(0)) is lower(forward)


@pytest.mark.parametrize("k", [0, 1])
def test_transposed_labels_are_those_of_the_contraction(k):
    contraction = Contraction.of(
        parse_equation("bij,bjk->kib"), {"b": 2, "i": 3, "j": 5, "k": 7}, "float32"
    )
    transposed, names = contraction.transpose(k), contraction.transposed_labels(k)
    own = dict(contraction.sizes)
    assert dict(transposed.sizes) == {new: own[old] for new, old in names.items()}
    back = str.maketrans(names)
    equation = transposed.equation
    assert contraction.equation.transpose(k) == Equation(
        tuple(term.translate(back) for term in equation.inputs), equation.output.translate(back)
    )


def test_a_transpose_keeps_target_dtype_hints_and_machine():
    machine = Machine(stream=1.0)
    c = Contraction.of(parse_equation("qs,s->q"), SIZES, "float64", "eager", {"s": 5}, machine)
    t = c.transpose(1)  # qs,q->s
    assert (t.dtype, t.target, t.machine) == ("float64", "eager", machine)
    assert t.likely_sizes == {"a": 2, "b": 5} and dict(t.sizes)["b"] is None


@pytest.mark.parametrize(
    ("prepare", "combine", "finish", "name"),
    [
        (((),), None, (), "identity"),
        (((do.Reshape(("a", "")),),), None, (), "identity"),
        (((do.Diagonal(0, 1, ("a",), "stride"), do.Sum((0,))),), None, (), "diagonal + sum"),
        (((do.Sum((2,)), do.Sum((0,))),), None, (), "sum"),
        (((do.Permute((1, 0)), do.Broadcast(("a",))),), None, (), "permute + broadcast"),
        (((), ()), do.MatMul(False, False, False), (do.Permute((1, 0)),), "matmul"),
        (((), ()), do.NativeEinsum("ab,bc->ac"), (), "einsum"),
        (((do.Sum((0,)),), ()), do.Multiply(), (), "multiply"),
        (((), ()), do.Multiply(), (do.Permute((1, 0)),), "multiply"),
        (((), ()), do.Multiply(), (do.Sum((0,)),), "multiply and sum"),
    ],
)
def test_a_kernel_is_named_by_what_runs(prepare, combine, finish, name):
    lowering = Lowering(
        Equation(("a",), "a"), "float32", "graph", None, prepare, combine, False, finish
    )
    assert lowering.kernel == name
