"""What a verdict rests on is measured here, when `verdict.decide` asks for it, and no earlier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tf_einsum_grad.gradcheck.analytic import Backward, BackwardError, Variant, VariantError
from tf_einsum_grad.gradcheck.numeric import (
    Along,
    Array,
    Arrays,
    Derivative,
    Estimate,
    inner,
    rms,
    unit,
)
from tf_einsum_grad.gradcheck.oracle import Oracle, same_values
from tf_einsum_grad.gradcheck.problem import Options, Point, Problem
from tf_einsum_grad.gradcheck.progress import PROGRESS
from tf_einsum_grad.gradcheck.references import Reference
from tf_einsum_grad.gradcheck.verdict import Evidence, Exact, Need, Verdict, decide, decide_symmetry

_OTHER_VALUES = 0.05  # relative: more than rounding does, unless to what is all rounding


class BudgetExhausted(RuntimeError):
    """A budget is used up; the message says which."""


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

    @property
    def amplitude(self) -> float:
        """Size of the terms that the checked scalar sums."""
        outputs = self.point.outputs[self.reference.name]
        return amplitude(self.point.cotangents[self.number], outputs, self.point.sizes)


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
        evidence, exact = self._first_look(at, leaf), None
        while isinstance(answer := decide(evidence), Need):
            if answer is Need.RELATIVE:
                self._make_relative(at, leaf)
                evidence = self._first_look(at, leaf)
                continue
            if answer is Need.EXACT:
                exact = self._exact_gradients(at)
            evidence = self._measured(answer, evidence, at, leaf, exact)
        if answer.exact and exact is not None:
            at = replace(at, backward=exact, exact=True)
        return answer, at

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
        point, reference = at.point, at.reference
        key = reference.name, at.number, leaf
        if u is None and key in point.derivatives:
            return point.derivatives[key]
        base, cotangents = self.oracle.move_to(reference, point), point.cotangents[at.number]
        along = at.u(leaf) if u is None else u

        def phi(h: float) -> float:
            if budget := self.options.used_up(self.oracle.evaluations):
                raise BudgetExhausted(budget)
            PROGRESS.get().evaluated(self.oracle.evaluations)
            moved = list(point.values)
            moved[leaf] = moved[leaf] + h * along
            self.oracle.move_to(reference, point)
            return _change(cotangents, reference.outputs(moved), base)

        scale = at.backward.norm(leaf, along)
        found = Derivative(
            phi, amplitude=at.amplitude, eps=reference.eps, unit=unit(scale, at.amplitude)
        )
        if u is None:
            point.derivatives[key] = found
        return found

    def _first_look(self, at: Comparison, leaf: int) -> Evidence:
        """Gathers what costs no evaluation of the function."""
        u, back, options = at.u(leaf), at.backward, self.options
        if leaf in back.defects:
            return Evidence(defect=back.defects[leaf])
        if u.size == 0:
            return Evidence(empty=True)
        analytic, scale = back.directional(leaf, u), back.norm(leaf, u)
        if nonfinite := back.nonfinite(leaf, u):
            return Evidence(analytic=analytic, nonfinite=nonfinite)
        eps = self.oracle.eps(leaf)
        native_xla = at.reference.kind == "native" and at.variant.name == "xla"
        relative = (at.number, leaf) in at.point.relative
        return Evidence(
            connected=back.terms(leaf, u) is not None,
            analytic=analytic,
            scale=scale,
            rtol=options.rtol_for(eps),
            default_rtol=options.rtol is None,
            atol=options.atol,
            ignore_kinks=options.kinks == "ignore",
            eps=eps,
            reference_eps=at.reference.eps,
            amplitude=at.amplitude,
            other_draws=native_xla and self.oracle.random,
            known=frozenset({Need.RELATIVE} if relative else ()),
        )

    def _measured(
        self, need: Need, e: Evidence, at: Comparison, leaf: int, exact: Backward | None
    ) -> Evidence:
        """Returns the evidence with one thing more; `exact` is the traced gradient in float64."""
        derivative = self.derivative(at, leaf)
        if need is Need.ESTIMATE:
            estimate = derivative.glance(e.analytic, e.rtol * e.scale) or derivative.first()
            step_noise = derivative.noise(derivative.steps.start + 1)
            e = replace(e, estimate=estimate, step_noise=step_noise)
        elif need is Need.REFINED:
            e = replace(e, estimate=derivative.refine())
        elif need is Need.NOISE:
            e = replace(e, noise=self._noise(at, leaf))
        elif need is Need.EXACT:
            e = replace(e, exact=self._exact(at, leaf, exact))
        elif need is Need.TRACED:
            e = replace(e, traced=self._traced(at, leaf))
        elif need is Need.SYMMETRIC:
            e = replace(e, symmetric=self._symmetric(at, leaf, e.tolerance))
        elif need is Need.CLOSER:
            e = replace(e, closer=None if derivative.vanishes() else derivative.refine())
        return replace(e, known=e.known | {need})

    def _make_relative(self, at: Comparison, leaf: int) -> None:
        """Makes a leaf's direction relative to each element, for all variants."""
        point = at.point
        point.relative.add((at.number, leaf))
        x, u = point.values[leaf], at.u(leaf)
        size = np.where(np.isfinite(x) & (x != 0), np.abs(x), 0)
        if rms(x) > 0:
            relative = np.where(size > 0, u * size / rms(x), u)
            point.directions[at.number][leaf] = self.problem.leaves[leaf].rounded(relative)
            for key in [k for k in point.derivatives if k[1:] == (at.number, leaf)]:
                del point.derivatives[key]

    def _noise(self, at: Comparison, leaf: int) -> float:
        """Measures by how much an ulp of every input moves the analytic derivative."""
        try:
            shaken, u = self.oracle.shaken_pass(at.point, at.variant, at.number), at.u(leaf)
            change = abs(shaken.directional(leaf, u) - at.backward.directional(leaf, u))
        except (BackwardError, VariantError):
            return 0.0
        return change if np.isfinite(change) else 0.0

    def _exact_gradients(self, at: Comparison) -> Backward | None:
        if at.reference.kind != "promote" or at.variant.name == "forward":
            return None
        outputs = self.oracle.move_to(at.reference, at.point)
        gradient = self.oracle.exact_gradient(at.variant, outputs)
        if gradient is None:
            return None
        return gradient.backward(at.point.values, at.point.cotangents[at.number], outputs)

    def _exact(self, at: Comparison, leaf: int, gradients: Backward | None) -> Exact | None:
        if gradients is None or gradients.gradients[leaf] is None:
            return None
        u, estimate = at.u(leaf), self.derivative(at, leaf).refine()
        analytic, scale = gradients.directional(leaf, u), gradients.norm(leaf, u)
        return Exact(analytic, scale, gradients.eps, estimate)

    def _traced(self, at: Comparison, leaf: int) -> float | None:
        """Runs the traced gradient in its own dtypes; None if it is not what the variant did."""
        args = at.variant.prepare(at.point.values)
        cotangents = self.problem.native_cotangents(at.point.cotangents[at.number])
        gradient = self.oracle.exact_gradient(at.variant, at.backward.outputs)
        if gradient is None:
            return None
        rerun = gradient.native([*args, *cotangents])
        if not same_values(rerun.outputs, at.backward.outputs, _OTHER_VALUES, at.point.sizes):
            return None  # it draws other random numbers
        native = rerun.directional(leaf, at.u(leaf))
        return native if np.isfinite(native) else None

    def _symmetric(self, at: Comparison, leaf: int, tolerance: float) -> tuple[float, float] | None:
        def analytic(w: Array) -> float:
            return at.backward.directional(leaf, w)

        def numeric(w: Array) -> float:
            return self.derivative(at, leaf, w).refine().value

        return along_symmetric(at.point.values[leaf], at.u(leaf), analytic, numeric, tolerance)


