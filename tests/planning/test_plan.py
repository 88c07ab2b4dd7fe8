import itertools
import math
import random

import numpy as np
import pytest

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.errors import SizeError
from tf_einsum_grad.algebra.sizes import bind_call
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.instructions import Permute
from tf_einsum_grad.lowering.lower import cost_both_ways, lower
from tf_einsum_grad.lowering.machine import Machine
from tf_einsum_grad.planning import plan as planning
from tf_einsum_grad.planning.path import find_path
from tf_einsum_grad.planning.plan import known_and_likely, make_plan


def plan(text, *shapes, optimize="auto", hints=()):
    binding = bind_call(text, shapes)
    return make_plan(binding.equation, binding.sizes, "float32", optimize, hints)


def equations(made):
    return [str(step.equation) for step in made.steps]


@pytest.mark.parametrize(
    ("text", "shapes", "steps"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], ["ij,jk->ik"]),
        ("ijkk->ij", [(2, 3, 4, 4)], ["ijkk->ij"]),
        ("ii,ij->j", [(3, 3), (3, 2)], ["ii->i", "i,ij->j"]),  # repeated labels by themselves
        ("ij,k->ik", [(2, 3), (4,)], ["ij->i", "i,k->ik"]),  # labels of one operand alone, too
        ("i,j->ijj", [(2,), (3,)], ["i,j->ij", "ij->ijj"]),
        ("i,i,i->i", [(2,)] * 3, ["i,i->i", "i,i->i"]),
        (",->", [(), ()], [",->"]),
        ("i->i", [(2,)], ["i->i"]),
        ("iij->ji", [(2, 2, 3)], ["iij->ji"]),  # a single operand all at once
    ],
)
def test_steps(text, shapes, steps):
    assert equations(plan(text, *shapes)) == steps


def test_every_label_of_a_pairwise_step_has_one_of_the_four_roles():
    made = plan("abc,acdd,bee,fa->dfa", (2, 3, 4), (2, 4, 5, 5), (3, 6, 6), (7, 2))
    for step in made.steps:
        if len(step.operands) == 2:
            terms = (*step.equation.inputs, step.equation.output)
            assert all(len(set(term)) == len(term) for term in terms)
            assert all(sum(x in term for term in terms) >= 2 for x in step.equation.labels)


def test_unknown_sizes_are_large():
    unknown = (None, None, 64)
    made = plan("bqd,bkd,bkv->bqv", unknown, unknown, unknown)
    assert equations(made)[0] in ("bkd,bkv->bdv", "bkd,bkv->bvd")
    hinted = plan("bqd,bkd,bkv->bqv", unknown, unknown, unknown, hints=(("q", 2), ("k", 2)))
    assert equations(hinted)[0].startswith("bqd,bkd->")


def test_steps_that_do_the_same_share_one_contraction():
    made = plan("ab,bc,cd,de->ae", *[(8, 8)] * 4, optimize=False)
    assert len(made.steps) == 3
    assert len({step.contraction for step in made.steps}) == 2  # the first, and those after it


def test_costs():
    made = plan("ij,jk,kl->il", (2, 3), (3, 4), (4, 5), optimize=False)
    assert made.flops == 2 * (2 * 3 * 4 + 2 * 4 * 5)
    assert made.largest_intermediate == 2 * 4
    assert plan("ij,jk->ik", (2, 3), (3, 4)).largest_intermediate == 0


def test_an_intermediate_takes_the_order_that_is_cheapest_both_ways():
    sizes = {"b": 64, "k": 32, "n": 32, "m": 64}

    def both_ways(order):
        steps = Equation(("bk", "kn"), order), Equation((order, "knm"), "bm")
        return sum(cost_both_ways(Contraction.of(step, sizes, "float32")) for step in steps)

    made = plan("bk,kn,knm->bm", (64, 32), (32, 32), (32, 32, 64), optimize=[(0, 1), (0, 1)])
    chosen = made.steps[0].equation.output
    every = {order: both_ways(order) for order in map("".join, itertools.permutations("bkn"))}
    assert every[chosen] == min(every.values()) < 0.7 * max(every.values())


