"""Which lowering is chosen, and that what the cost model believes is true of it."""

import dataclasses

import pytest

from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.binary import pairwise_lowerings
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.cost import price
from tf_einsum_grad.lowering.lower import candidates, cost_both_ways, cost_of, lower
from tf_einsum_grad.lowering.machine import CPU
from tf_einsum_grad.lowering.machines import CPU_ONEDNN


def contraction(text, sizes, dtype="float32", target="graph"):
    return Contraction(parse_equation(text), tuple(sizes.items()), dtype, target)


def sizes_of(text, default=64, **sizes):
    return {label: sizes.get(label, default) for label in parse_equation(text).labels}


def steps(lowering):
    return [i for part in (*lowering.prepare, lowering.finish) for i in part]


@pytest.mark.parametrize(
    ("text", "kernel"),
    [
        ("bij,bij->bij", "multiply"),
        ("i,j->ij", "multiply"),
        ("bchw,bchw->bhw", "multiply and sum"),
        ("ij,jk->ik", "matmul"),
        ("bij,bkj->bik", "matmul"),
        ("ij->ji", "permute"),
        ("ij->i", "sum"),
        ("ii->i", "diagonal"),
        ("i->ii", "embed diagonal"),
        ("i->ij", "broadcast"),
        ("ijkk->ij", "diagonal + sum"),
        ("ij->ij", "identity"),
    ],
)
def test_kernels(text, kernel):
    assert lower(contraction(text, sizes_of(text, 512))).kernel == kernel


@pytest.mark.parametrize(
    ("text", "size", "dtype", "target", "kernel"),
    [
        ("bi->bii", 64, "float32", "graph", "set_diag"),
        ("bi->bii", 4, "float32", "graph", "diag"),  # one op to start
        ("bi->bii", 64, "float32", "eager", "set_diag"),
        ("bi->bii", 1000, "float32", "eager", "diag"),  # the zeros would take fresh pages
        ("i->ii", 3000, "float32", "eager", "set_diag"),  # but one matrix is one thread's
        ("bi->bii", 64, "float32", "xla", "select"),
        ("bi->bii", 64, "bool", "graph", "set_diag"),
        ("ij->iij", 64, "float32", "graph", "segment_sum"),
        ("ij->iij", 64, "bool", "graph", "select"),
        ("ij->iij", 46_340, "float32", "graph", "segment_sum"),
        ("ij->iij", 46_341, "float32", "graph", "select"),  # 2**31 segments are too many
        ("ij->iji", 64, "float32", "eager", "segment_sum"),
        ("bii->bi", 64, "float32", "graph", "stride"),
        ("bii->bi", 64, "float32", "xla", "stride"),
        ("bii->bi", 64, "float32", "eager", "diag_part"),
        ("iij->ij", 64, "float32", "graph", "gather"),
        ("iji->ij", 64, "float32", "eager", "gather"),
    ],
)
def test_diagonals(text, size, dtype, target, kernel):
    (step,) = steps(lower(contraction(text, sizes_of(text, size), dtype, target)))
    assert step.kernel == kernel


def test_as_many_rows_as_32_bits_count():
    """Known, or hinted: `segment_sum` of one row more would count wrong."""
    sizes, equation = {"b": 2, "i": 2**15, "j": 2}, parse_equation("bij->biij")
    for fewer, kernel in ((0, "select"), (1, "segment_sum")):
        known = sizes | {"i": 2**15 - fewer}
        hinted = Contraction.of(equation, dict.fromkeys(sizes), "float32", hints=known)
        for c in (Contraction.of(equation, known, "float32"), hinted):
            assert [step.kernel for step in steps(lower(c))] == [kernel]


@pytest.mark.parametrize(("text", "n"), [("i->iii", 4), ("i->iiiii", 16), ("i->iiiiii", 2)])
def test_combinations_of_kernels_are_weighed_unless_they_are_many(text, n):
    found = candidates(contraction(text, {"i": 3}))
    assert len({tuple(step.kernel for step in steps(lowering)) for lowering in found}) == n


@pytest.mark.parametrize("text", ["ij,jk->ik", "ij,ij->i", "jj->j", "i->ij", "ij->i"])
def test_of_nothing_there_are_zeros(text):
    assert lower(contraction(text, sizes_of(text, j=0))).kernel == "zeros"


def test_of_equal_axes_neighbors_are_taken():
    first, second = steps(lower(contraction("i->iii", {"i": 64})))
    assert (first.first, first.second) == (0, 1) and (second.first, second.second) == (1, 2)
    assert {first.kernel, second.kernel} == {"set_diag"}


