"""Compare the two sides, leaf by leaf, and look more closely where they do not agree at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.analytic import (
    Backward,
    BackwardError,
    ForwardMode,
    Variant,
    VariantError,
)
from tf_einsum_grad.gradcheck.candidates import Candidates
from tf_einsum_grad.gradcheck.directions import (
    Array,
    cotangent,
    direction,
    representable,
    rms,
    signs,
)
from tf_einsum_grad.gradcheck.exact import Exact
from tf_einsum_grad.gradcheck.localise import Element
from tf_einsum_grad.gradcheck.numeric import JUMP, Derivative, Estimate, steps_for
from tf_einsum_grad.gradcheck.precision import EPS, RTOL
from tf_einsum_grad.gradcheck.problem import Problem
from tf_einsum_grad.gradcheck.reference import Reference
from tf_einsum_grad.gradcheck.second import asymmetry
from tf_einsum_grad.gradcheck.state import StateGuard
from tf_einsum_grad.gradcheck.statuses import Status

_JITTER = 2.0**-5
_NEARBY_POINTS = 3
_NOISE_FACTOR = 16  # allowance for rounding errors, in units of what an ulp of input does
_UNDECIDED = 0.05  # a numeric derivative known no better than this decides nothing


class BudgetExhausted(RuntimeError):
    """max_evaluations is used up."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `check_gradients` that the comparison needs."""

    n_directions: int = 2
    rtol: float | None = None
    atol: float | None = None
    kinks: str = "jitter"
    freeze: bool = True
    max_evaluations: int | None = None
    seed: int = 0


@dataclass
class Finding:
    """One comparison: a leaf, in one direction, in one variant; with what `explain` needs."""

    leaf: int
    variant: str
    status: Status
    analytic: float = np.nan
    numeric: float = np.nan
    scale: float = 0.0
    tolerance: float = np.nan
    fd_error: float = np.nan
    step: float = np.nan
    kink: str = ""
    cause: str = ""
    elements: tuple[Element, ...] = ()
    ratio: float | None = None
    where: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Asymmetry:
    """u'Hw and w'Hu in one variant."""

    variant: str
    uhw: float
    whu: float
    scale: float
    tolerance: float

    @property
    def status(self) -> Status:
        return Status.PASS if abs(self.uhw - self.whu) <= self.tolerance else Status.FAIL


@dataclass
class Point:
    """Values of all leaves, with cotangents and directions there."""

    values: list[Array]
    cotangents: list[list[Array]] = field(default_factory=list)  # [direction][output]
    directions: list[list[Array]] = field(default_factory=list)  # [direction][leaf]
    outputs: dict[str, list[Array]] = field(default_factory=dict)  # [reference]
    amplitudes: dict[tuple[str, int], float] = field(default_factory=dict)
    derivatives: dict[tuple[str, int, int], Derivative] = field(default_factory=dict)


@dataclass
class Comparison:
    """One backward pass at a point, and the reference that it is held against."""

    judge: Judge
    point: Point
    number: int  # of the direction
    variant: Variant
    backward: Backward
    reference: Reference
    exact: bool = False  # the analytic side is the float64 run of the traced gradient

    def u(self, leaf: int) -> Array:
        """The direction of a leaf."""
        return self.point.directions[self.number][leaf]

    def numeric(self, leaf: int, u: Array | None = None) -> Derivative:
        """The numeric derivative along the leaf's direction, or along another."""
        return self.judge.derivative(self.point, self.reference, self.number, leaf, u)


