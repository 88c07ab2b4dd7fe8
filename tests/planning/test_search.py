"""The search for paths: the fewest FLOPs of all, on random networks, and alike in every process."""

from __future__ import annotations

import itertools
import math
import os
import random
import subprocess
import sys

import opt_einsum
import pytest

from tests.networks import count, random_network, reduced_network, regular
from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.algebra.sizes import bind_call
from tf_einsum_grad.planning import search
from tf_einsum_grad.planning.plan import make_plan
from tf_einsum_grad.planning.search import (
    _exact_part,
    _improve,
    _log_removed,
    _Network,
    best_path,
    fewest_flops,
)


def pairwise_paths(n):
    if n == 1:
        yield ()
        return
    for pair in itertools.combinations(range(n), 2):
        for rest in pairwise_paths(n - 1):
            yield (pair, *rest)


def network(seed, **keywords):
    return reduced_network(*random_network(seed, **keywords))


def flops_first(equation, sizes):
    return lambda path, most: count(equation, sizes, path)[0]


def flops_last(equation, sizes):
    return lambda path, most: -count(equation, sizes, path)[0]


def opt_einsum_path(optimizer, equation, sizes):
    inputs, output = list(map(frozenset, equation.inputs)), frozenset(equation.output)
    return optimizer(inputs, output, sizes)


def test_no_path_takes_fewer_flops():
    for seed in range(60):
        equation, sizes = network(seed, least=3, most=5)
        found = count(equation, sizes, fewest_flops(equation, sizes))[0]
        every = (count(equation, sizes, p)[0] for p in pairwise_paths(len(equation.inputs)))
        assert found == min(every), (str(equation), sizes)


@pytest.mark.parametrize("prices", [flops_first, flops_last])
def test_two_thousand_random_networks(prices):
    """Whatever prices say, a path takes at most 1.5 times the FLOPs that opt_einsum's take."""
    for seed in range(1000) if prices is flops_first else range(1000, 2000):
        equation, sizes = network(seed)
        found = count(equation, sizes, best_path(equation, sizes, prices(equation, sizes)))[0]
        others = [opt_einsum.paths.greedy, opt_einsum.paths.dynamic_programming]
        if len(equation.inputs) <= 5:
            others.append(opt_einsum.paths.optimal)
        for optimizer in others:
            other = count(equation, sizes, opt_einsum_path(optimizer, equation, sizes))[0]
            assert found <= 1.5 * other, (seed, str(equation), sizes, optimizer)


def test_equal_terms_do_not_mislead():
    """Two terms `e`: opt_einsum remembers what a pair of terms gives, whatever else is left."""
    text, shapes = (
        "ebf,e,egc,afec,abg,g,egc,e->ba",
        [(3, 50, 2), (3,), (3, 100, 50), (50, 2, 3, 50), (50, 50, 100), (100,), (3, 100, 50), (3,)],
    )
    bound = bind_call(text, shapes)
    made = {
        optimize: make_plan(bound.equation, bound.sizes, "float32", optimize).flops
        for optimize in ("auto", "optimal", "dp")
    }
    assert made["optimal"] <= made["dp"] < 10e6
    assert made["auto"] <= 1.5 * made["optimal"]


@pytest.mark.parametrize("n", [11, 16, 30, 60])
def test_of_many_operands_a_path_beats_the_greedy_one(n):
    ratios = []
    for seed in range(12):
        equation, sizes = network(seed, least=n, most=n, sizes=(2, 3, 5, 8, 20, 50, 100))
        found = best_path(equation, sizes, None)  # prices are not asked for
        greedy = opt_einsum_path(opt_einsum.paths.greedy, equation, sizes)
        ratios.append(count(equation, sizes, found)[0] / count(equation, sizes, greedy)[0])
    assert max(ratios) <= 1
    assert math.prod(ratios) ** (1 / len(ratios)) < 0.8


def test_drawn_orders_find_what_usual_ones_do_not():
    """In networks without a shape that helps: each tensor is bound to three others at random."""
    ratios = []
    for seed in range(6):
        equation, sizes = reduced_network(*regular(24, 8, seed))
        path = best_path(equation, sizes, None)
        assert path == best_path(equation, sizes, None)
        network = _Network.of(equation, sizes)
        usual = [_improve(network, network.greedy(c)) for c in ("memory-removed", _log_removed)]
        ratios.append(count(equation, sizes, path)[0] / min(map(network.flops, usual)))
    assert max(ratios) <= 1
    assert math.prod(ratios) ** (1 / len(ratios)) < 0.8