@pytest.mark.parametrize("text", ["iji->ij", "ij->iji", "abcab->abc", "abc->abcba"])
def test_diagonals_permute_nothing(text):
    """A permute would read all of a tensor whose diagonal is a small part of it."""
    found = steps(lower(contraction(text, sizes_of(text))))
    assert found and all(isinstance(step, do.Diagonal | do.EmbedDiagonal) for step in found)


def test_the_question_permutes_nothing_in_either_direction():
    question = contraction("ijkm,ijkn->imn", {"i": 100, "j": 28, "k": 28, "m": 512, "n": 512})
    for c in (question, question.transpose(0), question.transpose(1)):
        assert not any(isinstance(step, do.Permute) for step in steps(lower(c)))
        assert cost_of(c).scratch_bytes == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_dtypes_that_einsum_accumulates_wrongly_or_not_at_all_go_to_matmul(dtype):
    assert lower(contraction("ij,jk->ik", sizes_of("ij,jk->ik"), dtype)).kernel == "matmul"


@pytest.mark.parametrize(
    ("text", "dtype", "compute"),
    [
        ("bchw,bchw->bhw", "float16", "float32"),  # products overflow and round before the sum
        ("ij,jk->ik", "float16", None),  # tf.matmul accumulates in float32 by itself
        ("abcd->ac", "bfloat16", "float32"),  # two sums: the first would round
        ("ij->i", "bfloat16", None),
        ("ij,jk->ik", "int8", "int32"),
        ("ij,jk->ik", "bool", "int64"),
        ("ij,jk->ik", "float32", None),
    ],
)
def test_compute_dtype(text, dtype, compute):
    assert lower(contraction(text, sizes_of(text), dtype)).compute_dtype == compute


def test_sums_go_one_run_at_a_time_but_for_xla():
    sizes = sizes_of("abcd->ac")
    sums = [s for s in steps(lower(contraction("abcd->ac", sizes))) if isinstance(s, do.Sum)]
    assert sums == [do.Sum((3,)), do.Sum((1,))]
    assert steps(lower(contraction("abcd->ac", sizes, target="xla"))) == [do.Sum((1, 3))]
    assert steps(lower(contraction("abcd->ad", sizes))) == [do.Sum((1, 2))]


def test_a_sum_over_both_ends_takes_the_inner_one_first():
    # One kernel reads (first, last) sums at a tenth of the bandwidth: the gradient of a channel's
    # scale in NCHW, say.
    sizes = {"n": 16, "c": 64, "h": 56, "w": 56}
    assert steps(lower(contraction("nchw->c", sizes))) == [do.Sum((2, 3)), do.Sum((0,))]
    scale = contraction("nchw,c->nchw", sizes).transpose(1)
    assert [s for s in steps(lower(scale)) if isinstance(s, do.Sum)] == [do.Sum((2,)), do.Sum((0,))]
    assert steps(lower(contraction("nchw->c", sizes, target="xla"))) == [do.Sum((0, 2, 3))]
    # The start of each of many short sums costs more than that.
    assert steps(lower(contraction("abc->b", {"a": 8192, "b": 64, "c": 2}))) == [do.Sum((0, 2))]


def test_many_short_sums_of_products_are_a_matrix_times_a_vector():
    sizes = {"a": 25600, "b": 8}
    assert lower(contraction("b,ab->a", sizes)).kernel == "matmul"


@pytest.mark.parametrize("text", ["eac,a->ce", "eac,ce->a"])
def test_xla_would_read_across_rows_what_is_permuted_and_multiplied(text):
    sizes = {"e": 1024, "a": 4, "c": 512}
    assert lower(contraction(text, sizes, target="xla")).kernel == "matmul"
    assert lower(contraction("eac,a->ec", sizes, target="xla")).kernel == "multiply and sum"


def test_xla_reads_across_rows_for_nothing_where_they_stay_in_the_cache():
    def slowdown(a):
        sizes = {"a": a, "c": 128, "b": 8, "d": 1024}
        permuted, plain = (
            cost_of(contraction(text, sizes, target="xla")).microseconds
            for text in ("cda,acb->acbd", "acd,acb->acbd")
        )
        return permuted / plain

    assert slowdown(2) < 1.5  # a row spans 8 kB
    assert slowdown(64) > 3


def test_xla_permutes_faster():
    us = {
        target: cost_of(contraction("ab->ba", {"a": 2048, "b": 2048}, target=target)).microseconds
        for target in ("graph", "xla")
    }
    assert us["xla"] < 0.6 * us["graph"]


