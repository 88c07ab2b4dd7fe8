"""One order of a check: points, backward passes, references, and every leaf in turn.

For each direction: one cotangent for all outputs, one backward pass per variant for all leaves, and
one numeric directional derivative per leaf, shared by the variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from tf_einsum_grad.gradcheck.analytic import (
    Backward,
    BackwardError,
    NoGradientError,
    Variant,
    VariantError,
)
from tf_einsum_grad.gradcheck.evidence import BudgetExhausted, Comparison, Measurer
from tf_einsum_grad.gradcheck.flow import Flow
from tf_einsum_grad.gradcheck.numeric import EPS, Array, Arrays, cotangent, direction, rms, signs
from tf_einsum_grad.gradcheck.oracle import NondeterministicError, Oracle
from tf_einsum_grad.gradcheck.problem import Options, Point, Problem, VariantName
from tf_einsum_grad.gradcheck.progress import PROGRESS
from tf_einsum_grad.gradcheck.state import StateGuard
from tf_einsum_grad.gradcheck.verdict import Verdict, nearby, obstructed

_JITTER = 2.0**-5
_LARGER = 2.0**4  # a power of two changes no rounding
_NEARBY_POINTS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on a leaf, in one direction and one variant.

    `where` is the comparison that it rests on, None where nothing could be compared.
    """

    leaf: int
    variant: VariantName
    verdict: Verdict
    where: Comparison | None = None