def test_of_paths_with_as_many_flops_the_one_with_the_fastest_kernels_is_taken():
    # d b first saves 1% of the FLOPs; then `b` and `d`, apart in `bacd`, want it permuted.
    text, shapes = "d,bacd,b->ac", [(2,), (128, 1024, 3, 2), (128,)]
    made = plan(text, *shapes)
    assert equations(made) == ["bacd,b->acd", "d,acd->ac"]
    instructions = [
        i for step in made.steps for part in lower(step.contraction).prepare for i in part
    ]
    assert not any(isinstance(i, Permute) for i in instructions)
    by_flops = plan(text, *shapes, optimize="optimal")  # whoever names an optimizer gets its path
    assert equations(by_flops)[0] == "d,b->db"
    assert made.flops < 1.01 * by_flops.flops


def test_a_tie_is_for_the_path_with_the_fewest_flops():
    text, shapes = "bnd,nm,bmd->bd", [(32, 196, 128), (196, 196), (32, 196, 128)]
    assert (
        plan(text, *shapes).path == plan(text, *shapes, optimize="optimal").path == ((0, 1), (0, 1))
    )


def test_hints_weigh_like_sizes():
    rng = random.Random(0)
    for _ in range(40):
        sizes = {label: rng.choice([2, 8, 64, 1000]) for label in "abcd"}
        terms = ["".join(rng.sample("abcd", rng.randint(1, 3))) for _ in range(3)]
        text = f"{','.join(terms)}->{''.join(sorted(set(terms[0] + terms[1])))[:2]}"
        hints = tuple((label, sizes[label]) for label in sorted(set("".join(terms))))
        known = plan(text, *([sizes[label] for label in term] for term in terms))
        hinted = plan(text, *([None] * len(term) for term in terms), hints=hints)
        assert hinted.path == known.path, (text, sizes)
        # Orders of labels and kernels as well, but for what only a known size of 1 allows.
        assert equations(hinted) == equations(known)
        kernels = [[lower(step.contraction).kernel for step in p.steps] for p in (hinted, known)]
        assert kernels[0] == kernels[1], (text, sizes)


def test_steps_are_for_the_dtype_target_and_machine_of_the_plan():
    machine = Machine(stream=1.0)
    made = make_plan(
        Equation(("ij", "jk"), "ik"),
        tuple(dict.fromkeys("ijk", 2).items()),
        "int8",
        target="xla",
        machine=machine,
    )
    (step,) = made.steps
    found = step.contraction.dtype, step.contraction.target, step.contraction.machine
    assert found == ("int8", "xla", machine)


def test_what_is_known_needs_no_hint():
    made = plan("ij,jk->ik", (2, None), (None, 3), hints=(("i", 7), ("j", 1)))
    assert dict(made.likely_sizes) == {"i": 2, "j": 1, "k": 3}


def test_hints_are_any_integers():
    shapes = (None, 2), (2, None)
    hinted = plan("ij,jk->ik", *shapes, hints=(("i", np.int64(7)),))
    assert hinted == plan("ij,jk->ik", *shapes, hints=(("i", 7),))
    assert type(dict(hinted.likely_sizes)["i"]) is int


@pytest.mark.parametrize(
    ("hint", "message"),
    [(("i", 0), "integer from 1 on for label 'i', got 0"), (("x", 1), "own labels, got 'x'")],
)
def test_hints_that_are_none(hint, message):
    with pytest.raises(SizeError, match=message):
        plan("ij,jk->ik", (2, 3), (3, 4), hints=(hint,))


def test_an_intermediate_takes_the_order_of_what_comes_next():
    path = [(0, 1), (0, 1)]
    shapes = (1024, 256), (256, 1024), (256, 1024)
    assert equations(plan("ba,ab,ab->", *shapes, optimize=path)) == ["ba,ab->ab", "ab,ab->"]
    made = plan("b,dc,bcd->b", (64,), (256, 256), (64, 256, 256), optimize=path)
    assert equations(made) == ["b,dc->bcd", "bcd,bcd->b"]
    made = plan("a,dca,ca->acd", (64,), (2, 256, 64), (256, 64), optimize=path)
    assert equations(made)[0] == "a,dca->dca"  # not yet in the order of the output


