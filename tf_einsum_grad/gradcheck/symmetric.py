"""A convention: the gradient with respect to a symmetric matrix is symmetric.

`tf.linalg.cholesky` reads one triangle only, yet its gradient has two equal ones: it is the
gradient on the space of symmetric matrices, on which alone the function is defined. Along symmetric
directions, it is right.
"""

from __future__ import annotations

import numpy as np

from tf_einsum_grad.gradcheck.directions import Array
from tf_einsum_grad.gradcheck.findings import Comparison, Finding
from tf_einsum_grad.gradcheck.statuses import Status


def accept_symmetric(at: Comparison, finding: Finding) -> None:
    """Turn a FAIL into a PASS if the leaf is a symmetric matrix and the convention explains it."""
    leaf, tolerance = finding.leaf, finding.tolerance
    x, u = at.point.values[leaf], at.u(leaf)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or not np.array_equal(x, _adjoint(x)):
        return

    def analytic(w: Array) -> float:
        return at.backward.directional(leaf, w)

    def numeric(w: Array) -> float:
        return at.numeric(leaf, w).refine().value

    triangles = np.tril(u, -1), np.triu(u, 1)
    equal = [abs(analytic(t) - analytic(_adjoint(t))) <= tolerance for t in triangles]
    if not all(equal) or not any(abs(numeric(t)) <= tolerance for t in triangles):
        return
    both = u + _adjoint(u)
    if abs(analytic(both) - numeric(both)) <= 2 * tolerance:
        finding.status, finding.cause = Status.PASS, "right along symmetric directions"
        finding.analytic, finding.numeric = analytic(both), numeric(both)


def _adjoint(x: Array) -> Array:
    return np.asarray(np.swapaxes(x, -1, -2).conj())