def test_a_product_of_two_large_transposes_is_the_transpose_of_one():
    plain = lower(contraction("ki,jk->ij", sizes_of("ki,jk->ij", 1024)))
    assert plain.swap and not plain.combine.transpose_a and not plain.combine.transpose_b
    assert plain.finish == (do.Permute((1, 0)),)
    small = lower(contraction("ki,jk->ij", sizes_of("ki,jk->ij", 32)))
    assert small.combine.transpose_a and small.combine.transpose_b


def test_a_large_product_is_not_materialized_to_be_summed():
    sizes = sizes_of("ij,j->i", 4096)
    assert lower(contraction("ij,j->i", sizes)).kernel == "matmul"
    assert cost_of(contraction("ij,j->i", sizes)).scratch_bytes == 0


@pytest.mark.parametrize(("size", "kernel"), [(64, "matmul"), (512, "multiply")])
def test_small_outer_products_of_a_batch_go_to_matmul(size, kernel):
    sizes = sizes_of("bi,bj->bij", size, b=64)
    assert lower(contraction("bi,bj->bij", sizes)).kernel == kernel


def test_labels_of_size_1_cost_no_permute():
    def permutes(**sizes):
        lowering = lower(contraction("cab,bd->dac", sizes_of("abc,bd->dac", 64, **sizes)))
        return any(isinstance(step, do.Permute) for step in steps(lowering))

    assert permutes() and not permutes(a=1)


def test_neighbors_move_as_one():
    lowerings = pairwise_lowerings(contraction("abcd,abe->cdabe", sizes_of("abcd,abe->cdabe", 8)))
    permutes = [s for lowering in lowerings for s in steps(lowering) if isinstance(s, do.Permute)]
    assert permutes and all(len(permute.axes) <= 3 for permute in permutes)  # ab, cd, e


@pytest.mark.parametrize(
    ("text", "target", "kernel"),
    [
        ("bthd,bshd->bhts", "eager", "einsum"),  # one launch for seven
        ("bthd,bshd->bhts", "graph", "einsum"),
        ("bthd,bshd->bhts", "xla", "matmul"),
        ("bi,bij->bj", "eager", "einsum"),
        ("bi,bij->bj", "graph", "multiply and sum"),  # TFLite cannot convert it as an einsum
    ],
)
def test_einsum_where_it_is_fewer_launches_and_converts(text, target, kernel):
    assert lower(contraction(text, sizes_of(text, 4), target=target)).kernel == kernel


def test_a_lowering_is_decided_once():
    c = contraction("ij,jk->ik", sizes_of("ij,jk->ik"))
    assert lower(c) is lower(Contraction(Equation(("ij", "jk"), "ik"), c.sizes, c.dtype, c.target))


def test_every_candidate_computes_the_contraction_and_the_cheapest_is_taken():
    c = contraction("bij,bj->bi", sizes_of("bij,bj->bi", 256))
    lowerings = candidates(c)
    assert {lowering.kernel for lowering in lowerings} == {"multiply and sum", "matmul"}
    costs = [price(lowering, dict(c.sizes), CPU).microseconds for lowering in lowerings]
    assert cost_of(c).microseconds == min(costs) < max(costs)
    assert lower(c) == lowerings[costs.index(min(costs))]


def test_another_machine_takes_another_kernel():
    sizes = sizes_of("bij,bj->bi", 256)
    equation = parse_equation("bij,bj->bi")
    slow = ("matvec", "matvec_across", "vecmat", "vecmat_across")
    slow_products = dataclasses.replace(CPU, **dict.fromkeys(slow, 1.0))
    chosen = [
        lower(Contraction.of(equation, sizes, "float32", machine=machine)).kernel
        for machine in (CPU, slow_products)
    ]
    assert chosen == ["matmul", "multiply and sum"]


def test_hints_choose_kernels_where_sizes_are_unknown():
    equation = parse_equation("bi,bj->bij")
    unknown = dict.fromkeys("bij")
    small, large = (
        lower(Contraction.of(equation, unknown, "float32", hints={"b": 64, "i": n, "j": n}))
        for n in (64, 512)
    )
    assert (small.kernel, large.kernel) == ("matmul", "multiply")


def test_a_hint_of_1_does_not_drop_a_label():
    """The size is unknown all the same, and another when it comes."""
    equation = parse_equation("ab,bc->ac")
    sizes = {"a": 8, "b": 8, "c": None}
    hinted = lower(Contraction.of(equation, sizes, "float32", hints={"c": 1}))
    known = lower(Contraction.of(equation, sizes | {"c": 1}, "float32"))
    assert "c" in str(hinted) and hinted != known


