"""Contraction paths: every form of `optimize`, unknown sizes, and speed."""

from __future__ import annotations

import itertools
import time

import numpy as np
import opt_einsum
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tests.corpus import FAMILIES
from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.algebra.errors import PathError
from tf_einsum_grad.algebra.roles import UNKNOWN_SIZE
from tf_einsum_grad.algebra.sizes import bind_sizes
from tf_einsum_grad.planning.path import find_path, hashable_optimize
from tf_einsum_grad.planning.plan import make_plan

SPELLINGS = ("auto", "greedy", "optimal", "dp", "branch-all", "branch-2", "eager", "opportunistic")
SPELLINGS += ("auto-hq", "random-greedy", "random-greedy-128", True, False, ("greedy", 50))
SPELLINGS += (["greedy", None], ("optimal", 8), ("auto", 1e6), ("greedy", "max_input"), ("dp", -1))
# Made anew for each equation, since some remember the one they have seen.
OBJECTS = {
    "DynamicProgramming": lambda: opt_einsum.DynamicProgramming(minimize="size"),
    "BranchBound": lambda: opt_einsum.BranchBound(nbranch=2),
    "RandomGreedy": lambda: opt_einsum.RandomGreedy(max_repeats=4),
    "a function": lambda: (
        lambda inputs, output, sizes, memory_limit=None: [(0, 1)] * (len(inputs) - 1)
    ),
    "NumPy integers": lambda: lambda inputs, *_: np.array([(0, 1)] * (len(inputs) - 1)),
}
MANY = tuple(case for case in FAMILIES["many"] if len(case.shapes) <= 7)[::3]


def plan(equation, shapes, **keywords):
    binding = bind_sizes(parse_equation(equation), shapes)
    return make_plan(binding.equation, binding.sizes, "float32", **keywords)


@pytest.mark.parametrize("optimize", [*SPELLINGS, *OBJECTS], ids=str)
def test_every_path_gives_the_same_values(optimize):
    for case in MANY:
        operands = case.draw()
        chosen = (
            OBJECTS[optimize]() if isinstance(optimize, str) and optimize in OBJECTS else optimize
        )
        got = teg.einsum(case.equation, *operands, optimize=chosen, **case.kwargs)
        np.testing.assert_array_equal(got, case.reference.value(operands), err_msg=str(case))


@pytest.mark.parametrize("source", ["numpy", "numpy optimal", "opt_einsum", "einsum_path"])
def test_paths_that_others_found(source):
    for case in MANY:
        operands = case.draw()
        path = (
            {
                "numpy": lambda e, *x: np.einsum_path(e, *x)[0],
                "numpy optimal": lambda e, *x: np.einsum_path(e, *x, optimize="optimal")[0],
                "opt_einsum": lambda e, *x: opt_einsum.contract_path(e, *x)[0],
                "einsum_path": lambda e, *x: teg.einsum_path(e, *x)[0],
            }[source](case.equation, *operands)
            if not case.sizes
            else True
        )
        got = teg.einsum(case.equation, *operands, optimize=path, **case.kwargs)
        np.testing.assert_array_equal(got, case.reference.value(operands), err_msg=str(case))


def test_every_path_of_four_operands():
    equation, shapes = "ab,bc,cd,da->", ((2, 3), (3, 4), (4, 5), (5, 2))
    rng = np.random.default_rng(0)
    operands = [rng.integers(-3, 4, shape).astype(float) for shape in shapes]
    wanted = np.einsum(equation, *operands)
    pairs = [itertools.combinations(range(n), 2) for n in (4, 3, 2)]
    for path in itertools.product(*pairs):
        assert teg.einsum(equation, *operands, optimize=path).numpy() == wanted, path


def test_numpy_takes_our_paths():
    rng = np.random.default_rng(0)
    operands = [rng.random(shape) for shape in ((2, 3), (3, 4), (4, 5))]
    path, report = teg.einsum_path("ij,jk,kl->il", *operands)
    assert path[0] == "einsum_path" and "ij,jk,kl->il" in report
    np.testing.assert_allclose(
        np.einsum("ij,jk,kl->il", *operands, optimize=path), operands[0] @ operands[1] @ operands[2]
    )


