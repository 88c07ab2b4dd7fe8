"""What groups each instruction leaves, and the builder that writes instructions."""

import pytest

from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.builder import Builder


@pytest.mark.parametrize(
    ("instruction", "before", "after"),
    [
        (do.Permute((2, 0, 1)), ("a", "b", "c"), ("c", "a", "b")),
        (do.Reshape(("ab", "c")), ("a", "b", "c"), ("ab", "c")),
        (do.Broadcast(("a", "b")), ("a", ""), ("a", "b")),
        (do.Sum((0, 2)), ("a", "b", "c"), ("b",)),
        (do.Diagonal(0, 2, ("a", "b"), "gather"), ("a", "b", "a"), ("a", "b")),
        (do.EmbedDiagonal(0, 2, ("a", "b"), "select"), ("a", "b"), ("a", "b", "a")),
    ],
)
def test_result_of_one(instruction, before, after):
    assert instruction.result(before) == after


@pytest.mark.parametrize(
    ("instruction", "a", "b", "after"),
    [
        (do.MatMul(False, False, False), ("m", "k"), ("k", "n"), ("m", "n")),
        (do.MatMul(True, True, True), ("b", "k", "m"), ("b", "n", "k"), ("b", "m", "n")),
        (do.Multiply(), ("a", "", "c"), ("b", ""), ("a", "b", "c")),
        (do.Multiply(), (), ("b",), ("b",)),
        (do.NativeEinsum("ab,bc->ca"), ("x", "y"), ("y", "z"), ("z", "x")),
    ],
)
def test_result_of_two(instruction, a, b, after):
    assert instruction.result(a, b) == after


def test_alternations_and_the_last_run():
    assert [do.alternations(flags) for flags in ((), (1,), (1, 1), (1, 0, 0, 1))] == [0, 1, 1, 3]
    assert do.last_run(("a", "b", "c"), (1, 0, 0)) == ("b", "c")
    assert do.last_run((), ()) == ()


def test_of_two_reshapes_the_last_is_enough():
    builder = Builder(("a", "b", "c")).reshape(("ab", "c")).reshape(("abc",))
    assert builder.instructions == [do.Reshape(("abc",))]


def test_what_changes_nothing_is_not_written():
    builder = Builder(("a", "b")).reshape(("a", "b")).permute(("a", "b")).broadcast(("a", "b"))
    assert builder.instructions == []


def test_a_broadcast_in_few_dimensions_is_one_step():
    builder = Builder(("a", "c")).broadcast(("a", "b", "c", "d"))
    assert builder.instructions == [
        do.Reshape(("a", "", "c", "")),
        do.Broadcast(("a", "b", "c", "d")),
    ]


def test_a_broadcast_in_many_dimensions_goes_from_the_innermost():
    groups = tuple("abcdef")
    builder = Builder(("a", "c", "e")).broadcast(groups)
    steps = builder.instructions[1:]
    assert [step.groups for step in steps] == [
        ("a", "", "c", "", "e", "f"),
        ("a", "", "c", "d", "e", "f"),
        groups,
    ]
    before = ("a", "", "c", "", "e", "")
    for step in steps:
        changed = [x != y for x, y in zip(before, step.groups, strict=True)]
        assert do.alternations(changed) <= 4
        before = step.groups


@pytest.mark.parametrize(
    ("groups", "labels", "target", "ways"),
    [
        ("ab", "b", "graph", [[(1,)]]),
        ("abc", "ac", "graph", [[(0, 2)], [(2,), (0,)]]),
        ("abcd", "bd", "graph", [[(3,), (1,)]]),  # more alternations than one kernel reads well
        ("abcd", "bd", "xla", [[(1, 3)]]),
        ("ab", "ab", "eager", [[(0, 1)]]),
    ],
)
def test_ways_to_sum(groups, labels, target, ways):
    found = Builder(tuple(groups)).sum_ways(labels, target)
    assert [[step.axes for step in way] for way in found] == ways