def test_cost_both_ways_is_that_of_the_contraction_and_its_gradients():
    c = Contraction.of(parse_equation("ij,jk->ik"), sizes_of("ij,jk->ik", 100), "float32")
    parts = [c, c.transpose(0), c.transpose(1)]
    assert cost_both_ways(c) == sum(cost_of(part).microseconds for part in parts)


# Permutes of many dimensions ---------------------------------------------------------------------


def permutes(equation, sizes, target="graph", machine=CPU):
    parsed = parse_equation(equation)
    lowering = lower(Contraction.of(parsed, sizes, "float32", target, machine=machine))
    return [step for step in lowering.prepare[0] if isinstance(step, do.Permute)]


REVERSED = "abcdefghijklm->mlkjihgfedcba"
TWOS = dict.fromkeys("abcdefghijklm", 2)


def test_what_is_permuted_in_many_dimensions_is_looked_up():
    assert permutes(REVERSED, TWOS) == [do.Permute(tuple(range(12, -1, -1)), "gather")]
    assert permutes(REVERSED, TWOS, "xla")[0].kernel == "transpose"
    assert permutes(REVERSED, dict.fromkeys(TWOS))[0].kernel == "transpose"  # by unknown sizes
    assert permutes("abcdefgh->hgfedcba", TWOS)[0].kernel == "transpose"


def test_onednn_permutes_more_dimensions_but_no_rows():
    twelve = "abcdefghijkl->lkjihgfedcba"
    assert permutes(twelve, TWOS)[0].kernel == "gather"
    assert permutes(twelve, TWOS, machine=CPU_ONEDNN)[0].kernel == "transpose"
    assert permutes(REVERSED, TWOS, machine=CPU_ONEDNN)[0].kernel == "gather"
    rows = "abcdefghijkl->kjihgfedcbal"
    assert permutes(rows, TWOS, machine=CPU_ONEDNN)[0].kernel == "gather"


def test_dimensions_that_stay_side_by_side_go_as_one():
    assert permutes("abcdefghijklm->bcdefghijklma", TWOS) == [do.Permute((1, 0))]
    assert permutes("abcdefghijklm->hijklmabcdefg", TWOS) == [do.Permute((1, 0))]
    assert permutes("abcdefghijklm->abcdefgihjklm", TWOS) == [do.Permute((0, 2, 1, 3))]


@pytest.mark.parametrize(
    ("text", "sizes", "batched"),
    [
        ("btf,df->btd", {"b": 8, "t": 256, "d": 512, "f": 2048}, True),
        ("ik,jk->ij", {"i": 4096, "j": 512, "k": 512}, True),
        ("ik,jk->ij", {"i": 4096, "j": 512, "k": 64}, False),  # rows too short to matter
        ("ik,jk->ij", {"i": 64, "j": 16, "k": 512}, False),  # too small for its start
        ("ik,kj->ij", {"i": 4096, "j": 512, "k": 512}, False),  # nothing read across rows
        ("ki,kj->ij", {"i": 512, "j": 512, "k": 4096}, False),  # the left operand
    ],
)
def test_with_onednn_a_large_transposed_right_operand_is_a_batch_of_one(text, sizes, batched):
    def is_batched(lowering):
        return isinstance(lowering.combine, do.MatMul) and lowering.combine.batched

    equation = parse_equation(text)
    own = Contraction.of(equation, sizes, "float32", machine=CPU_ONEDNN)
    assert is_batched(lower(own)) == any(map(is_batched, candidates(own))) == batched
    assert not any(map(is_batched, candidates(dataclasses.replace(own, dtype="complex64"))))
    for machine, target in ((CPU, "graph"), (CPU_ONEDNN, "xla")):
        other = Contraction.of(equation, sizes, "float32", target=target, machine=machine)
        assert not any(map(is_batched, candidates(other)))


def test_what_was_measured_to_win_is_taken():
    own = contraction("ij,jk->ik", sizes_of("ij,jk->ik", 128))
    slowest = max(candidates(own), key=lambda x: price(x, own.likely_sizes, CPU).microseconds)
    assert slowest.recipe != lower(own).recipe
    tuned = dataclasses.replace(CPU, winners={own.signature: slowest.recipe})
    assert lower(dataclasses.replace(own, machine=tuned)) == slowest
    gone = dataclasses.replace(CPU, winners={own.signature: "a recipe that nobody writes now"})
    assert lower(dataclasses.replace(own, machine=gone)) == lower(own)


@pytest.mark.parametrize(
    ("text", "identity"), [("ij->ij", True), ("ij->ji", False), ("ij,ij->ij", False)]
)
def test_the_result_may_be_the_operand_itself(text, identity):
    assert lower(contraction(text, sizes_of(text))).is_identity is identity
