"""The verdict on one leaf: evidence in, verdict out. Nothing is measured here; no TensorFlow.

`decide` asks the rules of `RULES` in their order, and the first that answers wins. An answer is a
`Verdict`, or a `Need`: what has to be measured before the rule can tell. So nothing is measured in
vain, and each rule can be read, and tested, alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from tf_einsum_grad.gradcheck.facts import NARROW, UNMEASURED, Evidence, Need
from tf_einsum_grad.gradcheck.joint import STRICTER
from tf_einsum_grad.gradcheck.numeric import EPS, Estimate, Kink
from tf_einsum_grad.gradcheck.status import Status

_NAMES = {eps: name for name, eps in reversed(EPS.items()) if "complex" not in name}
_SIDES = 0.1  # a gradient this close to one of two values, relative to their distance, is that one


Obstacle = Literal[
    "variant", "backward", "no gradient", "nan", "nondeterministic", "budget", "values"
]
_OBSTACLES: dict[Obstacle, Status] = {
    "variant": Status.INCONCLUSIVE,  # it cannot run the function
    "backward": Status.FAIL,  # the backward pass raised, the forward pass did not
    "no gradient": Status.MISSING,  # TensorFlow has none for an op on the way
    "nan": Status.NONFINITE,  # the function's own values
    "nondeterministic": Status.NONDETERMINISTIC,
    "budget": Status.INCONCLUSIVE,  # max_evaluations was reached
    "values": Status.FAIL,  # the function is another one than in the first variant
}
ZERO = "the derivative is zero here, so nothing was tested"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status, why, and the numbers that it rests on; `exact` if they are the float64 run's."""

    status: Status
    cause: str = ""
    analytic: float = math.nan
    scale: float = 0.0
    estimate: Estimate = UNMEASURED
    tolerance: float = math.nan
    kink: Kink = ""
    exact: bool = False
    obscure: str = ""  # what is the matter at this point, if another one may tell more

    @property
    def error(self) -> float:
        """How far apart the two derivatives are."""
        return abs(self.analytic - self.estimate.value)


Answer = Verdict | Need | None
Rule = Callable[[Evidence], Answer]


def _verdict(e: Evidence, status: Status, cause: str = "") -> Verdict:
    return Verdict(status, cause, e.analytic, e.scale, e.seen, e.tolerance, e.estimate.kink)


def malformed(e: Evidence) -> Answer:
    """The gradient has the wrong shape or dtype."""
    cause = f"the gradient is malformed: {e.defect}"
    return Verdict(Status.FAIL, cause) if e.defect else None


def empty(e: Evidence) -> Answer:
    """A leaf without elements has no derivative that could be wrong."""
    nothing = Verdict(Status.PASS, "", 0.0, 0.0, replace(UNMEASURED, value=0.0), 0.0)
    return nothing if e.empty else None


def not_finite(e: Evidence) -> Answer:
    """The gradient holds NaN or infinity."""
    return Verdict(Status.NONFINITE, e.nonfinite, e.analytic) if e.nonfinite else None


def unmeasured(e: Evidence) -> Answer:
    """All that follows needs a numeric derivative."""
    return None if Need.ESTIMATE in e.known else Need.ESTIMATE


def unsettled(e: Evidence) -> Answer:
    """One or two steps do if they agree with the gradient and with each other, without a kink."""
    if Need.REFINED in e.known:
        return None
    allowed, rounding = e.rtol * e.scale, 100 * e.share * e.step_noise
    near = e.error <= allowed + 10 * e.estimate.error
    sure = e.estimate.error <= max(allowed, rounding)
    settled = near and sure and not e.undecided(e.estimate.error, e.size)
    return None if settled and not e.estimate.kink else Need.REFINED


def lost(e: Evidence) -> Answer:
    """Where elements differ much in size, as in log of (1e-6, 1), no step suits all of them."""
    unclear = not e.estimate.finite or e.undecided(e.estimate.error, e.size)
    return Need.RELATIVE if unclear and Need.RELATIVE not in e.known else None