class Judge:
    """Runs one order of a check.

    Args:
        problem: what to check; for second order, its gradient.
        reference: the name that the user chose.
        progress: called with (done, total) comparisons.
    """

    def __init__(
        self,
        problem: Problem,
        options: Options,
        guard: StateGuard,
        reference: str,
        order: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.problem, self.options, self.guard = problem, options, guard
        self.order, self.progress = order, progress or (lambda done, total: None)
        self.warnings: list[str] = []
        self.candidates = Candidates(problem, guard, reference, options.freeze, self.warnings)
        self.rng = np.random.default_rng([options.seed, order])
        self.variants: dict[str, Variant] = {}
        self.reference_names: set[str] = set()
        self._exact: dict[bool, Exact] = {}
        self._done = self._total = 0
        self._base_passes: dict[tuple[str, int], Backward] = {}
        self._narrowed: set[tuple[int, int, int]] = set()

    @property
    def evaluations(self) -> int:
        """Forward evaluations so far."""
        return self.candidates.evaluations + sum(e.evaluations for e in self._exact.values())

    @property
    def passes(self) -> int:
        """Backward passes so far."""
        return sum(v.passes for v in self.variants.values())

    def close(self) -> None:
        """Release the rewritten graphs."""
        self.candidates.close()
        for exact in self._exact.values():
            exact.close()

    def run(self, names: Sequence[str]) -> list[Finding]:
        """Check every leaf in every variant and direction; then again next to kinks."""
        self.variants = {n: Variant(n, self.problem, self.guard) for n in names}
        leaves = range(len(self.problem.leaves))
        self._total = len(names) * len(leaves) * self.options.n_directions
        base = self.base_point = self._point(self.problem.base())
        findings = self._at(base, {(name, leaf) for name in names for leaf in leaves})
        if self.options.kinks == "jitter":
            findings = self._nearby(base, findings)
        return findings

    def derivative(
        self, point: Point, reference: Reference, number: int, leaf: int, u: Array | None
    ) -> Derivative:
        """The numeric derivative of direction `number` for a leaf, kept for all variants."""
        key = reference.name, number, leaf
        if u is None and key in point.derivatives:
            return point.derivatives[key]
        self.candidates.move_to(reference, point)
        base, cotangents = point.outputs[reference.name], point.cotangents[number]
        along = point.directions[number][leaf] if u is None else u

        def phi(h: float) -> float:
            budget = self.options.max_evaluations
            if budget is not None and self.evaluations >= budget:
                raise BudgetExhausted
            moved = list(point.values)
            moved[leaf] = moved[leaf] + h * along
            self.candidates.move_to(reference, point)
            return _change(cotangents, reference.outputs(moved), base)

        amplitude = self._amplitude(point, reference, number)
        found = Derivative(phi, amplitude=amplitude, steps=steps_for(reference.eps))
        if u is None:
            point.derivatives[key] = found
        return found

    def _amplitude(self, point: Point, reference: Reference, number: int) -> float:
        key = reference.name, number
        if key not in point.amplitudes:
            outputs = point.outputs[reference.name]
            point.amplitudes[key] = _amplitude(point.cotangents[number], outputs)
        return point.amplitudes[key]

    def _point(self, values: list[Array]) -> Point:
        """Draw cotangents and directions at a point."""
        point = Point(values)
        outputs = self.candidates.first_outputs(point, next(iter(self.variants.values())))
        for _ in range(self.options.n_directions):
            point.cotangents.append(self._cotangents(outputs))
            point.directions.append(
                [
                    direction(self.rng, x, leaf.dtype.as_numpy_dtype)
                    for x, leaf in zip(values, self.problem.leaves, strict=True)
                ]
            )
        return point

    def _cotangents(self, outputs: Sequence[Array]) -> list[Array]:
        return [
            cotangent(self.rng, y, d.as_numpy_dtype, half=d.size == 2)
            for y, d in zip(outputs, self.problem.output_dtypes, strict=True)
        ]

    def _at(self, point: Point, wanted: set[tuple[str, int]]) -> list[Finding]:
        findings = []
        for number in range(self.options.n_directions):
            for name, variant in self.variants.items():
                leaves = sorted(leaf for v, leaf in wanted if v == name)
                if not leaves:
                    continue
                compared = self._backward(point, number, variant)
                for leaf in leaves:
                    finding = (
                        Finding(leaf, name, *compared)
                        if isinstance(compared, tuple)
                        else self._safely(compared, leaf)
                    )
                    findings.append(finding)
                    self._done += 1
                    self.progress(min(self._done, self._total), self._total)
        return findings

    def symmetry(self) -> list[Asymmetry]:
        """Second order: whether u'Hw = w'Hu, for each reverse variant."""
        point, found = self.base_point, []
        if len(point.cotangents) == 1:
            point.cotangents.append(self._cotangents(next(iter(point.outputs.values()))))
        us, ws = point.cotangents[:2]
        eps = max(self.candidates.eps(i) for i in range(len(self.problem.leaves)))
        rtol = RTOL[eps] if self.options.rtol is None else self.options.rtol
        outputs = next(iter(point.outputs.values()))
        amplitude = _amplitude(us, outputs) + _amplitude(ws, outputs)
        for name, variant in self.variants.items():
            if name == "forward":
                continue
            try:
                hu, hw = (self._base_pass(variant, number) for number in (0, 1))
                uhw, whu, scale = asymmetry(self.problem, us, ws, hu, hw)
                tolerance = 10 * rtol * scale + _allowance(eps) * amplitude
                if abs(uhw - whu) > tolerance:
                    moved = self._moved_outputs(point, variant, 0)
                    shaken = asymmetry(self.problem, us, ws, moved, hw)[1]
                    tolerance += _NOISE_FACTOR * abs(shaken - whu)
            except (BackwardError, VariantError):
                continue  # already reported, for every leaf
            found.append(Asymmetry(name, uhw, whu, scale, tolerance))
        return found

    def _base_pass(self, variant: Variant, number: int) -> Backward:
        key = variant.name, number
        if key not in self._base_passes:
            point = self.base_point
            self._base_passes[key] = variant.backward(point.values, point.cotangents[number])
        return self._base_passes[key]

    def _nearby(self, base: Point, findings: list[Finding]) -> list[Finding]:
        """Replace findings at kinks by what is found at points next to them."""
        for _ in range(_NEARBY_POINTS):
            kinky = {
                (f.variant, f.leaf) for f in findings if f.status in (Status.KINK, Status.JUMP)
            }
            if not kinky:
                break
            kinks = {(f.variant, f.leaf): f.kink for f in findings if f.kink}
            point = self._point([self._jittered(i, x) for i, x in enumerate(base.values)])
            again = self._at(point, kinky)
            for finding in again:
                finding.kink = kinks[finding.variant, finding.leaf]
                if finding.status == Status.PASS:
                    finding.status = Status.PASS_NEARBY
                    finding.cause = f"a {finding.kink} at the point itself; right next to it"
            findings = [f for f in findings if (f.variant, f.leaf) not in kinky] + again
        return findings

    def _jittered(self, leaf: int, x: Array) -> Array:
        size = _JITTER * (rms(x) or 1.0)
        moved = x + size * signs(self.rng, x.shape, np.iscomplexobj(x))
        moved = np.where(np.isfinite(x), moved, x)
        return np.asarray(self.problem.leaves[leaf].narrow(moved)).astype(x.dtype)

    def _backward(
        self, point: Point, number: int, variant: Variant
    ) -> Comparison | tuple[Status, ...]:
        """One backward pass; or the status of all leaves, and why, if there can be none."""
        nan = float("nan")

        def all_leaves(status: Status, cause: str) -> tuple[object, ...]:
            return status, nan, nan, 0.0, nan, nan, nan, "", cause

        try:
            backward = variant.backward(point.values, point.cotangents[number])
        except VariantError as error:
            why = f"cannot run in variant {variant.name}: {error}"
            return all_leaves(Status.INCONCLUSIVE, why)  # type: ignore[return-value]
        except BackwardError as error:
            why = f"the backward pass raised {error}"
            return all_leaves(Status.FAIL, why)  # type: ignore[return-value]
        if point is self.base_point:
            self._base_passes[variant.name, number] = backward
        if any(np.isnan(y).any() for y in backward.outputs):
            why = "the function itself gives NaN here"
            return all_leaves(Status.NONFINITE, why)  # type: ignore[return-value]
        reference = self.candidates.choose(point, variant, backward, self._moved_outputs)
        if isinstance(reference, str):
            return all_leaves(Status.NONDETERMINISTIC, reference)  # type: ignore[return-value]
        self.reference_names.add(reference.name.partition(":")[0])
        return Comparison(self, point, number, variant, backward, reference)

    def _safely(self, compared: Comparison, leaf: int) -> Finding:
        try:
            return self._compare(compared, leaf)
        except BudgetExhausted:
            cause = f"max_evaluations={self.options.max_evaluations} was reached"
        except VariantError as error:
            cause = f"cannot run in variant {compared.variant.name}: {error}"
        return Finding(leaf, compared.variant.name, Status.INCONCLUSIVE, cause=cause)

    def _compare(self, at: Comparison, leaf: int) -> Finding:
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
        amplitude = self._amplitude(at.point, at.reference, at.number)
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
        floor = _allowance(eps) * amplitude if self.options.atol is None else self.options.atol
        finding.tolerance = rtol * finding.scale + 10 * finding.fd_error + floor
        if error > finding.tolerance and self.options.atol is None:
            finding.tolerance += _NOISE_FACTOR * self._noise(at, leaf)
        if error > finding.tolerance and self.options.atol is None:
            finding.tolerance += self._inner_rounding(at, finding, rtol, amplitude)
        if error > finding.tolerance:
            missing = not at.backward.connected(leaf, at.u(leaf))
            finding.status = Status.MISSING if missing else Status.FAIL
            return
        size = max(finding.scale, abs(finding.numeric))
        if self._undecided(at, finding.fd_error, size, amplitude):
            finding.status = Status.INCONCLUSIVE
            finding.cause = "the numeric derivative is too inaccurate to tell"
            return
        if abs(finding.numeric) <= 10 * finding.fd_error + 1e-9 * amplitude:
            return  # a derivative of zero: there is nothing that rounding could hide
        # It passed only thanks to the allowance for rounding, or rtol itself allows much.
        if eps > EPS["float32"] or error > rtol * finding.scale + 10 * finding.fd_error:
            self._sharpen(at, finding, rtol, amplitude)

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
            finding.status, finding.tolerance, finding.scale = Status.FAIL, tolerance, scale
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
        tolerance = min(rtol, 1e-2) * scale + 10 * estimate.error
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
        exact = self._exact[self.candidates.seeded_eagerly(at.variant)]
        native = exact.native([*args, *narrow]).directional(leaf, at.u(leaf))
        return 4 * abs(native - right) if np.isfinite(native) else 0.0

    def _in_float64(self, at: Comparison) -> Backward | None:
        if not at.reference.name.startswith("promote") or isinstance(at.backward, ForwardMode):
            return None
        eager = self.candidates.seeded_eagerly(at.variant)
        if eager not in self._exact:
            self._exact[eager] = Exact(self.problem, self.guard, eager)
        outputs = self.candidates.move_to(at.reference, at.point)
        cotangents = at.point.cotangents[at.number]
        return self._exact[eager].backward(at.point.values, cotangents, outputs)

    def _moved_outputs(self, at_point: Point, variant: Variant, number: int = 0) -> Backward:
        """The backward pass with every leaf moved by about an ulp of the narrowest dtype."""
        rng = np.random.default_rng([self.options.seed, number])
        values = []
        for i, (x, leaf) in enumerate(zip(at_point.values, self.problem.leaves, strict=True)):
            moved = x * (1 + self.candidates.eps(i) * np.sign(signs(rng, x.shape, False)))
            values.append(np.asarray(leaf.narrow(moved)).astype(x.dtype))
        return variant.backward(values, at_point.cotangents[number])

    def _noise(self, at: Comparison, leaf: int) -> float:
        """How much rounding the inputs moves the analytic derivative: ill-conditioning shows here.

        In the manner of stochastic arithmetic (J. Vignes, 1993): errors inside the computation
        are as large as what a perturbation of its inputs by an ulp does.
        """
        if at.exact:
            return 0.0
        try:
            moved = self._moved_outputs(at.point, at.variant, at.number)
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
        return self._compare(at, leaf)


def _amplitude(cotangents: Sequence[Array], outputs: Sequence[Array]) -> float:
    """||v * y||, the size of the terms that the checked scalar sums."""
    finite = [np.where(np.isfinite(y), v * y, 0) for v, y in zip(cotangents, outputs, strict=True)]
    return float(np.sqrt(sum(np.linalg.norm(np.ravel(part)) ** 2 for part in finite)))


def _allowance(eps: float) -> float:
    """Rounding errors allowed for, relative to the amplitude; narrow dtypes have less room."""
    return (64 if eps <= EPS["float32"] else 8) * eps


def _change(cotangents: Sequence[Array], outputs: Sequence[Array], base: Sequence[Array]) -> float:
    """Re <v, y - y0>: differences, so that a large constant in y does no harm."""
    total = 0.0
    for v, y, y0 in zip(cotangents, outputs, base, strict=True):
        if y.shape != y0.shape:
            return float("nan")
        with np.errstate(invalid="ignore"):
            difference = np.where(np.isfinite(y0), y - y0, 0)
        total += float(np.real(np.vdot(v, difference)))
    return total