class Run:
    """Runs one order of a check.

    Args:
        problem: what to check; for second order, its gradient.
        order: 1 or 2; each draws other directions.
    """

    def __init__(self, problem: Problem, options: Options, guard: StateGuard, order: int) -> None:
        self.problem, self.options, self.order = problem, options, order
        self.oracle = Oracle(problem, options, guard)
        self.measurer = Measurer(problem, options, self.oracle)
        self.variants = {name: Variant(name, problem, guard) for name in options.variants}
        self._rng = np.random.default_rng([options.seed, order])
        self._done = 0
        self._base_passes: dict[tuple[VariantName, int], Backward] = {}

    @property
    def passes(self) -> int:
        """Backward passes so far."""
        return sum(v.passes for v in self.variants.values())

    def findings(self) -> list[Finding]:
        """Checks every leaf in every variant and direction; then again next to kinks."""
        self.base_point = self._point(self.problem.base())
        leaves = range(len(self.problem.leaves))
        found = self._at(self.base_point, {(v, leaf) for v in self.variants for leaf in leaves})
        return self._next_to_kinks(found) if self.options.kinks == "jitter" else found

    def symmetry(self) -> dict[VariantName, Verdict]:
        """Second order: says of each reverse variant whether u'Hw = w'Hu."""
        point = self.base_point
        if len(point.cotangents) == 1:
            outputs = next(iter(point.outputs.values()))
            point.cotangents.append(self._cotangents(outputs, point.sizes, 0))
        verdicts: dict[VariantName, Verdict] = {}
        for name, variant in self.variants.items():
            if name != "forward":
                # What these raise is already reported, for every leaf.
                with suppress(BackwardError, VariantError):
                    hu, hw = (self._base_pass(variant, number) for number in (0, 1))
                    verdicts[name] = self.measurer.symmetry(point, variant, hu, hw)
        return verdicts

    def _base_pass(self, variant: Variant, number: int) -> Backward:
        key = variant.name, number
        if key not in self._base_passes:
            point = self.base_point
            self._base_passes[key] = variant.backward(point.values, point.cotangents[number])
        return self._base_passes[key]

    def _point(self, values: list[Array]) -> Point:
        """Draws cotangents and directions at a point."""
        point = Point(values)
        first = next(iter(self.variants.values()))
        outputs = self.oracle.first_outputs(point, first)
        point.sizes = self.oracle.sizes(point, first, outputs)
        for number in range(self.options.n_directions):
            point.cotangents.append(self._cotangents(outputs, point.sizes, number))
            pairs = zip(values, self.problem.leaves, strict=True)
            u = [direction(self._rng, x, leaf.dtype.as_numpy_dtype) for x, leaf in pairs]
            point.directions.append(u)
        return point

    def _cotangents(self, outputs: Arrays, sizes: Sequence[float], number: int) -> list[Array]:
        # A gradient is linear in its cotangent, unless it clips it; so one is larger.
        wide = self.oracle.coarsest_eps <= EPS["float32"]
        factor = _LARGER if number == 1 and wide else 1.0
        return [
            cotangent(self._rng, y, d.as_numpy_dtype, size / factor, d.size == 2)
            for y, d, size in zip(outputs, self.problem.output_dtypes, sizes, strict=True)
        ]

    def _at(self, point: Point, wanted: set[tuple[VariantName, int]]) -> list[Finding]:
        """Compares at a point what is wanted of (variant, leaf), in every direction."""
        total = len(self.variants) * len(self.problem.leaves) * self.options.n_directions
        PROGRESS.get().compared(min(self._done, total), total)
        findings = []
        for number in range(self.options.n_directions):
            for name, variant in self.variants.items():
                leaves = sorted(leaf for v, leaf in wanted if v == name)
                if not leaves:
                    continue
                compared = self._compared(point, number, variant)
                for leaf in leaves:
                    findings.append(self._finding(leaf, name, compared))
                    self._done += 1
                    PROGRESS.get().compared(min(self._done, total), total)
        return findings

    def _compared(self, point: Point, number: int, variant: Variant) -> Comparison | Verdict:
        """Runs one backward pass; returns the verdict on all leaves if there can be none."""
        try:
            backward = variant.backward(point.values, point.cotangents[number])
        except VariantError as error:
            return obstructed("variant", f"cannot run in variant {variant.name}: {error}")
        except NoGradientError as error:
            place = Flow(self.problem).place_of(error.op)
            text = f"TensorFlow has no gradient {error}" + (f"; it is {place}" if place else "")
            return obstructed("no gradient", text)
        except BackwardError as error:
            return obstructed("backward", f"the backward pass raised {error}")
        if point is self.base_point:
            self._base_passes[variant.name, number] = backward
        if any(np.isnan(y).any() for y in backward.outputs):
            return obstructed("nan", "the function itself gives NaN here")
        try:
            reference = self.oracle.choose(point, variant, backward)
        except NondeterministicError as error:
            return obstructed("nondeterministic", str(error))
        return Comparison(point, number, variant, backward, reference)

    def _finding(self, leaf: int, name: VariantName, compared: Comparison | Verdict) -> Finding:
        if isinstance(compared, Verdict):
            return Finding(leaf, name, compared)
        try:
            return Finding(leaf, name, *self.measurer.judge(compared, leaf))
        except BudgetExhausted as error:
            return Finding(leaf, name, obstructed("budget", str(error)))
        except VariantError as error:
            cause = f"cannot run in variant {name}: {error}"
            return Finding(leaf, name, obstructed("variant", cause))

    def _next_to_kinks(self, findings: list[Finding]) -> list[Finding]:
        """Replaces findings at kinks by what is found at points next to them."""
        base = self.base_point.values
        for _ in range(_NEARBY_POINTS):
            kinks = {(f.variant, f.leaf): f.verdict.kink for f in findings if f.verdict.kink}
            kinky = {(f.variant, f.leaf) for f in findings if f.verdict.elsewhere}
            if not kinky:
                break
            point = self._point([self._jittered(i, x) for i, x in enumerate(base)])
            again = [
                replace(f, verdict=nearby(f.verdict, kinks.get((f.variant, f.leaf), "")))
                for f in self._at(point, kinky)
            ]
            findings = [f for f in findings if (f.variant, f.leaf) not in kinky] + again
        return findings

    def _jittered(self, leaf: int, x: Array) -> Array:
        size = _JITTER * (rms(x) or 1.0)
        moved = x + size * signs(self._rng, x.shape, np.iscomplexobj(x))
        return self.problem.leaves[leaf].rounded(np.where(np.isfinite(moved), moved, x))
