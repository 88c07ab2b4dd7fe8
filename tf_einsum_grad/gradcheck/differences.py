"""Derivatives along a direction by finite differences, refined on demand. No TensorFlow.

The function under test is a callable ``phi(h)``, the change of the checked scalar when leaves
move by ``h`` along their direction, with ``phi(0) = 0``.

The scheme is a geometric sequence of central differences ``D_k`` at ``h_k = h_0 / r**k`` with
one Richardson step, ``(r^2 D_{k+1} - D_k) / (r^2 - 1)`` (L. F. Richardson, 1911; C. J. F. Ridders,
"Accurate computation of F'(x) and F'(x)F''(x)", 1982, for choosing the step by the change from
one step to the next). The rounding error of a central difference is modeled as
``8 eps amplitude / h``, the amplitude being the size of the terms that the scalar is a sum of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from tf_einsum_grad.gradcheck.numeric import Estimate, Kink
from tf_einsum_grad.gradcheck.points import steps_for

_PERSISTENT = 3  # a kink must look the same at this many steps in a row
_AGREEMENT = 0.2  # ... to this relative accuracy
_LEVEL = 0.1  # how far slopes of steps in a row may differ, to have settled
_ODD = 1e-3  # how far a slope may be from that at a larger step, and no second look is due
_FAR = 8  # the step, in float64, that confirms an estimate by larger ones


class Derivative:
    """The derivative of ``phi`` at 0, refined on demand; every evaluation is kept.

    Args:
        phi: maps a step to the scalar's change; NaN and infinity mark steps outside the domain.
        amplitude: size of the terms that the scalar sums, for the rounding error.
        eps: machine precision of ``phi``.
        unit: what steps are multiples of.
    """

    def __init__(
        self, phi: Callable[[float], float], *, amplitude: float, eps: float, unit: float = 1.0
    ) -> None:
        self.phi, self.amplitude, self.steps = phi, amplitude, steps_for(eps, unit)
        self.samples: dict[int, tuple[float, float]] = {}
        self._refined: Estimate | None = None
        self._rounding = 0.0  # of a difference, where it is seen to be larger than modeled

    def glance(self, expected: float, accuracy: float) -> Estimate | None:
        """Returns the central difference of one step, if nothing is odd about it.

        That is, if it is as expected, and forward and backward differences agree, as they do not
        at a kink. None otherwise: look closer. The step is the smallest whose rounding error is
        well below the accuracy, so that kinks nearby are out of its reach. A larger one must not
        show another slope, alike on both sides; so this takes four evaluations.
        """
        if self._refined is None and self.steps.eps < 1e-12:
            k, coarse = self.glanced(accuracy), self.steps.start
            value, even = self._central(k), abs(self._even(k))
            close = abs(value - expected) <= accuracy
            smooth = even <= max(1e-3 * abs(value), 30 * self.noise(k))
            if close and smooth and not self._stands_apart(coarse, value, accuracy):
                error = self.noise(k) + (self.steps[k] / self.steps.first / 64) ** 2 * abs(value)
                return Estimate(value, error, self.steps[k])
        return None

    def _stands_apart(self, k: int, value: float, accuracy: float) -> bool:
        """Whether the slope at a step is another, and alike on both sides, as it is in stairs."""
        gap = abs(self._central(k) - value)
        odd = gap > max(_ODD * abs(value), 10 * accuracy, 10 * self.noise(k))
        return odd and abs(self._even(k)) <= _AGREEMENT * gap

    def glanced(self, accuracy: float) -> int:
        """Returns the number of the step that `glance` takes."""
        first = self.steps.start + 1
        fine = [k for k in range(first, self.steps.count) if 30 * self._modeled(k) <= accuracy]
        return max(fine, default=first)

    def first(self) -> Estimate:
        """Returns an estimate from two steps, that is, four evaluations.

        A second difference that does not shrink with the step, as at a kink, is reported as
        ``kink`` at once, so that the caller refines.
        """
        if self._refined is not None:
            return self._refined
        k = self.steps.start
        return replace(self._richardson(k), kink=self._suspect(k))

    def refine(self) -> Estimate:
        """Returns the best estimate over the steps.

        Takes six steps and one that is far smaller, and all only where these disagree.
        """
        if self._refined is not None:
            return self._refined
        used = min(6, self.steps.count)
        best = self._best(used)
        if self.steps.eps < 1e-12 and not self._confirmed(best):
            used = self.steps.count
            best = self._best(used)
        if self._vanishing(used):
            last = max(k for k in range(used) if abs(self._central(k)) > 3 * self.noise(k))
            error = abs(self._central(last))
            self._refined = Estimate(0.0, error, self.steps[last], vanishing=True)
        elif kink := self._classify(used):
            self._refined = replace(self._best(used, lopsided=True), kink=kink)
        else:
            self._refined = replace(best, rival=self._rival(best, used))
        return self._refined

    def vanishes(self) -> bool:
        """Whether not even the largest step, which rounding spoils least, shows a slope."""
        return not abs(self._central(0)) > 3 * self.noise(0)

    def noise(self, k: int) -> float:
        """Returns the rounding error of the central difference at step k."""
        return max(self._modeled(k), self._rounding / self.steps[k])

    def _modeled(self, k: int) -> float:
        return 8 * self.steps.eps * self.amplitude / self.steps[k]

    def _sample(self, k: int) -> tuple[float, float]:
        if k not in self.samples:
            self.samples[k] = self.phi(self.steps[k]), self.phi(-self.steps[k])
        return self.samples[k]

    def _central(self, k: int) -> float:
        plus, minus = self._sample(k)
        return (plus - minus) / (2 * self.steps[k])

    def _richardson(self, k: int) -> Estimate:
        square = self.steps.ratio**2
        coarse, fine = self._central(k), self._central(k + 1)
        value = (square * fine - coarse) / (square - 1)
        if not math.isfinite(value):
            return Estimate(math.nan, math.inf, self.steps[k + 1], finite=False)
        return Estimate(value, abs(fine - coarse) + self.noise(k + 1), self.steps[k + 1])

    def _confirmed(self, best: Estimate) -> bool:
        """Whether an estimate is accurate, and a step out of reach of most kinks agrees with it."""
        small = best.error <= 1e-6 * abs(best.value) or best.error <= 1e3 * self.noise(0)
        difference = abs(self._central(_FAR) - best.value)
        return small and difference <= self.noise(_FAR) + best.error

    def _best(self, count: int, lopsided: bool = False) -> Estimate:
        """Returns the estimate with the least error that no smaller step refutes.

        Where two steps in a row agree, that is their error. But the slope of a function with
        kinks nearby is the same over many steps that jump across them, too; it is only the
        smaller steps that tell. So an estimate's error is at least its distance from what they
        settle on, beyond their own errors (as in O. Lepski's choice of a bandwidth, 1991). Where
        left and right slopes differ, and no less at the next step, it may be either of the two,
        unless `lopsided` says that their mean is wanted.
        """
        for k in range(count):
            self._sample(k)
        if count == self.steps.count and self.steps.eps < 1e-12:
            self._rounding = self._seen_rounding(count)
        found = [e for e in self._settled(count - 1) if e.finite]
        for k, estimate in enumerate(found):
            finer = found[k + 1 :]
            beyond = max((abs(e.value - estimate.value) - e.error for e in finer), default=0.0)
            either = 0.0 if lopsided else self._lopsided(estimate)
            found[k] = replace(estimate, error=estimate.error + max(beyond, 0.0) + either)
        nothing = Estimate(math.nan, math.inf, 0.0, finite=False)
        return min(found, key=lambda e: e.error, default=nothing)

    def _seen_rounding(self, count: int) -> float:
        """Returns the rounding error of a difference of values, by the smallest steps.

        There is nothing else in them, unless it is a kink, whose even part shrinks with the step.
        """
        tail = range(count - 3, count)
        evens = [abs(self._even(k)) * self.steps[k] for k in tail]
        odds = [abs(self._central(k) - self._central(k - 1)) * self.steps[k] for k in tail]
        seen = 2 * max(min(evens), sorted(odds)[1])
        return seen if math.isfinite(seen) else 0.0

    def _settled(self, count: int) -> list[Estimate]:
        """Extrapolates at all steps; where two in a row agree, that is their error.

        With the few steps of a low-precision reference, two may agree by chance.
        """
        found = [self._richardson(k) for k in range(count)]
        choose = min if self.steps.eps < 1e-12 else max
        values = [estimate.value for estimate in found]
        for k in range(1, count):
            change = abs(values[k] - values[k - 1]) + self.noise(k + 1)
            if math.isfinite(change):
                found[k] = replace(found[k], error=choose(change, found[k].error))
        if choose is max:
            for k in range(count - 1):
                change = abs(values[k + 1] - values[k])
                if math.isfinite(change):
                    found[k] = replace(found[k], error=max(change, found[k].error))
        return found

    def _rival(self, best: Estimate, count: int) -> float:
        """Returns what three larger steps in a row settle on, if that is another value; or NaN.

        A kink nearby also makes larger steps differ, but not alike on both sides. What remains are
        functions that are smooth from afar and something else at a closer look: their values
        come in stairs, by rounding within (softmax of x - 1e9) or by an iteration that stops.
        """
        for k in range(count - _PERSISTENT):
            tail = range(k, k + _PERSISTENT)
            if not self.steps[tail[-1]] > best.step or not best.finite:
                break
            slopes = [self._central(i) for i in tail]
            gap = min(abs(slope - best.value) for slope in slopes)
            level = all(abs(s - slopes[0]) <= _LEVEL * min(gap, abs(slopes[0])) for s in slopes)
            alike = all(abs(self._even(i)) <= _AGREEMENT * gap for i in tail)
            if level and alike and gap > 10 * (best.error + self.noise(tail[-1])):
                return slopes[0]
        return math.nan

    def _vanishing(self, count: int) -> bool:
        """Whether each central difference is a fraction of the one before, down to rounding."""
        slopes = [abs(self._central(k)) for k in range(count)]
        seen = [k for k in range(count) if slopes[k] > 3 * self.noise(k)]
        falling = all(4 * slopes[k + 1] <= slopes[k] for k in seen if k + 1 < count)
        return falling and len(seen) > _PERSISTENT and seen == list(range(len(seen)))

    def _even(self, k: int) -> float:
        """Returns forward minus backward difference: O(h) where smooth, constant at a kink."""
        plus, minus = self._sample(k)
        return (plus + minus) / self.steps[k]

    def _significant(self, k: int) -> bool:
        even = abs(self._even(k))
        return even > 30 * self.noise(k) and even > 1e-5 * abs(self._central(k))

    def _lopsided(self, estimate: Estimate) -> float:
        """Returns half the distance of left and right slope, unless it shrinks with the step."""
        k = round(math.log(self.steps.first / estimate.step, self.steps.ratio)) - 1
        return abs(self._even(k + 1)) / 2 if self._suspect(k) else 0.0

    def _suspect(self, k: int) -> Kink:
        """Tells a kink, by two steps only: the even part shrank by much less than the step did."""
        coarse, fine = abs(self._even(k)), abs(self._even(k + 1))
        suspicious = self._significant(k + 1) and coarse < math.sqrt(self.steps.ratio) * fine
        return "kink" if suspicious else ""

    def _classify(self, used: int) -> Kink:
        """Tells a kink or a jump, if the smallest steps all tell the same story.

        Rounding errors also grow as 1/h, but do not agree with each other, as a jump does.
        """
        ks = [k for k in range(used) if all(map(math.isfinite, self.samples[k]))]
        for end in range(len(ks), max(_PERSISTENT, len(ks) - 3) - 1, -1):
            tail, rest = ks[end - _PERSISTENT : end], ks[end:]
            if any(self._is_jump(tail, rest, sign) for sign in (1, -1)):
                return "jump"
            if self._is_kink(tail, rest):
                return "kink"
        return ""

    def _is_jump(self, tail: list[int], rest: list[int], sign: int) -> bool:
        sizes = [self.samples[k][0] + sign * self.samples[k][1] for k in (*tail, *rest)]
        ours, last = sizes[: len(tail)], abs(sizes[len(tail) - 1])
        lasting = all(abs(size) > last / 2 for size in sizes[len(tail) :])
        return last > 1e3 * self.steps.eps * self.amplitude and lasting and _agree(ours)

    def _is_kink(self, tail: list[int], rest: list[int]) -> bool:
        evens = [self._even(k) for k in tail]
        half = abs(evens[-1]) / 2
        lasting = all(abs(self._even(k)) + 30 * self.noise(k) > half for k in rest)
        return lasting and all(map(self._significant, tail)) and _agree(evens)


def _agree(values: list[float]) -> bool:
    largest = max(map(abs, values))
    return largest > 0 and max(values) - min(values) <= _AGREEMENT * largest
