"""The oracle: einsum and its gradients by brute force, with NumPy alone.

Every operand is spread over a grid with one axis for each label, multiplied, and added up where its
output index says. Nothing is shared with the package: no planner, no transposed equations, no
rules. `test_reference.py` compares it with `np.einsum` wherever that takes the equation.
"""

from __future__ import annotations

import math
import re
from functools import reduce
from operator import mul

import numpy as np


class Reference:
    """One equation on operands of known shapes."""

    def __init__(self, equation, shapes, sizes=None):
        self.shapes = [tuple(shape) for shape in shapes]
        given = dict(sizes or {})
        left, arrow, right = re.sub(r"\s", "", equation).partition("->")
        terms = left.split(",")
        if not arrow:
            labels = left.replace(",", "").replace(".", "")
            once = sorted(label for label in labels if labels.count(label) == 1)
            right = "..." * ("..." in left) + "".join(once)
        ranks = [len(s) - len(t) + 3 for t, s in zip(terms, self.shapes, strict=True) if "..." in t]
        extra = given.pop("...", ())
        width = max([len(extra), *ranks])
        given |= {str(width - i): n for i, n in enumerate(extra)}
        # The dimensions of an ellipsis are labelled by their distance from its right end.
        self.terms = [self._expand(t, len(s)) for t, s in zip(terms, self.shapes, strict=True)]
        self.output = self._expand(right, width + len(right.replace("...", "")))
        self.sizes = dict.fromkeys((*sum(self.terms, ()), *self.output), 1)
        for term, shape in zip(self.terms, self.shapes, strict=True):
            self.sizes |= {label: n for label, n in zip(term, shape, strict=True) if n != 1}
        self.sizes |= given
        self.output_shape = tuple(self.sizes[label] for label in self.output)
        self.grid = [label for label, n in self.sizes.items() if n != 1]
        self.grid_shape = [self.sizes[label] for label in self.grid]

    @staticmethod
    def _expand(term, rank):
        before, dots, after = term.partition("...")
        width = rank - len(before) - len(after)
        return (*before, *(str(i) for i in range(width, 0, -1) if dots), *after)

    def _index(self, term, shape):
        """Where on the grid each element of a tensor stands; dimensions of size 1 broadcast."""
        index = []
        for label, n in zip(term, shape, strict=True):
            axes = np.ones(len(self.grid), int)
            if n != 1:
                axes[self.grid.index(label)] = n
            index.append(np.arange(n).reshape(axes))
        return tuple(index)

    def _product(self, factors):
        spread = [x[self._index(term, x.shape)] for x, term in factors]
        dtype = np.result_type(*(x.dtype for x, _ in factors))
        return np.broadcast_to(reduce(mul, spread, np.ones((), dtype)), self.grid_shape)

    def _collect(self, product, term, shape):
        places = np.zeros(self.grid_shape, int)
        for n, index in zip(shape, self._index(term, shape), strict=True):
            places = places * n + index
        result = np.zeros(math.prod(shape), product.dtype)
        np.add.at(result, places, product)
        return result.reshape(shape)

    def value(self, operands):
        factors = list(zip(operands, self.terms, strict=True))
        return self._collect(self._product(factors), self.output, self.output_shape)

    def vjp(self, k, operands, cotangent):
        """The gradient for operand `k`, by TensorFlow's convention: the others conjugated."""
        factors = [(cotangent, self.output)]
        for i, (x, term) in enumerate(zip(operands, self.terms, strict=True)):
            if i != k:
                factors.append((np.conj(x), term))
        return self._collect(self._product(factors), self.terms[k], self.shapes[k])

    def vjps(self, operands, cotangent):
        return [self.vjp(k, operands, cotangent) for k in range(len(operands))]

    def jvp(self, operands, tangents):
        """The derivative along `tangents`: one operand after the other replaced by its tangent."""
        return sum(self.value(replace(operands, k, v)) for k, v in enumerate(tangents))

    def second(self, operands, cotangent, directions):
        """The gradients of `sum_k <vjp_k, directions[k]>` for each operand (real dtypes)."""
        return [
            sum(
                self.vjp(j, replace(operands, k, v), cotangent)
                for k, v in enumerate(directions)
                if k != j
            )
            + np.zeros(self.shapes[j], cotangent.dtype)
            for j in range(len(operands))
        ]


def replace(operands, k, x):
    return [*operands[:k], x, *operands[k + 1 :]]


def draw(shape, rng, dtype="float64"):
    """Small integers, never 0: products and sums are exact, and so is the comparison."""
    x = rng.integers(1, 4, shape) * rng.choice([-1, 1], shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * draw(shape, rng)
    return np.asarray(x, dtype)