def test_paths_are_found_and_weighed_without_what_an_operand_has_to_itself():
    made = plan("c,da,bc->ba", (64,), (256, 256), (256, 64))
    assert equations(made) == ["da->a", "c,bc->b", "a,b->ba"]


def test_hints_choose_among_similar_paths():
    sizes = {"a": 256, "b": 2, "c": 256, "d": 2}
    unknown = [(None,) * len(term) for term in ("d", "ba", "dca")]
    made = plan("d,ba,dca->bc", *unknown, hints=tuple(sizes.items()))
    assert equations(made)[0] == "ba,dca->dcb"  # 0.4% more FLOPs, at half the price
    assert equations(plan("d,ba,dca->bc", *unknown))[0] == "d,dca->ca"


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        # The result of the first two is priced with `cd`, which its own step still holds.
        ([(0, 1, 2), (0, 1)], ["ab,bc->ac", "ac,cd->ad", "de,ad->ae"]),
        ([(1, 2, 3), (1, 0)], ["bc,cd->bd", "bd,de->be", "be,ab->ae"]),
        ([(2, 0, 1), (1, 0)], ["cd,ab->cdab", "cdab,bc->ad", "ad,de->ae"]),
        ([(0, 1, 2, 3)], ["ab,bc->ac", "ac,cd->ad", "ad,de->ae"]),
    ],
)
def test_steps_of_a_path_that_takes_several_at_once(path, steps):
    made = plan("ab,bc,cd,de->ae", *[(8, 8)] * 4, optimize=path)
    assert equations(made) == steps


def test_left_to_right_without_an_optimizer():
    assert find_path(Equation(("a",) * 4, ""), {"a": 2}, False) == ((0, 1), (0, 2), (0, 1))


def test_what_is_over_before_an_operand_is_read_takes_the_order_of_a_matmul(monkeypatch):
    """Every other step's labels stand in the cheapest order; of these nobody asks."""
    asked = []

    def cost(contraction):
        asked.append(contraction)
        return cost_both_ways(contraction)

    monkeypatch.setattr(planning, "cost_both_ways", cost)
    for n, tries in ((400, False), (4, True)):  # with a large operand and without
        asked.clear()
        plan("ab,bc,acxy->xy", (4, 5), (5, 6), (4, 6, n, n))
        assert ("ab,bc->ca" in [str(contraction.equation) for contraction in asked]) == tries


def test_a_path_that_costs_more_than_it_may_is_left_early(monkeypatch):
    weights = []

    class Planner(planning._Planner):
        def weigh(self, path, most):
            again = planning_class(self.equation, self.contraction, self.sizes)
            weights.append((super().weigh(path, most), again.weigh(path, 1e-9)))
            return weights[-1][0]

    planning_class = planning._Planner
    monkeypatch.setattr(planning, "_Planner", Planner)
    plan("ab,bc,cd,de->ae", *[(9, 9)] * 4)
    assert weights[0][0] < math.inf
    assert all(early == math.inf for _, early in weights)


def test_a_path_weighs_what_its_steps_and_their_gradients_do():
    equation, path = Equation(("iji", "jk", "kl"), "li"), [(1, 2), (0, 1)]
    sizes = {"i": 8, "j": 300, "k": 20, "l": 50}

    def planner():
        return planning._Planner(equation, lambda x: Contraction.of(x, sizes, "float32"), sizes)

    steps = planner().follow(path)
    assert [str(step.equation) for step in steps] == ["iji->ij", "jk,kl->jl", "ij,jl->li"]
    price = sum(cost_both_ways(step.contraction) for step in steps)
    assert planner().weigh(path, math.inf) == planner().weigh(path, price) == price
    assert planner().weigh(path, 0.99 * price) == math.inf


def test_what_is_known_of_elastic_labels_is_a_guess():
    equation = Equation(("ijk", "ij"), "k")
    sizes = (("i", 3), ("j", 0), ("k", None))
    assert known_and_likely(equation, sizes, (("k", 7),), "ij") == (
        {"i": None, "j": 0, "k": None},
        {"i": 3, "k": 7},
        {"i": 3, "j": 0, "k": 7},
    )
    found = make_plan(equation, sizes, "float32", elastic="ij").steps[-1].contraction
    assert None in dict(found.sizes).values() and 3 in dict(found.hints).values()
