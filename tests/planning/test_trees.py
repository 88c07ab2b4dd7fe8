"""Paths and sliced labels of cotengra, which is an extra."""

import importlib.util
import math

import pytest

from tests.networks import train_norm
from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.planning import slices, trees
from tf_einsum_grad.planning.slices import make_sliced_plan

TEXT, SHAPES = train_norm(8, 16, 4)
EQUATION = parse_equation(TEXT)
SIZES = {
    x: n
    for term, shape in zip(EQUATION.inputs, SHAPES, strict=True)
    for x, n in zip(term, shape, strict=True)
}
installed = pytest.mark.skipif(
    importlib.util.find_spec("cotengra") is None, reason="cotengra is not installed"
)


@installed
def test_paths_are_whole_first_and_then_have_ever_more_slices():
    found = list(trees.sliced_trees(EQUATION, SIZES, 5000))
    assert found == list(trees.sliced_trees(EQUATION, SIZES, 5000))
    counts = [math.prod(SIZES[x] for x in labels) for _, labels in found]
    assert counts[0] == 1
    assert counts == sorted(counts)
    assert len(counts) > 2
    for path, _ in found:
        assert sum(len(step) - 1 for step in path) == len(EQUATION.inputs) - 1


@installed
def test_what_it_finds_is_taken_where_its_price_is_better(monkeypatch):
    sizes = tuple(SIZES.items())
    whole = make_sliced_plan(EQUATION, sizes, "float32")
    limit = whole.peak_bytes // 2
    best = make_sliced_plan(EQUATION, sizes, "float32", limit=limit)
    assert best.peak_bytes <= limit
    monkeypatch.setattr(slices, "sliced_trees", lambda *_: iter(()))
    own = make_sliced_plan(EQUATION, sizes, "float32", limit=limit)
    assert best.microseconds <= own.microseconds


def test_nothing_is_found_without_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(trees.sliced_trees(EQUATION, SIZES, 100)) == []


def test_a_path_of_its_own_is_taken_if_it_is_cheaper(monkeypatch):
    sizes, best = tuple(SIZES.items()), make_sliced_plan(EQUATION, tuple(SIZES.items()), "float32")
    left_to_right = ((0, 1),) * (len(EQUATION.inputs) - 1)
    limit = 2 * best.peak_bytes
    monkeypatch.setattr(slices, "_paths", lambda *_: [left_to_right])
    monkeypatch.setattr(slices, "sliced_trees", lambda *_: iter([(best.plan.path, ())]))
    assert make_sliced_plan(EQUATION, sizes, "float32", limit=limit).plan.path == best.plan.path
    monkeypatch.setattr(slices, "sliced_trees", lambda *_: iter(()))
    assert make_sliced_plan(EQUATION, sizes, "float32", limit=10**12).plan.path == left_to_right
