"""What passed is looked at twice more: at another point, and where elements differ much in size.

At another point, since a backward pass that keeps what its first call computed is right at the
first point that it sees. And by elements, since a gradient is allowed errors relative to the norm
of all its terms, and that says nothing about an element that is a millionth of it. So cotangents
are drawn that make the terms of all outputs alike, and directions that make the terms of all
elements of the gradient alike: then each has its part in the derivative. What rounding does to
small elements is not known, so it is the traced gradient that is looked at, run in float64.

Only what is wrong without a doubt counts: these are in addition to the points and directions that
a check is about.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from tf_einsum_grad.gradcheck.analytic import Backward, BackwardError, VariantError
from tf_einsum_grad.gradcheck.comparison import Comparison
from tf_einsum_grad.gradcheck.evidence import BudgetExhausted
from tf_einsum_grad.gradcheck.facts import exact_rtol
from tf_einsum_grad.gradcheck.joint import STRICTER, Group
from tf_einsum_grad.gradcheck.numeric import EPS, Array, rms
from tf_einsum_grad.gradcheck.points import ZERO_LEAF, evened, next_to, smallest
from tf_einsum_grad.gradcheck.run import Finding, Run
from tf_einsum_grad.gradcheck.status import Status
from tf_einsum_grad.gradcheck.verdict import Verdict, decide_small

_ELEMENTS = 2**16  # of all leaves; of more, one is too small a part of any derivative
_TOLERANCES = 10  # an element as small as so many of them is looked for
_ROUNDING = 4  # errors allowed for, in units of what rounding does
ELSEWHERE = (
    "right at the point itself, wrong right next to it: does the backward pass reuse what an "
    "earlier call computed?"
)


def second_look(run: Run, findings: Sequence[Finding]) -> list[Finding]:
    """Returns what else is wrong of the leaves that passed.

    Args:
        run: of first order, done.
        findings: what it found.
    """
    passed = _passed(findings)
    with suppress(BudgetExhausted):
        found = list(_next_to(run, passed))
        return found or list(_small_elements(run, passed))
    return []


def _passed(findings: Sequence[Finding]) -> list[Finding]:
    """Returns one finding for each variant and leaf that passed, and was compared."""
    pairs: dict[tuple[str, int], list[Finding]] = {}
    for finding in findings:
        pairs.setdefault((finding.variant, finding.leaf), []).append(finding)
    return [
        same[0]
        for same in pairs.values()
        if all(f.verdict.status == Status.PASS and f.where is not None for f in same)
    ]


def _next_to(run: Run, passed: Sequence[Finding]) -> Iterator[Finding]:
    base = run.base_point.values
    leaves = run.problem.leaves
    moved = [leaf.rounded(next_to(run.rng, x)) for leaf, x in zip(leaves, base, strict=True)]
    if not passed or all(map(np.array_equal, moved, base)):
        return
    for finding in run.at(run.point(moved, directions=1), {(f.variant, f.leaf) for f in passed}):
        verdict = finding.verdict
        if verdict.status == Status.FAIL and finding.where is not None:
            yield replace(finding, verdict=replace(verdict, cause=verdict.cause or ELSEWHERE))


def _small_elements(run: Run, passed: Sequence[Finding]) -> Iterator[Finding]:
    """Looks at the traced gradients, in the first variant that can be held against float64."""
    if sum(x.size for x in run.base_point.values) > _ELEMENTS:
        return
    for variant in dict.fromkeys(f.variant for f in passed if f.variant != "forward"):
        same = {f.leaf: f for f in passed if f.variant == variant}
        at = next(f.where for f in same.values() if f.where is not None)
        if at.reference.kind != "promote" or at.reference.eps > EPS["float64"]:
            continue
        if look := _evened(run, at, list(same)):
            for leaf, verdict in look.wrong([leaf for leaf in same if look.usable(leaf)]):
                yield replace(same[leaf], verdict=verdict, where=look.at)
        return


def _evened(run: Run, at: Comparison, leaves: Sequence[int]) -> _Look | None:
    """Draws cotangents and directions that make all terms alike, and runs the traced gradients.

    None where no element is small, or there is no such run.
    """
    point, oracle = run.base_point, run.oracle
    outputs = oracle.move_to(at.reference, point)
    found = (at.backward.terms(i, at.u(i)) for i in leaves if at.usable(i))
    terms = [np.abs(term) for term in found if term is not None]
    rtol = run.options.rtol_for(oracle.coarsest_eps)
    if not any(_hides(a[np.isfinite(a)], rtol) for a in (*map(np.abs, outputs), *terms)):
        return None
    cotangents = [evened(run.rng, y) / (smallest(np.abs(y)) or 1.0) for y in outputs]
    gradient = oracle.exact_gradient(at.variant, outputs)
    exact = gradient and gradient.backward(point.values, cotangents, outputs)
    if not exact or exact.eps > EPS["float64"]:
        return None
    pairs = zip(point.values, exact.gradients, strict=True)
    point.cotangents.append(cotangents)
    point.directions.append(
        [evened(run.rng, x if g is None else g) * (rms(x) or ZERO_LEAF) for x, g in pairs]
    )
    number = len(point.directions) - 1
    look = Comparison(point, number, at.variant, exact, at.reference, exact=True)
    with suppress(BackwardError, VariantError):
        return _Look(run, look, at.variant.backward(point.values, cotangents))
    return None


def _hides(terms: Array, rtol: float) -> bool:
    """Whether the smallest of terms is within the tolerance for all."""
    return smallest(terms) < _TOLERANCES * rtol * float(np.linalg.norm(np.ravel(terms)))


@dataclass(frozen=True, slots=True)
class _Look:
    """The traced gradients in float64, and the variant's own, of which all terms are alike."""

    run: Run
    at: Comparison
    native: Backward

    def usable(self, leaf: int) -> bool:
        """Whether both are there, and finite."""
        return self.at.usable(leaf) and replace(self.at, backward=self.native).usable(leaf)

    def wrong(self, leaves: Sequence[int]) -> Iterator[tuple[int, Verdict]]:
        """Yields the leaves that are wrong, of some that are tested together at first."""
        scales = {leaf: self.at.backward.norm(leaf, self.at.u(leaf)) for leaf in leaves}
        moved = tuple(leaf for leaf in leaves if scales[leaf] > 0)
        if not moved:
            return
        least = min(scales[leaf] for leaf in moved)
        group = Group(moved, tuple(least / scales[leaf] for leaf in moved)).normalized()
        verdict = self._judged(group)
        if len(moved) > 1 and verdict.status != Status.PASS:
            for half in group.halves():
                yield from self.wrong(half.leaves)
        elif verdict.status == Status.FAIL:
            yield moved[0], verdict

    def _judged(self, group: Group) -> Verdict:
        at, options, several = self.at, self.run.options, len(group.leaves) > 1
        eps, exact = max(map(self.run.oracle.eps, group.leaves)), at.backward
        rtol = options.rtol_for(eps)
        rtol = exact_rtol(rtol, eps, exact.eps) if options.rtol is None else rtol
        analytic, scale = at.derivative_by(exact, group), min(at.scales(exact, group))
        allowed = rtol * scale / (STRICTER if several else 1) + (options.atol or 0.0)
        derivative = self.run.measurer.along(at, group)
        estimate = derivative.glance(analytic, allowed) or derivative.refine()
        allowed += _ROUNDING * self._rounding(group)
        return decide_small(analytic, scale, estimate, allowed, several)

    def _rounding(self, group: Group) -> float:
        """Returns the size of what rounding in the function's own dtype does to the derivative.

        Formulas hold constants in that dtype, also in the float64 run. What their rounding does to
        an element, where large terms cancel, is about what rounding does to it otherwise.
        """
        native = replace(self.at, backward=self.native)
        off = [
            a - b for a, b in zip(native.gradients(group), self.at.gradients(group), strict=True)
        ]
        moves = self.at.moves(group).values()
        return math.hypot(
            *(rms(d * u) * math.sqrt(u.size) for d, u in zip(off, moves, strict=True))
        )