def test_the_optimizer_is_told_sizes_and_is_asked_each_time():
    asked = []

    def optimizer(inputs, output, sizes, memory_limit=None):
        asked.append((inputs, output, dict(sizes)))
        return [(0, 1), (0, 1)]

    operands = [tf.ones(shape) for shape in ((2, 3), (3, 4), (4, 5))]
    for _ in range(2):
        teg.einsum("ij,jk,kl->il", *operands, optimize=optimizer)
    assert len(asked) == 2
    inputs, output, sizes = asked[0]
    assert list(map(set, inputs)) == [{"i", "j"}, {"j", "k"}, {"k", "l"}]
    assert set(output) == {"i", "l"}
    assert sizes == {"i": 2, "j": 3, "k": 4, "l": 5}


def test_the_cheap_order_is_taken():
    # (v M) M' costs far less than v (M M'), from either end.
    assert plan("i,ij,jk->k", ((1000,), (1000, 1000), (1000, 1000))).path == ((0, 1), (0, 1))
    assert plan("ij,jk,k->i", ((1000, 1000), (1000, 1000), (1000,))).path == ((1, 2), (0, 1))


def test_none_is_auto_and_an_empty_path_contracts_everything():
    shapes = ((2, 3), (3, 4), (4, 5))
    assert plan("ij,jk,kl->il", shapes, optimize=None).path == plan("ij,jk,kl->il", shapes).path
    assert plan("ij,jk,kl->il", shapes, optimize=["einsum_path"]).path == ((0, 1, 2),)


def test_hints_and_unknown_sizes():
    equation, shapes = "ij,jk,kl->il", ((None, None), (None, None), (None, None))
    narrow = plan(equation, shapes, hints=(("i", 1000), ("j", 2), ("k", 1000), ("l", 2)))
    other = plan(equation, shapes, hints=(("i", 2), ("j", 1000), ("k", 2), ("l", 1000)))
    assert {narrow.path[0], other.path[0]} == {(0, 1), (1, 2)}
    hints = narrow.likely_sizes, other.likely_sizes
    named = [plan(equation, shapes, hints=h, optimize="optimal").path for h in hints]
    assert named == [narrow.path, other.path]


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"i": None, "j": 2, "k": None}, {"i": UNKNOWN_SIZE, "j": 2, "k": UNKNOWN_SIZE}),
        ({"i": None, "j": 5000, "k": 2}, {"i": 5000, "j": 5000, "k": 2}),  # unknown is large
        ({"i": 0, "j": 3, "k": 2}, {"i": 1, "j": 3, "k": 2}),  # 0 would make every path free
    ],
)
def test_sizes_to_choose_a_path_with(sizes, told):
    asked = []

    def optimizer(inputs, output, sizes, memory_limit=None):
        asked.append(dict(sizes))
        return [(0, 1), (0, 1)]

    find_path(parse_equation("ij,jk,k->i"), sizes, optimizer)
    assert asked == [told]


def test_a_memory_limit_reaches_the_optimizer():
    equation, sizes = parse_equation("i,ij,j->"), {"i": 4, "j": 4}
    assert find_path(equation, sizes, ("greedy", 1)) == ((0, 1, 2),)
    for unlimited in (None, -1, float("inf"), np.float32(1e6), np.int64(50)):
        assert len(find_path(equation, sizes, ("greedy", unlimited))) == 2


@pytest.mark.parametrize(
    ("text", "largest"), [("i,ij,j->", 12), ("i,j,jk->ik", 8), ("i,j,k->ik", 6), ("i,i,j->j", 4)]
)
def test_the_limit_max_input_is_the_largest_operand_or_result(text, largest):
    asked = []

    def optimizer(inputs, output, sizes, memory_limit=None):
        asked.append(memory_limit)
        return [(0, 1), (0, 1)]

    name = f"asked for {text}"
    opt_einsum.paths.register_path_fn(name, optimizer)
    find_path(parse_equation(text), {"i": 3, "j": 4, "k": 2}, (name, "max_input"))
    assert asked == [largest]
    # As opt_einsum has it.
    terms = text.partition("->")[0].split(",")
    shapes = [[{"i": 3, "j": 4, "k": 2}[x] for x in term] for term in terms]
    opt_einsum.contract_path(text, *shapes, shapes=True, optimize=name, memory_limit="max_input")
    assert asked == [largest] * 2


