"""What a verdict rests on is measured here, when `verdict.decide` asks for it, and no earlier."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from tf_einsum_grad.gradcheck import joint
from tf_einsum_grad.gradcheck.analytic import Backward, BackwardError, Variant, VariantError
from tf_einsum_grad.gradcheck.comparison import (
    Comparison,
    along_symmetric,
    amplitude,
    change,
    products,
)
from tf_einsum_grad.gradcheck.differences import Derivative
from tf_einsum_grad.gradcheck.facts import NOISE, Evidence, Exact, Need, exact_rtol
from tf_einsum_grad.gradcheck.joint import Group
from tf_einsum_grad.gradcheck.numeric import Array, Estimate
from tf_einsum_grad.gradcheck.oracle import Oracle, same_values
from tf_einsum_grad.gradcheck.points import relative, unit
from tf_einsum_grad.gradcheck.problem import Options, Point, Problem
from tf_einsum_grad.gradcheck.progress import PROGRESS
from tf_einsum_grad.gradcheck.status import Status
from tf_einsum_grad.gradcheck.verdict import Verdict, decide, decide_symmetry, decide_together

_SHAKES = 8
_OTHER_VALUES = 0.05  # relative: more than rounding does, unless to what is all rounding


class BudgetExhausted(RuntimeError):
    """A budget is used up; the message says which."""


class Measurer:
    """Measures both sides of a comparison, leaf by leaf."""

    def __init__(self, problem: Problem, options: Options, oracle: Oracle) -> None:
        self.problem, self.options, self.oracle = problem, options, oracle

    def judge(self, at: Comparison, leaf: int) -> tuple[Verdict, Comparison]:
        """Returns the verdict on a leaf, and the comparison that it rests on.

        Raises:
            BudgetExhausted: it would take more than `max_evaluations` or `seconds`.
            VariantError: the variant cannot run the function.
        """
        group = joint.alone(leaf)
        evidence = self._first_look(at, group)
        while isinstance(answer := decide(evidence), Need):
            if answer is Need.RELATIVE:
                self._make_relative(at, leaf)
                evidence = self._first_look(at, group)
            else:
                evidence = self._measured(answer, evidence, at, group)
        if answer.exact and (exact := self._exact_gradients(at)) is not None:
            at = replace(at, backward=exact, exact=True)
        return answer, at

    def judge_together(self, at: Comparison, group: Group) -> Verdict:
        """Returns the verdict on the sum of what several leaves contribute; see `joint`.

        Raises:
            BudgetExhausted, VariantError: as `judge` does.
        """
        evidence = self._first_look(at, group)
        while isinstance(answer := decide_together(evidence), Need):
            evidence = self._measured(answer, evidence, at, group)
        return answer

    def judge_exactly(self, at: Comparison, group: Group) -> list[Verdict] | None:
        """Returns the verdict on each leaf where the traced gradients, in float64, are right.

        These, of all leaves together, are held against the numeric derivative, and each native
        one, which may hold many rounding errors, against them. None if they are not right, or
        there are none.
        """
        exact = self._exact_gradients(at)
        if exact is None or not np.isfinite(at.scales(exact, group)).all():
            return None
        evidence = self._first_look(at, group)
        rtol = self.options.rtol_for(evidence.eps)
        rtol = exact_rtol(rtol, evidence.eps, exact.eps) if evidence.default_rtol else rtol
        evidence = replace(
            evidence,
            analytic=at.derivative_by(exact, group),
            scale=min(at.scales(exact, group)),
            rtol=rtol / joint.STRICTER,
            eps=exact.eps,
            known=evidence.known | {Need.EXACT},
        )
        while isinstance(answer := decide_together(evidence), Need):
            evidence = self._measured(answer, evidence, at, group)
        if answer.status != Status.PASS:
            return None
        return [self._held_against(at, exact, leaf, answer, group) for leaf in group.leaves]

    def _held_against(
        self, at: Comparison, exact: Backward, leaf: int, together: Verdict, group: Group
    ) -> Verdict:
        alone, weight = joint.alone(leaf), group.weights[group.leaves.index(leaf)]
        value = exact.directional(leaf, at.u(leaf))
        doubt = (together.error + together.estimate.error) / weight
        estimate = replace(together.estimate, value=value, error=doubt / 10)
        run = Exact(value, exact.norm(leaf, at.u(leaf)), exact.eps, estimate, exact.coarsest)
        known = frozenset(Need) - {Need.NOISE, Need.TRACED}
        evidence = replace(
            self._first_look(at, alone), known=known, estimate=estimate, exact=run, closer=estimate
        )
        while isinstance(answer := decide(evidence), Need):
            evidence = self._measured(answer, evidence, at, alone)
        return answer

    def share_of(self, at: Comparison, group: Group, verdict: Verdict, leaf: int) -> Verdict:
        """Returns the verdict on one leaf of a group that passed: all of its error is charged."""
        weight = group.weights[group.leaves.index(leaf)]
        analytic = at.backward.directional(leaf, at.u(leaf))
        estimate = verdict.estimate
        value = analytic + (estimate.value - verdict.analytic) / weight
        return replace(
            verdict,
            analytic=analytic,
            scale=at.backward.norm(leaf, at.u(leaf)),
            estimate=replace(estimate, value=value, error=estimate.error / weight),
            tolerance=verdict.tolerance / weight,
        )

    def symmetry(self, point: Point, variant: Variant, hu: Backward, hw: Backward) -> Verdict:
        """Returns the verdict on a second derivative H, whether u'Hw = w'Hu.

        u and w are the first two cotangents, `hu` and `hw` the variant's passes for them.
        """
        outputs, (us, ws) = next(iter(point.outputs.values())), point.cotangents[:2]
        eps = max(self.oracle.eps(i) for i in range(len(self.problem.leaves)))
        uhw, whu, scale = products(self.problem, us, ws, hu, hw)
        evidence = Evidence(
            analytic=uhw, scale=scale, rtol=self.options.rtol_for(eps), eps=eps,
            amplitude=sum(amplitude(v, outputs, point.sizes) for v in (us, ws)),
            estimate=Estimate(whu, 0.0, np.nan),
        )  # fmt: skip
        while isinstance(answer := decide_symmetry(evidence), Need):
            shaken = self.oracle.shaken_pass(point, variant)
            moved = products(self.problem, us, ws, shaken, hw)[1]
            evidence = replace(evidence, noise=abs(moved - whu), known=frozenset({answer}))
        return answer

    def derivative(self, at: Comparison, leaf: int, u: Array | None = None) -> Derivative:
        """Returns the numeric derivative along a leaf's direction, or along another.

        That along its own direction is kept for all variants.
        """
        if u is None:
            return self.along(at, joint.alone(leaf))
        return self._derivative(at, {leaf: u}, at.backward.norm(leaf, u))

    def along(self, at: Comparison, group: Group) -> Derivative:
        """Returns the numeric derivative along a group's direction, which is kept."""
        key = at.reference.name, at.number, group.leaves
        if key not in at.point.derivatives:
            scale = float(np.linalg.norm(at.scales(at.backward, group)))
            at.point.derivatives[key] = self._derivative(at, at.moves(group), scale)
        return at.point.derivatives[key]

    def _derivative(self, at: Comparison, moves: dict[int, Array], scale: float) -> Derivative:
        point, reference, cotangents = at.point, at.reference, at.point.cotangents[at.number]
        base = self.oracle.move_to(reference, point)

        def phi(h: float) -> float:
            if budget := self.options.used_up(self.oracle.evaluations):
                raise BudgetExhausted(budget)
            PROGRESS.get().evaluated(self.oracle.evaluations)
            moved = list(point.values)
            for leaf, u in moves.items():
                moved[leaf] = moved[leaf] + h * u
            self.oracle.move_to(reference, point)
            return change(cotangents, reference.outputs(moved), base)

        return Derivative(
            phi, amplitude=at.amplitude, eps=reference.eps, unit=unit(scale, at.amplitude)
        )

    def _first_look(self, at: Comparison, group: Group) -> Evidence:
        """Gathers what costs no evaluation of the function."""
        back, options, several = at.backward, self.options, len(group.leaves) > 1
        if not several and (obvious := self._obvious(at, group.leaves[0])):
            return obvious
        eps = max(map(self.oracle.eps, group.leaves))
        native_xla = at.reference.kind == "native" and at.variant.name == "xla"
        made = several or (at.number, group.leaves[0]) in at.point.relative
        return Evidence(
            connected=any(back.terms(leaf, at.u(leaf)) is not None for leaf in group.leaves),
            analytic=at.derivative_by(back, group),
            scale=min(at.scales(back, group)),
            rtol=options.rtol_for(eps) / (joint.STRICTER if several else 1),
            share=group.share / (joint.STRICTER if several else 1),
            default_rtol=options.rtol is None,
            atol=options.atol,
            strictness=options.strictness(eps),
            ignore_kinks=options.kinks == "ignore",
            eps=eps,
            reference_eps=at.reference.eps,
            amplitude=at.amplitude,
            other_draws=native_xla and self.oracle.random,
            known=frozenset({Need.RELATIVE} if made else ()),
        )

    def _obvious(self, at: Comparison, leaf: int) -> Evidence | None:
        """Returns what decides without a numeric derivative, if there is such a thing."""
        u, back = at.u(leaf), at.backward
        if leaf in back.defects:
            return Evidence(defect=back.defects[leaf])
        if u.size == 0:
            return Evidence(empty=True)
        if nonfinite := back.nonfinite(leaf, u):
            return Evidence(analytic=back.directional(leaf, u), nonfinite=nonfinite)
        return None

    def comparable(self, at: Comparison, leaf: int) -> bool:
        """Whether a leaf can be tested together with others."""
        made = (at.number, leaf) in at.point.relative
        return not made and self._obvious(at, leaf) is None

    def _measured(self, need: Need, e: Evidence, at: Comparison, group: Group) -> Evidence:
        """Returns the evidence with one thing more."""
        derivative = self.along(at, group)
        if need is Need.ESTIMATE:
            estimate = derivative.glance(e.analytic, e.rtol * e.scale) or derivative.first()
            step_noise = derivative.noise(derivative.steps.start + 1)
            e = replace(e, estimate=estimate, step_noise=step_noise)
        elif need is Need.REFINED:
            e = replace(e, estimate=derivative.refine())
        elif need is Need.NOISE:
            e = replace(e, noise=self._noise(at, group, e.error))
        elif need is Need.EXACT:
            e = replace(e, exact=self._exact(at, group))
        elif need is Need.TRACED:
            e = replace(e, traced=self._traced(at, group))
        elif need is Need.SYMMETRIC:
            e = replace(e, symmetric=self._symmetric(at, group.leaves[0], e.tolerance))
        elif need is Need.CLOSER:
            e = replace(e, closer=None if derivative.vanishes() else derivative.refine())
        return replace(e, known=e.known | {need})

    def _make_relative(self, at: Comparison, leaf: int) -> None:
        """Makes a leaf's direction relative to each element, for all variants."""
        point = at.point
        point.relative.add((at.number, leaf))
        u = relative(at.u(leaf), point.values[leaf])
        point.directions[at.number][leaf] = self.problem.leaves[leaf].rounded(u)
        number = at.number
        for key in [k for k in point.derivatives if k[1] == number and leaf in k[2]]:
            del point.derivatives[key]

    def _noise(self, at: Comparison, group: Group, error: float) -> float:
        """Measures by how much an ulp of every input moves the analytic derivative, at most.

        Where a relu's input is zero but for rounding, it is on in one pass and off in another.
        So up to eight are tried, until they explain the error.
        """
        noise = 0.0
        for shake in range(_SHAKES):
            shaken = self._kept(at, f"shaken {shake}", at.variant.name, self._shaken(shake))
            if shaken is None:
                break
            change = abs(at.derivative_by(shaken, group) - at.derivative_by(at.backward, group))
            noise = max(noise, change) if np.isfinite(change) else noise
            if NOISE * noise >= error:
                break
        return noise

    def _shaken(self, shake: int) -> Callable[[Comparison], Backward | None]:
        def run(at: Comparison) -> Backward | None:
            with suppress(BackwardError, VariantError):
                return self.oracle.shaken_pass(at.point, at.variant, at.number, shake)
            return None

        return run

    def _kept(
        self, at: Comparison, what: str, how: str, run: Callable[[Comparison], Backward | None]
    ) -> Backward | None:
        """Returns gradients, computed once for each point and direction."""
        key = what, how, at.number
        if key not in at.point.passes:
            at.point.passes[key] = run(at)
        found: Backward | None = at.point.passes[key]
        return found

    def _exact_gradients(self, at: Comparison) -> Backward | None:
        """Returns the traced gradients in float64; None where there are none."""
        if at.reference.kind != "promote" or at.variant.name == "forward":
            return None
        return self._kept(at, "exact", self.oracle.drawn_like(at.variant), self._in_float64)

    def _in_float64(self, at: Comparison) -> Backward | None:
        outputs = self.oracle.move_to(at.reference, at.point)
        gradient = self.oracle.exact_gradient(at.variant, outputs)
        if gradient is None:
            return None
        return gradient.backward(at.point.values, at.point.cotangents[at.number], outputs)

    def _exact(self, at: Comparison, group: Group) -> Exact | None:
        gradients = self._exact_gradients(at)
        if gradients is None or any(gradients.gradients[leaf] is None for leaf in group.leaves):
            return None
        estimate, scale = self.along(at, group).refine(), min(at.scales(gradients, group))
        value = at.derivative_by(gradients, group)
        return Exact(value, scale, gradients.eps, estimate, gradients.coarsest)

    def _traced(self, at: Comparison, group: Group) -> float | None:
        """Runs the traced gradient in its own dtypes; None if it is not what the variant did."""
        rerun = self._kept(at, "traced", at.variant.name, self._rerun)
        native = np.nan if rerun is None else at.derivative_by(rerun, group)
        return native if np.isfinite(native) else None

    def _rerun(self, at: Comparison) -> Backward | None:
        args = at.variant.prepare(at.point.values)
        cotangents = self.problem.native_cotangents(at.point.cotangents[at.number])
        gradient = self.oracle.exact_gradient(at.variant, at.backward.outputs)
        if gradient is None:
            return None
        rerun = gradient.native([*args, *cotangents])
        if not same_values(rerun.outputs, at.backward.outputs, _OTHER_VALUES, at.point.sizes):
            return None  # it draws other random numbers
        return rerun

    def _symmetric(self, at: Comparison, leaf: int, tolerance: float) -> tuple[float, float] | None:
        def analytic(w: Array) -> float:
            return at.backward.directional(leaf, w)

        def numeric(w: Array) -> float:
            return self.derivative(at, leaf, w).refine().value

        return along_symmetric(at.point.values[leaf], at.u(leaf), analytic, numeric, tolerance)
