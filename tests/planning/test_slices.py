import re

import pytest

from tests.corpus import CORPUS
from tests.networks import random_network
from tf_einsum_grad import PathError, SizeError
from tf_einsum_grad.algebra.sizes import bind_call
from tf_einsum_grad.planning.slices import make_sliced_plan


def sliced(text, shapes, limit, dtype="float32", sizes=None, **options):
    bound = bind_call(text, shapes, sizes)
    options = {"elastic": bound.elastic, **options}
    return make_sliced_plan(bound.equation, bound.sizes, dtype, limit=limit, **options)


def least(text, shapes, **options):
    """The smallest limit, from the message of one that cannot be met; 0 where none is refused."""
    try:
        return sliced(text, shapes, 1, **options).peak_bytes
    except PathError as error:
        return int(re.search(r"requires a memory_limit of (\d+) bytes", str(error))[1])


@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64"])
def test_no_slice_of_the_corpus_takes_more_than_the_limit_and_the_least_is_the_least(dtype):
    for c in CORPUS[:: 7 if dtype == "float32" else 41]:
        options = {"dtype": dtype, "sizes": dict(c.sizes)}
        smallest = least(c.equation, c.shapes, **options)
        if smallest > 1:
            assert sliced(c.equation, c.shapes, smallest, **options).peak_bytes == smallest, c
            with pytest.raises(PathError, match=f"limit of {smallest} bytes or more"):
                sliced(c.equation, c.shapes, smallest - 1, **options)
        for limit in (2 * smallest + 1, 5 * smallest + 1, 40 * smallest + 1):
            assert sliced(c.equation, c.shapes, limit, **options).peak_bytes <= limit, c


def test_a_larger_limit_never_costs_more():
    for seed in range(6):
        text, shapes = random_network(seed, most=6)
        smallest = least(text, shapes)
        prices = []
        for factor in (1, 4, 64, 10**4, 10**9):
            plan = sliced(text, shapes, smallest * factor + 1)
            assert plan.peak_bytes <= smallest * factor + 1
            prices.append(plan.n_slices)
        assert prices[-1] == 1
        assert prices[0] >= prices[-1]


def test_an_output_label_is_sliced_where_a_permute_takes_memory():
    shapes = ((64, 40, 30), (64, 30, 20))
    whole = sliced("bij,bjk->kib", shapes, None)
    assert whole.n_slices == 1
    assert whole.blocks == ()
    plan = sliced("bij,bjk->kib", shapes, whole.peak_bytes // 8)
    assert plan.peak_bytes <= whole.peak_bytes // 8
    assert plan.n_slices > 1


def test_unknown_sizes_need_hints():
    with pytest.raises(
        SizeError, match=r"requires size_hints .* with memory_limit.* got none for 'b'"
    ):
        sliced("bij,bjk->bik", ((None, 4, 5), (None, 5, 6)), 4000)
    plan = sliced("bij,bjk->bik", ((None, 4, 5), (None, 5, 6)), 4000, hints=(("b", 32),))
    assert plan.peak_bytes <= 4000
    assert plan.blocks == (("b", 1),)  # which divides whatever it turns out to be


def test_slices_of_half_types_add_up_in_float32():
    plan = sliced("ij,jk,kl->il", ((64, 64),) * 3, 50_000, dtype="float16")
    assert plan.blocks
    assert plan.plan.dtype == "float32"
    assert sliced("ij,jk->ik", ((64, 64),) * 2, None, dtype="float16").plan.dtype == "float16"
    plan = sliced("ij,jk,kl->il", ((64, 64),) * 3, 40_000, dtype="int8")
    assert plan.blocks
    assert plan.plan.dtype == "int8"  # modulo 2**8, in any order


def test_more_flops_are_counted():
    shapes = ((64, 64),) * 4
    whole, cut = (sliced("ij,jk,kl,lm->im", shapes, limit) for limit in (None, 5000))
    assert cut.flops >= whole.flops
    assert cut.flops_backward >= whole.flops_backward > whole.flops


def held(plan):
    return plan.forward_bytes, plan.backward_bytes


@pytest.mark.parametrize(
    ("text", "dtype", "forward", "backward"),
    [
        ("ij,jk->ik", "float32", 0, 0),
        ("ij,jk,kl->il", "float32", 256, 2 * 256),  # the product of two; it and its gradient
        ("ij,jk->ik", "complex64", 0, 512),  # the other operand's conjugate
        ("ij,jk,kl->il", "complex64", 512, 3 * 512),
    ],
)
def test_what_is_held_without_slices(text, dtype, forward, backward):
    plan = sliced(text, ((8, 8),) * len(text.partition("->")[0].split(",")), None, dtype)
    assert held(plan) == (forward, backward)
    assert plan.peak_bytes == backward


def test_what_is_held_and_computed_by_slices():
    shapes = ((64, 64),) * 3
    whole = sliced("ij,jk,kl->il", shapes, None)
    plan = sliced("ij,jk,kl->il", shapes, whole.peak_bytes - 1)
    assert dict(plan.blocks) == {"i": 16, "k": 32}
    assert (plan.n_slices, plan.segment) == (8, 1)
    ij, jk, kl, ik, il = (4 * n for n in (16 * 64, 64 * 32, 32 * 64, 16 * 32, 16 * 64))
    # Blocks are copies; what a slice gives is added to what is there, so both are held.
    assert plan.forward_bytes == max(ij + jk + ik, ik + kl + 2 * il)
    first_again, pull_last = il + ij + jk + ik, il + ik + kl + 2 * kl
    assert plan.backward_bytes == max(first_again, pull_last) == plan.peak_bytes
    product = 2 * 64**3
    assert plan.flops == whole.flops == 2 * product
    assert plan.flops_backward == whole.flops_backward == 5 * product  # the first again, and four
    assert plan.accumulates("ij") and plan.accumulates("il") and not plan.accumulates("ik")


def test_slices_of_half_types_are_cast_and_added_up_whole():
    plan = sliced("ij,jk,kl->il", ((8, 64), (64, 16), (16, 32)), 9600, dtype="float16")
    assert dict(plan.blocks) == {"i": 1, "j": 32, "k": 1}
    block, ik, add = 32 * (2 + 4), 4, 32 * (4 + 4 + 2)  # a copy and its cast; old, new and cast
    assert plan.forward_bytes == 4 * 8 * 32 + ik + block + add
    sums = 4 * (8 * 64 + 64 * 16 + 16 * 32)  # no gradient's blocks are of one slice
    assert plan.backward_bytes == sums + 4 * block + ik + add
