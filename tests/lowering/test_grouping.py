import pytest

from tf_einsum_grad.lowering.grouping import group_labels


@pytest.mark.parametrize(
    ("terms", "ones", "lhs", "rhs", "out"),
    [
        (("abc", "cd", "abd"), "", ("ab", "c"), ("c", "d"), ("ab", "d")),
        (("abc", "cb", "a"), "", ("a", "b", "c"), ("c", "b"), ("a",)),  # neighbors, not in order
        (("ab", "b", "a"), "", ("a", "b"), ("b",), ("a",)),
        (("bab", "b", "a"), "", ("b", "a", "b"), ("b",), ("a",)),  # in one term alone
        (("abc", "cd", "abd"), "b", ("a", "c"), ("c", "d"), ("a", "d")),
        (("axb", "ab", "axb"), "x", ("ab",), ("ab",), ("ab",)),  # a label of size 1 parts nothing
        (("ab", "ab", "ab"), "b", ("a", "b"), ("a", "b"), ("a", "b")),  # keeps its sharding
        (("ab", "ab", "ba"), "", ("a", "b"), ("a", "b"), ("b", "a")),
    ],
)
def test_groups_are_neighbors_in_every_term(terms, ones, lhs, rhs, out):
    groups = group_labels(terms, ones)
    assert (groups.lhs, groups.rhs, groups.out) == (lhs, rhs, out)
