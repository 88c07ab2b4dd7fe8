"""Compare the two sides for one leaf, and look more closely where they do not agree at once."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.analytic import (
    Backward,
    BackwardError,
    ForwardMode,
    Variant,
    VariantError,
)
from tf_einsum_grad.gradcheck.candidates import Candidates, same_values
from tf_einsum_grad.gradcheck.directions import Array, representable, rms, signs
from tf_einsum_grad.gradcheck.exact import Exact
from tf_einsum_grad.gradcheck.findings import Comparison, Finding, Options, Point
from tf_einsum_grad.gradcheck.numeric import JUMP, Estimate
from tf_einsum_grad.gradcheck.precision import EPS, RTOL
from tf_einsum_grad.gradcheck.problem import Problem
from tf_einsum_grad.gradcheck.reference import Reference
from tf_einsum_grad.gradcheck.state import StateGuard
from tf_einsum_grad.gradcheck.statuses import Status
from tf_einsum_grad.gradcheck.symmetric import accept_symmetric

NOISE_FACTOR = 16  # allowance for rounding errors, in units of what an ulp of input does
_UNDECIDED = 0.05  # a numeric derivative known no better than this decides nothing
_EXACT_RTOL = 1e-2  # at most, where both sides are in float64, whatever the function's own dtype
_OTHER_VALUES = 0.05  # relative: more than rounding does, unless to what is all rounding
_LOST = 1e4  # errors up to so many times that of a lost numeric derivative decide nothing


class Comparer:
    """The comparison of one leaf; `Judge` says of which, where and against what."""

    problem: Problem
    options: Options
    guard: StateGuard
    candidates: Candidates
    _exact: dict[str, Exact]
    _narrowed: set[tuple[int, int, int]]

    def amplitude(self, point: Point, reference: Reference, number: int) -> float:
        """Size of the terms that the checked scalar sums."""
        raise NotImplementedError

    def compare(self, at: Comparison, leaf: int) -> Finding:
        """Hold the analytic directional derivative of one leaf against the numeric one."""
        name, u, back = at.variant.name, at.u(leaf), at.backward
        if leaf in back.defects:
            cause = f"the gradient is malformed: {back.defects[leaf]}"
            return Finding(leaf, name, Status.FAIL, cause=cause, where=at)
        if u.size == 0:
            return Finding(leaf, name, Status.PASS, 0.0, 0.0, tolerance=0.0)
        analytic, scale = back.directional(leaf, u), back.norm(leaf, u)
        if not back.finite(leaf, u):
            return Finding(
                leaf, name, Status.NONFINITE, analytic, cause=back.describe_nonfinite(leaf)
            )
        eps = self.candidates.eps(leaf)
        rtol = RTOL[eps] if self.options.rtol is None else self.options.rtol
        amplitude = self.amplitude(at.point, at.reference, at.number)
        derivative = at.numeric(leaf)
        estimate = derivative.glance(analytic, rtol * scale) or derivative.first()
        near = abs(estimate.value - analytic) <= rtol * scale + 10 * estimate.error
        rounding = 100 * derivative.noise(derivative.steps.start + 1)
        sure = estimate.error <= max(rtol * scale, rounding) and not self._undecided(
            at, estimate.error, max(scale, abs(estimate.value)), amplitude
        )
        if not (near and sure) or estimate.kink:
            estimate = derivative.refine()
        size = max(scale, abs(estimate.value))
        lost = not estimate.finite or self._undecided(at, estimate.error, size, amplitude)
        if lost and (leaf, id(at.point), at.number) not in self._narrowed:
            return self._narrow(at, leaf)
        if not estimate.finite:
            cause = "every finite-difference step leaves the function's domain"
            return Finding(leaf, name, Status.INCONCLUSIVE, analytic, scale=scale, cause=cause)
        finding = Finding(
            leaf, name, Status.PASS, analytic, estimate.value, scale, np.nan,
            estimate.error, estimate.step, estimate.kink, where=at,
        )  # fmt: skip
        if estimate.kink and self.options.kinks != "ignore":
            finding.status = Status.JUMP if estimate.kink == JUMP else Status.KINK
            finding.tolerance = rtol * scale
            return finding
        self._tolerate(at, finding, rtol, eps, amplitude)
        return finding

    def _tolerate(
        self, at: Comparison, finding: Finding, rtol: float, eps: float, amplitude: float
    ) -> None:
        """Decide by the tolerance; widen it, or sharpen the test, where that is in doubt."""
        leaf, error = finding.leaf, abs(finding.analytic - finding.numeric)
        floor = allowance(eps) * amplitude if self.options.atol is None else self.options.atol
        finding.tolerance = rtol * finding.scale + 10 * finding.fd_error + floor
        if error > finding.tolerance and self.options.atol is None:
            finding.tolerance += NOISE_FACTOR * self._noise(at, leaf)
        if error > finding.tolerance and self.options.atol is None:
            finding.tolerance += self._inner_rounding(at, finding, rtol, amplitude)
        size = max(finding.scale, abs(finding.numeric))
        lost = self._undecided(at, finding.fd_error, abs(finding.numeric), amplitude)
        if error > finding.tolerance and not (lost and error <= _LOST * finding.fd_error):
            missing = not at.backward.connected(leaf, at.u(leaf))
            finding.status = Status.MISSING if missing else Status.FAIL
            if at.reference.name == "native:xla" and self.candidates.random:
                finding.status = Status.INCONCLUSIVE
                finding.cause = "XLA draws other random numbers, so there is no float64 reference"
            if finding.status == Status.FAIL:
                accept_symmetric(at, finding)
            return
        if error > finding.tolerance or self._undecided(at, finding.fd_error, size, amplitude):
            finding.status = Status.INCONCLUSIVE
            finding.cause = "the numeric derivative is too inaccurate to tell"
            return
        zero = 10 * finding.fd_error + 1e-9 * amplitude
        if abs(finding.numeric) <= zero and abs(finding.analytic) <= max(zero, floor):
            if finding.scale == 0 or not self._look_closer(at, finding):
                return  # a derivative of zero: there is nothing that rounding could hide
            error = abs(finding.analytic - finding.numeric)
        # It passed only thanks to the allowance for rounding, or rtol itself allows much.
        if eps > EPS["float32"] or error > rtol * finding.scale + 10 * finding.fd_error:
            self._sharpen(at, finding, rtol, amplitude)

    def _look_closer(self, at: Comparison, finding: Finding) -> bool:
        """Measure a derivative that is all but zero beside others; whether it is not zero."""
        derivative = at.numeric(finding.leaf)
        if derivative.vanishes():
            return False
        estimate = derivative.refine()
        if not (estimate.finite and abs(estimate.value) > 10 * estimate.error):
            return False
        finding.numeric, finding.fd_error = estimate.value, estimate.error
        finding.step = estimate.step
        return True

    def _undecided(self, at: Comparison, error: float, size: float, amplitude: float) -> bool:
        """Whether a numeric derivative is too inaccurate, for its size and for the function's."""
        coarse = 100 * np.sqrt(at.reference.eps) * amplitude
        return bool(10 * error > max(_UNDECIDED * size, coarse))

    def _sharpen(self, at: Comparison, finding: Finding, rtol: float, amplitude: float) -> None:
        """Where native rounding hides too much, hold the traced gradient, in float64, to account.

        It has the same formulas without the rounding.
        """
        gradients = self._in_float64(at)
        size = max(finding.scale, abs(finding.numeric))
        if gradients is None or gradients.gradients[finding.leaf] is None:
            if finding.tolerance > size / 2 and size > 0.01 * amplitude:
                finding.status = Status.INCONCLUSIVE
                finding.cause = "rounding errors in the function's own dtype hide the gradient"
            return
        analytic, estimate, scale, tolerance = self._exactly(
            at, gradients, finding.leaf, rtol, amplitude
        )
        if not np.isfinite(analytic) or not estimate.finite:
            return
        if abs(analytic - estimate.value) > tolerance:
            lost = self._undecided(at, estimate.error, abs(estimate.value), amplitude)
            finding.status = Status.INCONCLUSIVE if lost else Status.FAIL
            finding.tolerance, finding.scale = tolerance, scale
            finding.analytic, finding.numeric = analytic, estimate.value
            finding.fd_error, finding.step = estimate.error, estimate.step
            finding.where = Comparison(
                self, at.point, at.number, at.variant, gradients, at.reference, exact=True
            )

    def _exactly(
        self, at: Comparison, gradients: Backward, leaf: int, rtol: float, amplitude: float
    ) -> tuple[float, Estimate, float, float]:
        """The float64 gradient's derivative, the numeric one, the scale and the tolerance."""
        u = at.u(leaf)
        scale, estimate = gradients.norm(leaf, u), at.numeric(leaf).refine()
        if self.options.rtol is None:
            # Formulas hold constants in the function's own dtype, such as 2/sqrt(pi) in float16.
            constants = 2 * self.candidates.eps(leaf)
            rtol = min(rtol, _EXACT_RTOL, max(RTOL[EPS["float32"]], constants, 64 * gradients.eps))
        tolerance = rtol * scale + 10 * estimate.error + (self.options.atol or 0.0)
        tolerance += 1e3 * at.reference.eps * amplitude
        return gradients.directional(leaf, u), estimate, scale, tolerance

    def _inner_rounding(
        self, at: Comparison, finding: Finding, rtol: float, amplitude: float
    ) -> float:
        """How much rounding inside the function does, where its formulas are known to be right.

        They are if the traced gradient agrees with numerics in float64. Run in its own dtypes, its
        difference from that is rounding and nothing else.
        """
        gradients, leaf = self._in_float64(at), finding.leaf
        if gradients is None or gradients.gradients[leaf] is None:
            return 0.0
        right, estimate, _, tolerance = self._exactly(at, gradients, leaf, rtol, amplitude)
        if not abs(right - estimate.value) <= tolerance:
            return 0.0
        args = at.variant.prepare(at.point.values)
        dtypes = self.problem.output_dtypes
        narrow = [
            tf.constant(v.astype(d.as_numpy_dtype), d)
            for v, d in zip(at.point.cotangents[at.number], dtypes, strict=True)
        ]
        exact = self._exact[self.candidates.drawn_like(at.variant)]
        rerun = exact.native([*args, *narrow])
        if not same_values(rerun.outputs, at.backward.outputs, _OTHER_VALUES, at.point.sizes):
            return 0.0  # the trace draws other random numbers than the variant
        native = rerun.directional(leaf, at.u(leaf))
        return 4 * abs(native - right) if np.isfinite(native) else 0.0

    def _in_float64(self, at: Comparison) -> Backward | None:
        if not at.reference.name.startswith("promote") or isinstance(at.backward, ForwardMode):
            return None
        kind = self.candidates.drawn_like(at.variant)
        if kind not in self._exact:
            drawn = self.candidates.drawn(kind)
            self._exact[kind] = Exact(self.problem, self.guard, eager=kind == "eager", drawn=drawn)
        outputs = self.candidates.move_to(at.reference, at.point)
        cotangents = at.point.cotangents[at.number]
        return self._exact[kind].backward(at.point.values, cotangents, outputs)

    def moved_outputs(self, at_point: Point, variant: Variant, number: int = 0) -> Backward:
        """The backward pass with every leaf moved by about an ulp of the narrowest dtype."""
        return variant.backward(self.moved_values(at_point, number), at_point.cotangents[number])

    def moved_values(self, at_point: Point, number: int) -> list[Array]:
        """Every leaf moved by about an ulp of the narrowest dtype."""
        rng = np.random.default_rng([self.options.seed, number])
        values = []
        for i, (x, leaf) in enumerate(zip(at_point.values, self.problem.leaves, strict=True)):
            moved = x * (1 + self.candidates.eps(i) * np.sign(signs(rng, x.shape, False)))
            values.append(np.asarray(leaf.narrow(moved)).astype(x.dtype))
        return values

    def _noise(self, at: Comparison, leaf: int) -> float:
        """How much rounding the inputs moves the analytic derivative: ill-conditioning shows here.

        In the manner of stochastic arithmetic (J. Vignes, 1993): errors inside the computation
        are as large as what a perturbation of its inputs by an ulp does.
        """
        if at.exact:
            return 0.0
        try:
            moved = self.moved_outputs(at.point, at.variant, at.number)
            u = at.u(leaf)
            change = abs(moved.directional(leaf, u) - at.backward.directional(leaf, u))
        except (BackwardError, VariantError):
            return 0.0
        return change if np.isfinite(change) else 0.0

    def _narrow(self, at: Comparison, leaf: int) -> Finding:
        """Compare again along a direction that is relative to each element.

        Where elements differ much in size, as in log of (1e-6, 1), no step suits all of them.
        """
        self._narrowed.add((leaf, id(at.point), at.number))
        x, u = at.point.values[leaf], at.u(leaf)
        size = np.where(np.isfinite(x) & (x != 0), np.abs(x), 0)
        if rms(x) > 0:
            relative = np.where(size > 0, u * size / rms(x), u)
            at.point.directions[at.number][leaf] = representable(
                relative, self.problem.leaves[leaf].dtype.as_numpy_dtype
            )
            for key in [k for k in at.point.derivatives if k[1:] == (at.number, leaf)]:
                del at.point.derivatives[key]
        return self.compare(at, leaf)


def allowance(eps: float) -> float:
    """Rounding errors allowed for, relative to the amplitude; narrow dtypes have less room."""
    return (64 if eps <= EPS["float32"] else 8) * eps