def test_optimal_within_a_limit_and_names_in_any_case():
    equation, sizes = parse_equation("i,ij,j->"), {"i": 4, "j": 4}
    assert find_path(equation, sizes, ("optimal", 1)) == ((0, 1, 2),)
    for name in ("optimal", "OPTIMAL", ("optimal", None), ("optimal", -1)):
        assert len(find_path(equation, sizes, name)) == 2


def test_an_optimizer_is_not_asked_where_there_is_one_path():
    asked = []
    for text in ("ij,jk->ik", "ij->i"):
        find_path(parse_equation(text), {"i": 2, "j": 3, "k": 4}, lambda *_: asked.append(0))
    assert not asked


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ([(0, 1)], ((0, 1), (0, 1, 2))),  # the rest at once, as NumPy
        ([(0, 1, 2)], ((0, 1, 2), (0, 1))),
        ([(3,), (0, 1, 2, 3)], ((3,), (0, 1, 2, 3))),
    ],
)
def test_a_path_that_leaves_something_over_is_completed(path, whole):
    found = find_path(parse_equation("i,i,i,i->i"), {"i": 2}, hashable_optimize(path))
    assert found == whole


@pytest.mark.parametrize("path", [[(True, 0), (0, 1)], [(0, 2), (0, 2)], [(0, 1, 2), (0, 1)]])
def test_what_is_no_path(path):
    with pytest.raises(PathError):
        find_path(parse_equation("i,i,i->i"), {"i": 2}, hashable_optimize(path))


@pytest.mark.parametrize(
    ("optimize", "key"),
    [
        (None, "auto"),
        (True, "auto"),
        (False, False),
        ("greedy", "greedy"),
        (["greedy", 5], ("greedy", 5)),
        ([[np.int64(0), 1]], ((0, 1),)),
        (["einsum_path", (0, 1)], ((0, 1),)),
        (lambda *_: [(0, 1)], None),
    ],
)
def test_keys(optimize, key):
    assert hashable_optimize(optimize) == key


# 12 and 110 ms on an idle machine; a rule that is quadratic takes minutes.
@pytest.mark.parametrize(("n", "seconds"), [(100, 0.5), (1000, 3.0)])
@pytest.mark.parametrize("optimize", ["auto", "greedy"])
def test_time_to_plan_many_operands(n, seconds, optimize):
    letters = [chr(0x4E00 + i) for i in range(n + 1)]
    inputs = ",".join(a + b for a, b in itertools.pairwise(letters))
    parsed = parse_equation(f"{inputs}->{letters[0]}{letters[-1]}")
    start = time.process_time()
    made = make_plan(parsed, tuple(dict.fromkeys(letters, 2).items()), "float32", optimize)
    assert time.process_time() - start < seconds
    assert len(made.path) == n - 1


def test_a_thousand_operands_run():
    n = 1000
    letters = [chr(0x4E00 + i) for i in range(n + 1)]
    equation = (
        ",".join(a + b for a, b in itertools.pairwise(letters)) + f"->{letters[0]}{letters[-1]}"
    )
    turn = tf.constant([[0.0, 1.0], [-1.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(turn)
        result = teg.einsum(equation, *[turn] * n)
    np.testing.assert_allclose(result, np.eye(2))  # a thousand quarter turns
    assert tape.gradient(result, turn).shape == (2, 2)


def test_largest_intermediate_counts_elements():
    found = plan("ij,jk,kl->il", ((2, 3), (3, 400), (400, 5)), optimize=[(0, 1), (0, 1)])
    assert found.largest_intermediate == 800