def test_parts_that_do_the_same_are_decided_once():
    labels = [chr(0x4E00 + k) for k in range(201)]
    inputs = tuple(a + b for a, b in itertools.pairwise(labels))
    equation = Equation(inputs, labels[0] + labels[-1])
    chain = _Network.of(equation, dict.fromkeys(labels, 17))
    before = _exact_part.cache_info()
    _improve(chain, chain.greedy("memory-removed"))
    after = _exact_part.cache_info()
    assert after.misses - before.misses < 10 < 50 < after.hits - before.hits


def test_a_chain_of_unequal_matrices_is_near_its_best():
    rng = random.Random(0)
    labels = [chr(0x4E00 + k) for k in range(41)]
    sizes = {label: rng.randint(2, 400) for label in labels}
    inputs = tuple(a + b for a, b in itertools.pairwise(labels))
    equation = Equation(inputs, labels[0] + labels[-1])
    fewest = {}  # the textbook's dynamic programming over stretches of a chain
    for width in range(1, 41):
        for i in range(41 - width):
            a, b = labels[i], labels[i + width]
            fewest[i, i + width] = min(
                (
                    fewest[i, k] + fewest[k, i + width]
                    + 2 * sizes[a] * sizes[labels[k]] * sizes[b]
                    for k in range(i + 1, i + width)
                ),
                default=0,
            )  # fmt: skip
    found = count(equation, sizes, best_path(equation, sizes, None))[0]
    assert fewest[0, 40] <= found <= 1.5 * fewest[0, 40]


def test_prices_decide_among_similar_paths():
    equation, sizes = parse_equation("i,i,i,i->i"), {"i": 9}
    asked = []
    best_path(equation, sizes, lambda path, most: asked.append(path) or 2.0)
    assert len(asked) == len(set(asked)) == 5  # the first, and four swaps of three of its tensors
    for wanted in asked:
        assert (
            best_path(equation, sizes, lambda p, most, w=wanted: 1.0 if p == w else 2.0) == wanted
        )


@pytest.mark.parametrize(
    ("text", "sizes", "path"),
    [
        # (v M) M' costs a hundred times less than v (M M').
        ("i,ij,jk->k", {"i": 100, "j": 100, "k": 100}, ((1, 2), (0, 1))),
        # (M N) V needs a fifth of what M (N V) does, though neither needs memory to speak of.
        ("ij,jk,kl->il", {"i": 2, "j": 100, "k": 100, "l": 10}, ((1, 2), (0, 1))),
        # An outer product of two vectors would need more memory than everything else.
        ("i,j,k->ij", {"i": 99, "j": 99, "k": 1}, ((0, 1), (0, 1))),
        ("i,ij,j->", {"i": 100, "j": 100}, ((0, 2), (0, 1))),
    ],
)
def test_what_is_not_similar_is_not_asked_for(text, sizes, path):
    asked = []
    best_path(parse_equation(text), sizes, lambda path, most: asked.append(path) or 0.0)
    assert asked and path not in asked


def test_a_tie_is_for_the_path_of_fewest_flops():
    equation, sizes = parse_equation("i,i,i->i"), {"i": 9}
    first = fewest_flops(equation, sizes)
    assert best_path(equation, sizes, lambda path, most: 1.0 if path == first else 0.99) == first
    assert best_path(equation, sizes, lambda path, most: 1.0 if path == first else 0.97) != first


def test_the_search_goes_on_from_what_is_cheaper():
    """Prices that fall with each swap: farther than one from where it starts."""
    equation, sizes = parse_equation("a,b,c,d,e->abcde"), dict.fromkeys("abcde", 1)
    asked = []

    def weigh(path, most):
        asked.append(path)
        return -len(asked)

    found = best_path(equation, sizes, weigh)
    assert found == asked[-1]
    assert len(asked) == len(set(asked)) == 8


PROGRAM = """
from tests.networks import count, random_network, reduced_network
from tf_einsum_grad.algebra.sizes import bind_call
from tf_einsum_grad.planning.plan import make_plan
for seed in range(12):
    text, shapes = random_network(seed, most=30)
    bound = bind_call(text, shapes)
    print(make_plan(bound.equation, bound.sizes, "float32"))
"""


def test_the_same_call_has_the_same_plan_in_every_process():
    plans = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert plans[0] == plans[1] != ""


def test_random_numbers_of_others_are_left_alone():
    random.seed(1)
    state = random.getstate()
    equation, sizes = network(0, least=20, most=20)
    best_path(equation, sizes, None)
    assert random.getstate() == state


def test_parts_that_do_the_same_are_equal_whatever_their_labels():
    sizes = {"z": 2, "a": 3, "b": 5, "c": 7}
    network = search._Network.of(Equation(("zab", "bc", "ca"), "az"), sizes)
    part = network.part(network.terms[1:], 0b10)  # bc,ca->a
    assert part.renumbered() == search._Network((0b011, 0b110), 0b100, (5, 7, 3), {})
    assert network.renumbered() == network