def along_symmetric(
    x: Array, u: Array, analytic: Along, numeric: Along, tolerance: float
) -> tuple[float, float] | None:
    """Returns both derivatives along u + u', or None where symmetry has nothing to say.

    That is, unless x is a symmetric matrix, or a batch of them, whose gradient has two equal
    triangles, while the function does not depend on one of them.
    """
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or not np.array_equal(x, _adjoint(x)):
        return None
    triangles = np.tril(u, -1), np.triu(u, 1)
    equal = [abs(analytic(t) - analytic(_adjoint(t))) <= tolerance for t in triangles]
    if not all(equal) or not any(abs(numeric(t)) <= tolerance for t in triangles):
        return None
    both = u + _adjoint(u)
    return analytic(both), numeric(both)


def _adjoint(x: Array) -> Array:
    return np.asarray(np.swapaxes(x, -1, -2).conj())


def amplitude(cotangents: Arrays, outputs: Arrays, sizes: Sequence[float]) -> float:
    """Returns ||v * y||, the size of the terms that the checked scalar <v, y> sums."""
    square = 0.0
    for v, y, size in zip(cotangents, outputs, sizes, strict=True):
        terms = v * size if size > rms(y) else np.where(np.isfinite(y), v * y, 0)
        square += float(np.linalg.norm(np.ravel(terms))) ** 2
    return float(np.sqrt(square))


def _change(cotangents: Arrays, outputs: Arrays, base: Arrays) -> float:
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