def out_of_domain(e: Evidence) -> Answer:
    """There is no numeric derivative."""
    cause = "every finite-difference step leaves the function's domain"
    nothing = Verdict(Status.INCONCLUSIVE, cause, e.analytic, e.scale)
    return None if e.estimate.finite else nothing


def at_kink(e: Evidence) -> Answer:
    """Left and right derivatives differ, so there is none to compare with."""
    status = Status.JUMP if e.estimate.kink == "jump" else Status.KINK
    kink = f"a {e.estimate.kink}"
    found = replace(_verdict(e, status), tolerance=e.rtol * e.scale, obscure=kink)
    return found if e.estimate.kink and not e.ignore_kinks else None


def disputed(e: Evidence) -> Answer:
    """Larger steps settle on another derivative than smaller ones, and the gradient is one of them.

    Which is right is not for differences to tell: rounding within the function, or an iteration
    that stops, makes stairs of what is smooth, flat on each; and what is flat may be so in truth.
    """
    value, rival = e.estimate.value, e.estimate.rival
    gap = abs(value - rival)
    if not e.estimate.disputed or not gap > e.tolerance:
        return None
    sides_with_one = min(e.error, abs(e.analytic - rival)) <= max(_SIDES * gap, e.tolerance)
    cause = (
        f"the numeric derivative is {value:.6g} by small steps and {rival:.6g} by larger ones: "
        "the function's values come in stairs, by rounding within it or an iteration that stops"
    )
    found = replace(_verdict(e, Status.INCONCLUSIVE, cause), obscure="steps that disagree")
    return found if sides_with_one else None


def vanished(e: Evidence) -> Answer:
    """A gradient of nothing but zeros, where there is a derivative, is no rounding error."""
    nothing = e.connected and e.scale == 0 and e.estimate.finite
    beyond = e.error > 10 * e.estimate.error + e.floor
    cause = "the gradient is zero throughout; in half precision, small ones vanish: scale the loss"
    narrow = e.eps > NARROW and nothing and beyond and not e.all_but_zero
    return _verdict(e, Status.FAIL, cause) if narrow else None


def rounded(e: Evidence) -> Answer:
    """What differs too much may be rounding: first measured at the inputs, then inside.

    The inputs tell in the manner of stochastic arithmetic (J. Vignes, 1993): errors inside the
    computation are as large as what a perturbation of its inputs by an ulp does. The trace tells
    where its formulas are known to be right, since they agree with numerics in float64: run in
    its own dtypes, its difference from that is rounding and nothing else.
    """
    if e.atol is not None or not e.error > e.tolerance:
        return None
    for need in (Need.NOISE, Need.EXACT):
        if need not in e.known:
            return need
    if e.exact is None or Need.TRACED in e.known:
        return None
    gap = abs(e.exact.analytic - e.exact.estimate.value)
    return Need.TRACED if gap <= e.exact_tolerance(e.exact) else None


def drawn_otherwise(e: Evidence) -> Answer:
    """A difference means nothing where the two sides saw other random numbers."""
    cause = "XLA draws other random numbers, so there is no float64 reference"
    return _verdict(e, Status.INCONCLUSIVE, cause) if e.refuted and e.other_draws else None


def missing(e: Evidence) -> Answer:
    """There is no gradient where there is a derivative."""
    return _verdict(e, Status.MISSING) if e.refuted and not e.connected else None


def symmetric(e: Evidence) -> Answer:
    """By convention, the gradient with respect to a symmetric matrix is symmetric.

    `tf.linalg.cholesky` reads one triangle only, yet its gradient has two equal ones: it is the
    gradient on the space of symmetric matrices, on which alone the function is defined. Along
    symmetric directions, it is right.
    """
    if not e.refuted:
        return None
    if Need.SYMMETRIC not in e.known:
        return Need.SYMMETRIC
    if e.symmetric is None or not abs(e.symmetric[0] - e.symmetric[1]) <= 2 * e.tolerance:
        return None
    passed = _verdict(e, Status.PASS, "right along symmetric directions")
    estimate = replace(passed.estimate, value=e.symmetric[1])
    return replace(passed, analytic=e.symmetric[0], estimate=estimate)


