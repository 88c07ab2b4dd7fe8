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


def test_slices_of_half_types_add_up_in_float32():
    plan = sliced("ij,jk,kl->il", ((64, 64),) * 3, 50_000, dtype="float16")
    assert plan.blocks
    assert plan.plan.dtype == "float32"


def test_more_flops_are_counted():
    shapes = ((64, 64),) * 4
    whole, cut = (sliced("ij,jk,kl,lm->im", shapes, limit) for limit in (None, 5000))
    assert cut.flops >= whole.flops
    assert cut.flops_backward >= whole.flops_backward > whole.flops
