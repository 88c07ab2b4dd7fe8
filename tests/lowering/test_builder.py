"""Instructions for one tensor, written one after another."""

from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.builder import Builder


def test_what_alternates_too_often_is_repeated_a_run_at_a_time():
    builder = Builder(("b", "e")).broadcast(("a", "b", "c", "d", "e", "f"))
    assert builder.instructions == [
        do.Reshape(("", "b", "", "", "e", "")),
        do.Broadcast(("", "b", "", "", "e", "f")),
        do.Broadcast(("a", "b", "c", "d", "e", "f")),
    ]
    builder = Builder(("b", "e")).broadcast(("a", "b", "c", "d", "e"))
    assert builder.instructions[1:] == [do.Broadcast(("a", "b", "c", "d", "e"))]
    builder = Builder(("b", "e", "g")).broadcast(("b", "c", "d", "e", "f", "g", "h", "i"))
    assert [step.groups for step in builder.instructions[1:]] == [
        ("b", "", "", "e", "", "g", "h", "i"),
        ("b", "", "", "e", "f", "g", "h", "i"),
        ("b", "c", "d", "e", "f", "g", "h", "i"),
    ]


def test_of_two_reshapes_in_a_row_the_last_is_enough():
    builder = Builder(("a", "b")).reshape(("ab",)).reshape(("a", "", "b"))
    assert builder.instructions == [do.Reshape(("a", "", "b"))]
    assert Builder(("a", "b")).reshape(("a", "b")).permute(("a", "b")).instructions == []