def wrong(e: Evidence) -> Answer:
    """The two differ, and nothing excuses it."""
    if not e.refuted:
        return None
    cause = ""
    if (
        e.exact is not None
        and e.coarser
        and abs(e.exact.analytic - e.estimate.value) < e.error / 10
    ):
        digits = -math.log10(max(e.error / max(e.size, e.error), 1e-17))
        cause = (
            f"the backward pass computes in {_NAMES[e.exact.coarsest]}, the forward pass in "
            f"{_NAMES[e.eps]}: of its digits, {digits:.0f} are right"
        )
    return _verdict(e, Status.FAIL, cause)


def vanishing(e: Evidence) -> Answer:
    """Differences that shrink with the step, down to nothing, are those of a derivative of zero.

    Relative to its own size, such a derivative is never known.
    """
    zero = e.estimate.vanishing and abs(e.analytic) <= e.floor + 10 * e.estimate.error
    return _verdict(e, Status.PASS, ZERO) if zero else None


def inaccurate(e: Evidence) -> Answer:
    """The numeric derivative is too bad to hold anything against it."""
    vague = e.error > e.tolerance or e.undecided(e.estimate.error, e.size)
    return inconclusive(e) if vague else None


def inconclusive(e: Evidence) -> Verdict:
    """Returns the verdict where the numeric derivative decides nothing."""
    found = _verdict(e, Status.INCONCLUSIVE, "the numeric derivative is too inaccurate to tell")
    return replace(found, obscure="an inaccurate numeric derivative")


def zero(e: Evidence) -> Answer:
    """In a derivative of zero there is nothing that rounding could hide."""
    if not e.all_but_zero:
        return None
    if e.scale != 0 and Need.CLOSER not in e.known:
        return Need.CLOSER
    unseen = "a derivative of all but zero" if e.scale != 0 else ""
    return None if e.sloping else replace(_verdict(e, Status.PASS, ZERO), obscure=unseen)


def unsharp(e: Evidence) -> Answer:
    """Where native rounding may hide much, the traced gradient, in float64, is held to account.

    It has the same formulas without the rounding.
    """
    return Need.EXACT if e.lenient and Need.EXACT not in e.known else None


def hidden(e: Evidence) -> Answer:
    """The allowance for rounding is as large as the gradient, and nothing sharper is to be had."""
    size = max(e.scale, abs(e.seen.value))
    large = e.tolerance > size / 2 and size > 0.01 * e.amplitude
    cause = "rounding errors in the function's own dtype hide the gradient"
    return _verdict(e, Status.INCONCLUSIVE, cause) if e.lenient and not e.exact and large else None


def wrong_exactly(e: Evidence) -> Answer:
    """The formulas are wrong, though their rounding hid it."""
    exact = e.exact
    if not e.lenient or exact is None or not math.isfinite(exact.analytic):
        return None
    estimate, tolerance = exact.estimate, e.exact_tolerance(exact)
    if not estimate.finite or not abs(exact.analytic - estimate.value) > tolerance:
        return None
    undecided = e.undecided(estimate.error, abs(estimate.value))
    status, kink = Status.INCONCLUSIVE if undecided else Status.FAIL, e.estimate.kink
    return Verdict(status, "", exact.analytic, exact.scale, estimate, tolerance, kink, exact=True)


def right(e: Evidence) -> Answer:
    """The two agree."""
    return _verdict(e, Status.PASS)


RULES: tuple[Rule, ...] = (
    malformed, empty, not_finite, unmeasured, unsettled, lost, out_of_domain, at_kink, disputed,
    vanished, rounded, drawn_otherwise, missing, symmetric, wrong, vanishing, inaccurate, zero,
    unsharp, hidden, wrong_exactly, right,
)  # fmt: skip


