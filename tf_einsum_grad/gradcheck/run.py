"""One order of a check: points, backward passes, references, and all leaves.

For each direction: one cotangent for all outputs, one backward pass per variant for all leaves, and
one numeric directional derivative for all leaves together, shared by the variants; what does not
pass is halved (see `joint`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from tf_einsum_grad.gradcheck.comparison import Comparison
from tf_einsum_grad.gradcheck.evidence import BudgetExhausted, Measurer
from tf_einsum_grad.gradcheck.flow import Flow
from tf_einsum_grad.gradcheck.joint import Group, groups
from tf_einsum_grad.gradcheck.numeric import EPS, Array, Arrays
from tf_einsum_grad.gradcheck.oracle import NondeterministicError, Oracle
from tf_einsum_grad.gradcheck.points import cotangent, direction
from tf_einsum_grad.gradcheck.points import nearby as point_nearby
from tf_einsum_grad.gradcheck.problem import Options, Point, Problem, VariantName
from tf_einsum_grad.gradcheck.progress import PROGRESS
from tf_einsum_grad.gradcheck.state import StateGuard
from tf_einsum_grad.gradcheck.status import Status
from tf_einsum_grad.gradcheck.verdict import Verdict, nearby, obstructed

_LARGER = 2.0**4  # a power of two changes no rounding
_NEARBY_POINTS = 3
_FEW = 8  # leaves together at a kink that are worth telling apart


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
        self.rng = np.random.default_rng([options.seed, order])
        self._done = 0
        self._base_passes: dict[tuple[VariantName, int], Backward] = {}

    @property
    def passes(self) -> int:
        """Backward passes so far."""
        return sum(v.passes for v in self.variants.values())

    def findings(self) -> list[Finding]:
        """Checks every leaf in every variant and direction; then nearby, what is obscure here."""
        self.base_point = self.point(self.problem.base())
        leaves = range(len(self.problem.leaves))
        found = self.at(self.base_point, {(v, leaf) for v in self.variants for leaf in leaves})
        return self._elsewhere(found) if self.options.kinks == "jitter" else found

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

    def point(self, values: list[Array], directions: int | None = None) -> Point:
        """Draws cotangents and directions at a point, as many as asked for, or as is usual."""
        point = Point(values)
        first = next(iter(self.variants.values()))
        outputs = self.oracle.first_outputs(point, first)
        point.sizes = self.oracle.sizes(point, first, outputs)
        for number in range(directions or self.options.n_directions):
            point.cotangents.append(self._cotangents(outputs, point.sizes, number))
            pairs = zip(values, self.problem.leaves, strict=True)
            u = [direction(self.rng, x, leaf.dtype.as_numpy_dtype) for x, leaf in pairs]
            point.directions.append(u)
        loss = [y.shape for y in outputs] == [()] and np.isrealobj(outputs[0])
        if loss and self.order == 1 and directions is None:
            # Scaled cotangents would hide that its own vanishes, or overflows, on the way.
            point.cotangents.append([np.ones(())])
            point.directions.append(point.directions[0])
        return point

    def _cotangents(self, outputs: Arrays, sizes: Sequence[float], number: int) -> list[Array]:
        # A gradient is linear in its cotangent, unless it clips it; so one is larger.
        wide = self.oracle.coarsest_eps <= EPS["float32"]
        factor = _LARGER if number == 1 and wide else 1.0
        return [
            cotangent(self.rng, y, d.as_numpy_dtype, size / factor, d.size == 2)
            for y, d, size in zip(outputs, self.problem.output_dtypes, sizes, strict=True)
        ]

    def at(self, point: Point, wanted: set[tuple[VariantName, int]]) -> list[Finding]:
        """Compares at a point what is wanted of (variant, leaf), in every direction."""
        total = len(self.variants) * len(self.problem.leaves) * self.options.n_directions
        PROGRESS.get().compared(min(self._done, total), total)
        findings = []
        for number in range(len(point.directions)):
            obstacle = False
            for name, variant in list(self.variants.items()):
                leaves = sorted(leaf for v, leaf in wanted if v == name)
                if not leaves or (obstacle and name in self.options.by_default):
                    continue
                compared = self._compared(point, number, variant)
                if compared is None:
                    del self.variants[name]
                    continue
                obstacle = obstacle or isinstance(compared, Verdict)
                for finding in self._compare(leaves, name, compared):
                    findings.append(finding)
                    self._done += 1
                    PROGRESS.get().compared(min(self._done, total), total)
        return findings

    def _compare(
        self, leaves: Sequence[int], name: VariantName, compared: Comparison | Verdict
    ) -> Iterator[Finding]:
        """Yields a finding for each leaf, of those that can be tested together first."""
        if isinstance(compared, Verdict):
            yield from (Finding(leaf, name, compared) for leaf in leaves)
            return
        together = self._together(compared, leaves)
        for group in together:
            yield from self._settle(group, name, compared)
        settled = {leaf for group in together for leaf in group.leaves}
        for leaf in leaves:
            if leaf not in settled:
                yield self._finding(leaf, name, compared)

    def _together(self, at: Comparison, leaves: Sequence[int]) -> list[Group]:
        """Returns the leaves that are tested together; the same in all variants."""
        if at.reference.eps > EPS["float64"]:
            return []
        if at.number not in at.point.groups:
            could = [leaf for leaf in leaves if self.measurer.comparable(at, leaf)]
            kinds = [(self.oracle.eps(leaf), not at.point.values[leaf].any()) for leaf in could]
            scales = [at.backward.norm(leaf, at.u(leaf)) for leaf in could]
            rng = np.random.default_rng([self.options.seed, self.order, at.number])
            found = groups(could, scales, kinds, at.amplitude, rng)
            at.point.groups[at.number] = [group for group in found if len(group.leaves) > 1]
        wanted = set(leaves)
        return [group for group in at.point.groups[at.number] if wanted.issuperset(group.leaves)]

    def _settle(self, group: Group, name: VariantName, at: Comparison) -> Iterator[Finding]:
        """Yields a finding for each leaf of a group: of all, if all are right, or of each half."""
        if len(group.leaves) == 1:
            yield self._finding(group.leaves[0], name, at)
            return
        verdicts = None
        if all(self.measurer.comparable(at, leaf) for leaf in group.leaves):
            with suppress(BudgetExhausted, VariantError):  # each leaf says so
                verdicts = self._verdicts(group, at)
        if verdicts is None:
            for half in group.halves():
                yield from self._settle(half, name, at)
            return
        for leaf, verdict in zip(group.leaves, verdicts, strict=True):
            if verdict.status == Status.PASS or verdict.obscure:
                yield Finding(leaf, name, verdict, at)
            else:
                yield self._finding(leaf, name, at)

    def _verdicts(self, group: Group, at: Comparison) -> list[Verdict] | None:
        """Returns a verdict on each leaf of a group, None if they have to be told apart."""
        verdict = self.measurer.judge_together(at, group)
        shared = [self.measurer.share_of(at, group, verdict, leaf) for leaf in group.leaves]
        if verdict.status == Status.PASS:
            return shared
        inaccurate = verdict.status == Status.INCONCLUSIVE and not verdict.estimate.disputed
        if inaccurate or not verdict.obscure:
            exactly = self.measurer.judge_exactly(at, group)
            if exactly is not None:
                return exactly
        # Another point tells more; it is asked about all of them.
        many = len(group.leaves) > _FEW
        base = at.point is self.base_point and self.options.kinks == "jitter"
        return shared if base and verdict.obscure and (inaccurate or many) else None

    def _compared(self, point: Point, number: int, variant: Variant) -> Comparison | Verdict | None:
        """Runs one backward pass; returns the verdict on all leaves if there can be none.

        None where the variant cannot run, and nobody asked for it.
        """
        try:
            backward = variant.backward(point.values, point.cotangents[number])
        except VariantError as error:
            cause = f"cannot run in variant {variant.name}: {error}"
            if variant.name in self.options.by_default:
                self.oracle.warn(cause)
                return None
            return obstructed("variant", cause)
        except NoGradientError as error:
            place = Flow(self.problem).place_of(error.op)
            text = f"TensorFlow has no gradient {error}" + (f"; it is {place}" if place else "")
            return obstructed("no gradient", text)
        except BackwardError as error:
            cause = f"the backward pass raised {error}"
            if variant.name in self.options.by_default:
                self.oracle.warn(f"cannot run in variant {variant.name}: {cause}")
                return None
            return obstructed("backward", cause)
        if point is self.base_point:
            self._base_passes[variant.name, number] = backward
        if any(np.isnan(y).any() for y in backward.outputs):
            return obstructed("nan", "the function itself gives NaN here")
        if other := self.oracle.other_values(point, variant, backward):
            return obstructed("values", other)
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

    def _elsewhere(self, findings: list[Finding]) -> list[Finding]:
        """Replaces what is obscure, as at a kink, by what is found at points nearby."""
        base = self.base_point.values
        for _ in range(_NEARBY_POINTS):
            first = {(f.variant, f.leaf): f.verdict for f in findings if f.verdict.obscure}
            if not first:
                break
            point = self.point([self._jittered(i, x) for i, x in enumerate(base)])
            again = [
                replace(f, verdict=nearby(f.verdict, first[f.variant, f.leaf]))
                for f in self.at(point, set(first))
            ]
            findings = [f for f in findings if (f.variant, f.leaf) not in first] + again
        return findings

    def _jittered(self, leaf: int, x: Array) -> Array:
        return self.problem.leaves[leaf].rounded(point_nearby(self.rng, x))
