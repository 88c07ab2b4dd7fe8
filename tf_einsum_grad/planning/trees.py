"""Paths of many operands, and labels to slice, by cotengra where it is installed (extra `paths`).

J. Gray, S. Kourtis, "Hyper-optimized tensor network contraction", Quantum 5, 410 (2021).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.planning.search import Path

__all__ = ["sliced_trees"]

_REPEATS = 32


def sliced_trees(
    equation: Equation, sizes: Mapping[str, int], most_slices: int
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yields a path whole, and then with ever more labels sliced; nothing without cotengra.

    Args:
        equation: explicit, without ellipses, of two operands or more.
        sizes: each label with its size, from 1 on.
        most_slices: how many at most.
    """
    if importlib.util.find_spec("cotengra") is None:
        return
    import cotengra

    terms = [tuple(dict.fromkeys(term)) for term in equation.inputs]
    # Seeds: the same call has the same plan in every process.
    optimizer = cotengra.RandomGreedyOptimizer(
        max_repeats=_REPEATS, seed=0, accel=False, parallel=False
    )
    tree: Any = optimizer.search(terms, tuple(equation.output), dict(sizes))
    tree.subtree_reconfigure_(seed=0)
    seen: tuple[str, ...] | None = None
    slices = 1
    while slices <= most_slices:
        sliced = tree if slices == 1 else tree.slice(target_slices=slices, seed=0)
        labels = tuple(sorted(sliced.sliced_inds))
        if labels != seen:
            yield tuple(tuple(sorted(step)) for step in sliced.get_path()), labels
        seen = labels
        slices *= 2