def decide(evidence: Evidence) -> Verdict | Need:
    """Returns the answer of the first rule that has one.

    >>> decide(Evidence(analytic=2.0, scale=2.0)).name
    'ESTIMATE'
    """
    answers = (rule(evidence) for rule in RULES)
    return next(answer for answer in answers if answer is not None)


_TOGETHER = (Need.ESTIMATE, Need.REFINED, Need.EXACT, Need.CLOSER)


def decide_together(e: Evidence) -> Verdict | Need:
    """Returns PASS for leaves that were tested together, INCONCLUSIVE, or FAIL: test them apart.

    They must agree more closely than each would have to, whatever the numeric derivative's error:
    that is what `joint` shows to be enough. What may be rounding, or needs a closer look for
    another reason, is looked at one by one.
    """
    answer = decide(e)
    if isinstance(answer, Need):
        return answer if answer in _TOGETHER else _verdict(e, Status.FAIL)
    zero = STRICTER * e.share * (100 * e.step_noise + 1e-9 * e.amplitude)
    if answer.status != Status.PASS or e.error <= max(3 * e.rtol * e.scale, zero):
        return answer
    # All that they differ by may be the numeric derivative's error; or may not.
    return inconclusive(e) if e.error <= 10 * e.seen.error else _verdict(e, Status.FAIL)


SMALL = "elements that are small beside others are wrong"


def decide_small(
    analytic: float, scale: float, estimate: Estimate, allowed: float, several: bool
) -> Verdict:
    """Returns PASS, FAIL, or INCONCLUSIVE where the numeric derivative is in any doubt.

    Args:
        analytic: by the traced gradient in float64, along a direction to which all elements
            contribute alike.
        scale: of one leaf's terms.
        estimate: the numeric derivative.
        allowed: by how much they may differ.
        several: whether leaves are tested together; then its own error excuses nothing.
    """
    tolerance = allowed + 10 * estimate.error
    found = Verdict(Status.FAIL, SMALL, analytic, scale, estimate, tolerance, exact=True)
    if not estimate.finite or estimate.kink or estimate.disputed:
        return replace(found, status=Status.INCONCLUSIVE)
    right = found.error <= (allowed if several else tolerance)
    return replace(found, status=Status.PASS) if right else found


def obstructed(obstacle: Obstacle, cause: str) -> Verdict:
    """Returns the verdict where something kept the two sides from being compared at all."""
    return Verdict(_OBSTACLES[obstacle], cause)


def nearby(verdict: Verdict, first: Verdict) -> Verdict:
    """Returns what a verdict at a point nearby says about the point itself, obscure at `first`."""
    obscure = first.obscure if not first.status.passed else ""
    verdict = replace(verdict, kink=first.kink, obscure=obscure)
    if verdict.status != Status.PASS:
        return verdict
    if first.status == Status.PASS:  # a derivative of zero
        return replace(first, obscure="") if verdict.cause == ZERO else verdict
    cause = f"{first.obscure} at the point itself; right next to it"
    return replace(verdict, status=Status.PASS_NEARBY, cause=cause, obscure="")


def decide_symmetry(e: Evidence) -> Verdict | Need:
    """Returns PASS or FAIL, or Need.NOISE if only rounding could excuse the difference.

    Args:
        e: holds u'Hw and w'Hu, H being a second derivative, in the places of the analytic and the
            numeric derivative. They are equal whatever the function.
    """
    e = replace(e, rtol=10 * e.rtol)
    if e.error > e.tolerance and Need.NOISE not in e.known:
        return Need.NOISE
    cause = "u'Hw and w'Hu differ: the gradient is not the gradient of anything"
    found = _verdict(e, Status.PASS if e.error <= e.tolerance else Status.FAIL, cause)
    return replace(found, estimate=replace(UNMEASURED, value=e.estimate.value))
