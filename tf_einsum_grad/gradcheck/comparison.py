"""One comparison of a backward pass with a reference, and the sums that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_einsum_grad.gradcheck.analytic import Backward, Variant
from tf_einsum_grad.gradcheck.joint import Group
from tf_einsum_grad.gradcheck.numeric import Along, Array, Arrays, adjoint, inner, rms, symmetric
from tf_einsum_grad.gradcheck.problem import Point, Problem
from tf_einsum_grad.gradcheck.references import Reference


@dataclass(frozen=True)
class Comparison:
    """One backward pass at a point, and the reference that it is held against."""

    point: Point
    number: int  # of the direction
    variant: Variant
    backward: Backward
    reference: Reference
    exact: bool = False  # the analytic side is the float64 run of the traced gradient

    def u(self, leaf: int) -> Array:
        """Returns the direction of a leaf, of its shape."""
        return self.point.directions[self.number][leaf]

    def usable(self, leaf: int) -> bool:
        """Whether there is a gradient of a leaf, and all of it is finite."""
        gradient = self.backward.gradients[leaf]
        return gradient is not None and bool(np.isfinite(gradient).all())

    def gradients(self, group: Group) -> list[Array]:
        """Returns the gradients of a group's leaves, of those that have one."""
        found = (self.backward.gradients[leaf] for leaf in group.leaves)
        return [gradient for gradient in found if gradient is not None]

    def moves(self, group: Group) -> dict[int, Array]:
        """Returns by how much each leaf of a group moves, in a step of 1."""
        pairs = zip(group.leaves, group.weights, strict=True)
        return {leaf: weight * self.u(leaf) for leaf, weight in pairs}

    def derivative_by(self, gradients: Backward, group: Group) -> float:
        """Returns the derivative along a group's direction, by gradients."""
        pairs = zip(group.leaves, group.weights, strict=True)
        return sum(weight * gradients.directional(leaf, self.u(leaf)) for leaf, weight in pairs)

    def scales(self, gradients: Backward, group: Group) -> list[float]:
        """Returns ||gradient * direction|| of each leaf in a group."""
        pairs = zip(group.leaves, group.weights, strict=True)
        return [weight * gradients.norm(leaf, self.u(leaf)) for leaf, weight in pairs]

    @property
    def amplitude(self) -> float:
        """Size of the terms that the checked scalar sums."""
        outputs = self.point.outputs[self.reference.name]
        return amplitude(self.point.cotangents[self.number], outputs, self.point.sizes)


def along_symmetric(
    x: Array, u: Array, analytic: Along, numeric: Along, tolerance: float
) -> tuple[float, float] | None:
    """Returns both derivatives along u + u', or None where symmetry has nothing to say.

    That is, unless x is a symmetric matrix, or a batch of them, whose gradient has two equal
    triangles, while the function does not depend on one of them.
    """
    if not symmetric(x):
        return None
    triangles = np.tril(u, -1), np.triu(u, 1)
    equal = [abs(analytic(t) - analytic(adjoint(t))) <= tolerance for t in triangles]
    if not all(equal) or not any(abs(numeric(t)) <= tolerance for t in triangles):
        return None
    both = u + adjoint(u)
    return analytic(both), numeric(both)


def amplitude(cotangents: Arrays, outputs: Arrays, sizes: Sequence[float]) -> float:
    """Returns ||v * y||, the size of the terms that the checked scalar <v, y> sums."""
    square = 0.0
    for v, y, size in zip(cotangents, outputs, sizes, strict=True):
        terms = v * size if size > rms(y) else np.where(np.isfinite(y), v * y, 0)
        square += float(np.linalg.norm(np.ravel(terms))) ** 2
    return float(np.sqrt(square))


def change(cotangents: Arrays, outputs: Arrays, base: Arrays) -> float:
    """Returns Re <v, y - y0>: of differences, so that a large constant in y does no harm."""
    total = 0.0
    for v, y, y0 in zip(cotangents, outputs, base, strict=True):
        if y.shape != y0.shape:
            return float("nan")
        with np.errstate(invalid="ignore"):
            difference = np.where(np.isfinite(y0), y - y0, 0)
        total += float(np.real(np.vdot(v, difference)))
    return total


def products(
    problem: Problem, u: Arrays, w: Arrays, hu: Backward, hw: Backward
) -> tuple[float, float, float]:
    """Returns u'Hw, w'Hu and ||.||, the scale that their difference is relative to.

    H is the second derivative of <v, f>; u and w are cotangents of the gradients, and hu and hw the
    backward passes for them. H is symmetric, whatever f is.
    """
    sums, square = [0.0, 0.0], 0.0
    for k, leaf in enumerate(problem.output_leaves):
        for side, (a, b) in enumerate(((u[k], hw.gradients[leaf]), (w[k], hu.gradients[leaf]))):
            if b is not None:
                square += float(np.linalg.norm(np.ravel(a * b))) ** 2
                sums[side] += inner(a, b)
    return sums[0], sums[1], float(np.sqrt(square))
