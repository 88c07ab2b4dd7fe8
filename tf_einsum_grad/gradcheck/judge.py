"""Run one order of a check: points, backward passes, references, and every leaf in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tf_einsum_grad.gradcheck.analytic import Backward, BackwardError, Variant, VariantError
from tf_einsum_grad.gradcheck.candidates import Candidates
from tf_einsum_grad.gradcheck.compare import NOISE_FACTOR, Comparer, allowance
from tf_einsum_grad.gradcheck.directions import Array, cotangent, direction, rms, signs
from tf_einsum_grad.gradcheck.exact import Exact
from tf_einsum_grad.gradcheck.findings import (
    Asymmetry,
    BudgetExhausted,
    Comparison,
    Finding,
    Options,
    Point,
)
from tf_einsum_grad.gradcheck.numeric import Derivative, steps_for
from tf_einsum_grad.gradcheck.precision import EPS, RTOL
from tf_einsum_grad.gradcheck.problem import Problem
from tf_einsum_grad.gradcheck.reference import Reference
from tf_einsum_grad.gradcheck.second import asymmetry
from tf_einsum_grad.gradcheck.state import StateGuard
from tf_einsum_grad.gradcheck.statuses import Status

_JITTER = 2.0**-5
_LARGER = 2.0**4  # a power of two changes no rounding
_NEARBY_POINTS = 3


class Judge(Comparer):
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
        self._exact: dict[str, Exact] = {}
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

        amplitude = self.amplitude(point, reference, number)
        found = Derivative(phi, amplitude=amplitude, steps=steps_for(reference.eps))
        if u is None:
            point.derivatives[key] = found
        return found

    def amplitude(self, point: Point, reference: Reference, number: int) -> float:
        """Size of the terms that the checked scalar sums."""
        key = reference.name, number
        if key not in point.amplitudes:
            outputs = point.outputs[reference.name]
            cotangents = point.cotangents[number]
            point.amplitudes[key] = _amplitude(cotangents, outputs, point.sizes)
        return point.amplitudes[key]

    def _point(self, values: list[Array]) -> Point:
        """Draw cotangents and directions at a point."""
        point = Point(values)
        first = next(iter(self.variants.values()))
        outputs = self.candidates.first_outputs(point, first)
        point.sizes = self.candidates.sizes(point, first, outputs, self.moved_values)
        for number in range(self.options.n_directions):
            point.cotangents.append(self._cotangents(outputs, point.sizes, number))
            point.directions.append(
                [
                    direction(self.rng, x, leaf.dtype.as_numpy_dtype)
                    for x, leaf in zip(values, self.problem.leaves, strict=True)
                ]
            )
        return point

    def _cotangents(
        self, outputs: Sequence[Array], sizes: Sequence[float], number: int
    ) -> list[Array]:
        # A gradient is linear in its cotangent, unless it clips it; so one is larger.
        wide = self.candidates.coarsest_eps <= EPS["float32"]
        factor = _LARGER if number == 1 and wide else 1.0
        return [
            cotangent(self.rng, y, d.as_numpy_dtype, size=size / factor, half=d.size == 2)
            for y, d, size in zip(outputs, self.problem.output_dtypes, sizes, strict=True)
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
            outputs = next(iter(point.outputs.values()))
            point.cotangents.append(self._cotangents(outputs, point.sizes, 0))
        us, ws = point.cotangents[:2]
        eps = max(self.candidates.eps(i) for i in range(len(self.problem.leaves)))
        rtol = RTOL[eps] if self.options.rtol is None else self.options.rtol
        outputs = next(iter(point.outputs.values()))
        amplitude = sum(_amplitude(v, outputs, point.sizes) for v in (us, ws))
        for name, variant in self.variants.items():
            if name == "forward":
                continue
            try:
                hu, hw = (self._base_pass(variant, number) for number in (0, 1))
                uhw, whu, scale = asymmetry(self.problem, us, ws, hu, hw)
                tolerance = 10 * rtol * scale + allowance(eps) * amplitude
                if abs(uhw - whu) > tolerance:
                    moved = self.moved_outputs(point, variant, 0)
                    shaken = asymmetry(self.problem, us, ws, moved, hw)[1]
                    tolerance += NOISE_FACTOR * abs(shaken - whu)
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
        reference = self.candidates.choose(point, variant, backward, self.moved_outputs)
        if isinstance(reference, str):
            return all_leaves(Status.NONDETERMINISTIC, reference)  # type: ignore[return-value]
        self.reference_names.add(reference.name.partition(":")[0])
        return Comparison(self, point, number, variant, backward, reference)

    def _safely(self, compared: Comparison, leaf: int) -> Finding:
        try:
            return self.compare(compared, leaf)
        except BudgetExhausted:
            cause = f"max_evaluations={self.options.max_evaluations} was reached"
        except VariantError as error:
            cause = f"cannot run in variant {compared.variant.name}: {error}"
        return Finding(leaf, compared.variant.name, Status.INCONCLUSIVE, cause=cause)


def _amplitude(
    cotangents: Sequence[Array], outputs: Sequence[Array], sizes: Sequence[float]
) -> float:
    """||v * y||, the size of the terms that the checked scalar sums."""
    square = 0.0
    for v, y, size in zip(cotangents, outputs, sizes, strict=True):
        terms = v * size if size > rms(y) else np.where(np.isfinite(y), v * y, 0)
        square += float(np.linalg.norm(np.ravel(terms))) ** 2
    return float(np.sqrt(square))


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
