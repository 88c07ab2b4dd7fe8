"""Each rule of the verdict, what it leaves to the rules below it, and that their order matters.

No TensorFlow: the numbers are made up.
"""

import dataclasses
import itertools
import math
import subprocess
import sys

import pytest

from tf_einsum_grad.gradcheck import verdict
from tf_einsum_grad.gradcheck.facts import UNMEASURED, Evidence, Exact, Need, allowance
from tf_einsum_grad.gradcheck.numeric import EPS, Estimate
from tf_einsum_grad.gradcheck.status import Status, worst
from tf_einsum_grad.gradcheck.verdict import (
    RULES,
    Verdict,
    decide,
    decide_small,
    decide_symmetry,
    nearby,
    obstructed,
)

ALL = frozenset(Need)
NOTHING = frozenset()


def numeric(value=1.0, error=1e-9, **changes):
    return Estimate(value, error, 2.0**-12, **changes)


def exact(analytic=1.0, value=1.0, error=1e-9, scale=1.0, eps=EPS["float64"]):
    return Exact(analytic, scale, eps, numeric(value, error))


def evidence(*, unknown=(), **changes):
    """A float32 leaf whose derivative is 1 both ways, with everything measured but `unknown`."""
    right = Evidence(
        analytic=1.0, scale=1.0, rtol=2e-5, eps=EPS["float32"], amplitude=1.0,
        known=ALL - set(unknown), estimate=numeric(),
    )  # fmt: skip
    return dataclasses.replace(right, **changes)


def answer_of(found):
    return found if isinstance(found, Need) or found is None else found.status


WRONG = {"analytic": 1.01}
# A derivative known to 1%, far off: neither right nor wrong.
VAGUE = {"estimate": numeric(1.0, 0.1), "analytic": 3.0, "scale": 3.0}
HALF = {"eps": EPS["float16"], "rtol": 1e-2}
VANISHED = {**HALF, "analytic": 0.0, "scale": 0.0}
FLAT = {"analytic": 1e-10, "scale": 1e-10, "estimate": numeric(1e-10)}
VANISHING = {"analytic": 0.0, "scale": 0.0, "estimate": numeric(0.0, 1e-5, vanishing=True)}
KINK = {"estimate": numeric(kink="kink")}
OFF_DOMAIN = {"estimate": Estimate(math.nan, math.inf, 0.0, finite=False)}

# rule, evidence, its answer
ANSWERS = [
    ("malformed", evidence(defect="its shape is ()"), "FAIL"),
    ("empty", evidence(empty=True), "PASS"),
    ("not_finite", evidence(nonfinite="1 of 3 entries"), "NONFINITE"),
    ("unmeasured", evidence(unknown=ALL), Need.ESTIMATE),
    ("unsettled", evidence(unknown=[Need.REFINED], **WRONG), Need.REFINED),
    ("unsettled", evidence(unknown=[Need.REFINED], estimate=numeric(1, 1e-3)), Need.REFINED),
    ("unsettled", evidence(unknown=[Need.REFINED], **KINK), Need.REFINED),
    ("unsettled", evidence(unknown=[Need.REFINED], **OFF_DOMAIN), Need.REFINED),
    ("lost", evidence(unknown=[Need.RELATIVE], estimate=numeric(1, 0.01)), Need.RELATIVE),
    ("lost", evidence(unknown=[Need.RELATIVE], **OFF_DOMAIN), Need.RELATIVE),
    ("out_of_domain", evidence(**OFF_DOMAIN), "INCONCLUSIVE"),
    ("at_kink", evidence(**KINK), "KINK"),
    ("at_kink", evidence(estimate=numeric(kink="jump")), "JUMP"),
    ("disputed", evidence(estimate=numeric(rival=2.0)), "INCONCLUSIVE"),
    ("disputed", evidence(analytic=2.05, estimate=numeric(rival=2.0)), "INCONCLUSIVE"),
    ("vanished", evidence(**VANISHED), "FAIL"),
    ("rounded", evidence(unknown=[Need.NOISE], **{**VANISHED, "scale": 1e-9}), Need.NOISE),
    ("rounded", evidence(unknown=[Need.NOISE], **{**VANISHED, "eps": EPS["float32"]}), Need.NOISE),
    ("rounded", evidence(unknown=[Need.NOISE], **WRONG), Need.NOISE),
    ("rounded", evidence(unknown=[Need.EXACT], **WRONG), Need.EXACT),
    ("rounded", evidence(unknown=[Need.TRACED], exact=exact(), **WRONG), Need.TRACED),
    ("drawn_otherwise", evidence(other_draws=True, **WRONG), "INCONCLUSIVE"),
    ("missing", evidence(connected=False, analytic=0.0, scale=0.0), "MISSING"),
    ("symmetric", evidence(unknown=[Need.SYMMETRIC], **WRONG), Need.SYMMETRIC),
    ("symmetric", evidence(symmetric=(2.0, 2.0), **WRONG), "PASS"),
    ("wrong", evidence(**WRONG), "FAIL"),
    ("wrong", evidence(symmetric=(2.0, 2.1), **WRONG), "FAIL"),
    ("wrong", evidence(atol=0.001, **WRONG), "FAIL"),
    ("wrong", evidence(noise=1e-5, **WRONG), "FAIL"),
    ("wrong", evidence(exact=exact(1.01), **WRONG), "FAIL"),
    ("wrong", evidence(exact=dataclasses.replace(exact(), coarsest=EPS["float16"]), traced=1.01, **WRONG), "FAIL"),
    ("wrong", evidence(exact=exact(), traced=1.001, **WRONG), "FAIL"),
    ("wrong", evidence(analytic=3.0, estimate=numeric(rival=2.0)), "FAIL"),  # neither of two
    ("vanishing", evidence(**VANISHING), "PASS"),
    ("vanishing", evidence(**{**VANISHING, "analytic": 1e-6, "scale": 1e-6}), "PASS"),
    ("wrong", evidence(**{**VANISHING, "analytic": 1.0, "scale": 1.0}), "FAIL"),
    ("inaccurate", evidence(**VAGUE), "INCONCLUSIVE"),
    ("inaccurate", evidence(estimate=numeric(1, 0.01)), "INCONCLUSIVE"),
    ("zero", evidence(analytic=0.0, scale=0.0, estimate=numeric(1e-10)), "PASS"),
    ("zero", evidence(unknown=[Need.CLOSER], analytic=0.0, scale=0.0, estimate=numeric(1e-10)), "PASS"),
    ("zero", evidence(unknown=[Need.CLOSER], **FLAT), Need.CLOSER),
    ("zero", evidence(closer=numeric(1e-9, 1e-9), **FLAT), "PASS"),
    ("unsharp", evidence(unknown=[Need.EXACT], **HALF), Need.EXACT),
    ("unsharp", evidence(unknown=[Need.EXACT], analytic=1.0 + 1e-3, noise=1e-3), Need.EXACT),
    ("hidden", evidence(noise=0.1, **WRONG), "INCONCLUSIVE"),
    ("wrong_exactly", evidence(exact=exact(1.01), **HALF), "FAIL"),
    ("wrong_exactly", evidence(exact=exact(1.01, 1.0, 0.0007), **HALF), "FAIL"),
    ("wrong_exactly", evidence(exact=exact(1.0, 0.0, 0.01), **HALF), "INCONCLUSIVE"),
    ("right", evidence(), "PASS"),
    ("right", evidence(unknown=[Need.REFINED, Need.RELATIVE, Need.NOISE, Need.EXACT]), "PASS"),
    ("right", evidence(ignore_kinks=True, **KINK), "PASS"),
    ("right", evidence(noise=0.1, estimate=numeric(rival=1.01), exact=exact()), "PASS"),
    ("right", evidence(atol=0.1, **WRONG), "PASS"),
    ("right", evidence(noise=1e-3, **WRONG), "PASS"),
    ("right", evidence(exact=exact(), traced=1.01, **WRONG), "PASS"),
    ("right", evidence(exact=exact(), **HALF), "PASS"),
    ("right", evidence(exact=exact(1.001), **HALF), "PASS"),  # formulas hold float16 constants
    ("right", evidence(**HALF), "PASS"),
    ("right", evidence(exact=exact(math.nan), **HALF), "PASS"),
    ("right", evidence(closer=numeric(2e-9, 1e-10), **{**FLAT, "analytic": 2e-9, "scale": 2e-9}), "PASS"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "found", "answer"), ANSWERS)
def test_the_rule_that_decides(rule, found, answer):
    deciding = next(rule for rule in RULES if rule(found) is not None)
    assert deciding.__name__ == rule
    assert answer_of(decide(found)) == answer


def test_every_rule_is_tested():
    assert {name for name, _, _ in ANSWERS} == {rule.__name__ for rule in RULES}


# two rules that both have an answer, and not the same: the upper one must be asked first
OVERLAPS = [
    ("malformed", "empty", evidence(defect="x", empty=True)),
    ("malformed", "not_finite", evidence(defect="x", nonfinite="y")),
    ("empty", "not_finite", evidence(empty=True, nonfinite="x")),
    ("empty", "unmeasured", evidence(empty=True, unknown=ALL)),
    ("not_finite", "unmeasured", evidence(nonfinite="x", unknown=ALL)),
    ("unmeasured", "unsettled", evidence(unknown=ALL, estimate=UNMEASURED)),
    ("unsettled", "lost", evidence(unknown=[Need.REFINED, Need.RELATIVE], **VAGUE)),
    ("lost", "out_of_domain", evidence(unknown=[Need.RELATIVE], **OFF_DOMAIN)),
    ("lost", "inaccurate", evidence(unknown=[Need.RELATIVE], **VAGUE)),
    ("out_of_domain", "at_kink", evidence(estimate=numeric(kink="kink", finite=False))),
    ("out_of_domain", "right", evidence(**OFF_DOMAIN)),
    ("at_kink", "rounded", evidence(unknown=[Need.NOISE], **KINK, **WRONG)),
    ("at_kink", "wrong", evidence(**KINK, **WRONG)),
    ("at_kink", "disputed", evidence(estimate=numeric(kink="kink", rival=2.0))),
    ("disputed", "rounded", evidence(unknown=[Need.NOISE], analytic=2.0, estimate=numeric(rival=2.0))),
    ("disputed", "right", evidence(estimate=numeric(rival=2.0))),
    ("disputed", "vanished", evidence(**{**VANISHED, "estimate": numeric(rival=0.0)})),
    ("vanished", "rounded", evidence(unknown=[Need.NOISE], **VANISHED)),
    ("vanishing", "inaccurate", evidence(reference_eps=0.0, **VANISHING)),
    ("rounded", "drawn_otherwise", evidence(unknown=[Need.NOISE], other_draws=True, **WRONG)),
    ("rounded", "missing", evidence(unknown=[Need.NOISE], connected=False, **WRONG)),
    ("rounded", "wrong", evidence(unknown=[Need.NOISE], **WRONG)),
    ("rounded", "inaccurate", evidence(unknown=[Need.NOISE], **VAGUE)),
    ("drawn_otherwise", "missing", evidence(other_draws=True, connected=False, **WRONG)),
    ("drawn_otherwise", "symmetric", evidence(other_draws=True, unknown=[Need.SYMMETRIC], **WRONG)),
    ("missing", "symmetric", evidence(connected=False, symmetric=(2.0, 2.0), **WRONG)),
    ("symmetric", "wrong", evidence(symmetric=(2.0, 2.0), **WRONG)),
    ("wrong", "inaccurate", evidence(**WRONG)),
    ("inaccurate", "zero", evidence(reference_eps=0.0, **{**FLAT, "estimate": numeric(1e-10, 1e-9)})),
    ("zero", "unsharp", evidence(unknown=[Need.EXACT], **{**HALF, **FLAT})),
    ("unsharp", "hidden", evidence(unknown=[Need.EXACT], noise=0.1, **WRONG)),
    ("hidden", "right", evidence(noise=0.1, **WRONG)),
    ("wrong_exactly", "right", evidence(exact=exact(1.01), **HALF)),
]  # fmt: skip


@pytest.mark.parametrize(("upper", "lower", "found"), OVERLAPS)
def test_the_order_matters(upper, lower, found):
    first, second = (getattr(verdict, name)(found) for name in (upper, lower))
    assert None not in (first, second) and first != second
    assert decide(found) == first


def test_a_verdict_is_always_reached_and_nothing_is_measured_twice():
    for unknown in itertools.chain.from_iterable(
        itertools.combinations(Need, n) for n in range(len(Need) + 1)
    ):
        for changes in (WRONG, VAGUE, HALF, FLAT, KINK, OFF_DOMAIN):
            found, asked = evidence(unknown=unknown, **changes), []
            while isinstance(answer := decide(found), Need):
                assert answer in unknown and answer not in asked
                asked.append(answer)
                found = dataclasses.replace(found, known=found.known | {answer})
            assert isinstance(answer, Verdict)


LARGE = {**HALF, "reference_eps": 1e-7, "amplitude": 100.0}
BFLOAT16 = {"eps": EPS["bfloat16"], "rtol": 5e-2}
TINY = {"analytic": 5e-10, "scale": 5e-10, "estimate": numeric(5e-10, 0.0), "eps": EPS["float64"]}
SINGLE = {"analytic": 1e-3, "scale": 1e-3, "reference_eps": EPS["float32"]}
# what is just within a limit, what is just beyond it, and the two answers
LIMITS = {
    "symmetric": (
        evidence(symmetric=(2.0, 2.00005), **WRONG), evidence(symmetric=(2.0, 2.00006), **WRONG),
        "PASS", "FAIL",
    ),
    "rounding of the first steps": (
        evidence(unknown=[Need.REFINED], estimate=numeric(1, 9e-5), step_noise=9.05e-7),
        evidence(unknown=[Need.REFINED], estimate=numeric(1, 9e-5), step_noise=8.95e-7),
        "PASS", Need.REFINED,
    ),
    "rounding of the first steps of one of several": (
        evidence(unknown=[Need.REFINED], estimate=numeric(1, 9e-5), share=0.1, step_noise=9.05e-6),
        evidence(unknown=[Need.REFINED], estimate=numeric(1, 9e-5), share=0.1, step_noise=8.95e-6),
        "PASS", Need.REFINED,
    ),
    "an error of the first steps relative to the gradient": (
        evidence(unknown=[Need.REFINED], analytic=3.0, scale=3.0, estimate=numeric(3.0, 5.9e-5)),
        evidence(unknown=[Need.REFINED], analytic=3.0, scale=3.0, estimate=numeric(3.0, 6.1e-5)),
        "PASS", Need.REFINED,
    ),
    "all zero by more than the numeric derivative's error": (
        evidence(**{**VANISHED, "estimate": numeric(1.0, 0.099)}),
        evidence(**{**VANISHED, "estimate": numeric(1.0, 0.0995)}),
        "FAIL", "INCONCLUSIVE",
    ),
    "zero by differences that vanish": (
        evidence(**{**VANISHING, "analytic": 1.07e-4}), evidence(**{**VANISHING, "analytic": 1.08e-4}),
        "PASS", "INCONCLUSIVE",
    ),
    "hidden beside the gradient": (
        evidence(noise=0.031, **WRONG), evidence(noise=0.032, **WRONG), "PASS", "INCONCLUSIVE",
    ),
    "a coarse reference": (
        evidence(estimate=numeric(1e-3, 3e-3), **SINGLE),
        evidence(estimate=numeric(1e-3, 4e-3), **SINGLE),
        "PASS", "INCONCLUSIVE",
    ),
    "zero beside the amplitude": (
        evidence(unknown=[Need.CLOSER], **TINY),
        evidence(unknown=[Need.CLOSER], **{**TINY, "amplitude": 0.4}),
        Need.CLOSER, "PASS",
    ),
    "zero but for rounding": (
        evidence(unknown=[Need.CLOSER], analytic=7e-6, scale=1e-5, estimate=numeric(1e-10)),
        evidence(unknown=[Need.CLOSER], analytic=8e-6, scale=1, estimate=numeric(1e-10)),
        Need.CLOSER, "PASS",
    ),
    "hidden in a large sum": (
        evidence(noise=0.1, **{**WRONG, "amplitude": 110.0}),
        evidence(noise=0.1, **{**WRONG, "amplitude": 90.0}),
        "PASS", "INCONCLUSIVE",
    ),
    "the largest rtol in float64": (
        evidence(exact=exact(1.0099), **BFLOAT16), evidence(exact=exact(1.0101), **BFLOAT16),
        "PASS", "FAIL",
    ),
    "constants of a gradient run in less than float64": (
        evidence(exact=exact(1.005, eps=2.0**-13), **HALF),
        evidence(exact=exact(1.005, eps=2.0**-14), **HALF),
        "PASS", "FAIL",
    ),
    "rounding of the reference": (
        evidence(exact=exact(1.0099, error=0.0, scale=0.0), **LARGE),
        evidence(exact=exact(1.0101, error=0.0, scale=0.0), **LARGE),
        "PASS", "FAIL",
    ),
}  # fmt: skip


@pytest.mark.parametrize("limit", LIMITS)
def test_limits(limit):
    within, beyond, inside, outside = LIMITS[limit]
    assert answer_of(decide(within)) == inside
    assert answer_of(decide(beyond)) == outside


def test_narrow_dtypes_have_less_room_for_rounding():
    assert allowance(EPS["float32"]) == 64 * EPS["float32"]
    assert allowance(EPS["float16"]) == 8 * EPS["float16"]


# ------------------------------------------------------------------ the numbers of a verdict


def test_what_differs_is_reported_with_its_tolerance():
    found = decide(evidence(noise=1e-6, **WRONG))
    assert (found.analytic, found.estimate.value, found.scale) == (1.01, 1.0, 1.0)
    assert found.error == pytest.approx(0.01)
    assert found.tolerance == pytest.approx(2e-5 + 1e-8 + 64 * EPS["float32"] + 16e-6)
    rounded = decide(evidence(exact=exact(), traced=1.01, **WRONG))
    assert rounded.tolerance == pytest.approx(2e-5 + 1e-8 + 64 * EPS["float32"] + 0.04)
    assert decide(evidence(atol=0.5)).tolerance == pytest.approx(2e-5 + 1e-8 + 0.5)
    assert decide(evidence(**KINK)).tolerance == 2e-5


def test_the_float64_run_is_reported_where_it_decides():
    found = decide(evidence(exact=exact(1.02, scale=2.0), **HALF))
    assert found.exact and (found.analytic, found.scale) == (1.02, 2.0)
    assert found.tolerance == pytest.approx(2e-3 * 2 * 0.9765625 + 1e-8, rel=1e-3)
    asked = evidence(exact=exact(1.02), **{**HALF, "rtol": 1e-3}, default_rtol=False, atol=0.1)
    assert decide(asked).status == "PASS"
    assert not decide(evidence(**WRONG)).exact


def test_a_backward_pass_that_is_right_but_narrow_is_named():
    def cause(analytic):
        narrow = dataclasses.replace(exact(analytic), coarsest=EPS["float16"])
        return decide(evidence(exact=narrow, **WRONG)).cause

    assert cause(1.00095).startswith(
        "the backward pass computes in float16, the forward pass in float32"
    )
    assert cause(1.00095).endswith("of its digits, 2 are right")
    assert cause(1.00105) == ""  # its formulas are wrong as well
    assert decide(evidence(exact=exact(), **WRONG)).cause == ""


def test_a_symmetric_direction_and_a_closer_look_are_reported():
    found = decide(evidence(symmetric=(2.0, 2.00001), **WRONG))
    assert (found.analytic, found.estimate.value) == (2.0, 2.00001)
    assert found.cause == "right along symmetric directions"
    closer = numeric(2e-9, 1e-10)
    assert decide(evidence(closer=closer, **FLAT)).estimate == closer


def test_a_lost_derivative_excuses_errors_of_its_own_size_only():
    lost = {"estimate": numeric(1.0, 0.1), "analytic": 500.0, "scale": 1.0}
    assert decide(evidence(**lost)).status == "INCONCLUSIVE"
    assert decide(evidence(**{**lost, "analytic": 2000.0})).status == "FAIL"


def test_nothing_is_reported_where_nothing_was_compared():
    for found in (
        decide(evidence(defect="x")),
        obstructed("budget", "max_evaluations=4 was reached"),
    ):
        assert math.isnan(found.analytic) and math.isnan(found.tolerance)
        assert found.estimate == UNMEASURED and found.scale == 0.0
    assert decide(evidence(empty=True)).error == 0.0


@pytest.mark.parametrize(
    ("obstacle", "status"),
    [
        ("variant", "INCONCLUSIVE"), ("backward", "FAIL"), ("nan", "NONFINITE"),
        ("nondeterministic", "NONDETERMINISTIC"), ("budget", "INCONCLUSIVE"),
    ],
)  # fmt: skip
def test_obstacles(obstacle, status):
    assert obstructed(obstacle, "why") == Verdict(Status(status), "why")


def test_leaves_tested_together():
    def together(**changes):
        found = evidence(unknown=[Need.NOISE], **{"share": 0.1, **changes})
        return answer_of(verdict.decide_together(found))

    assert together() == "PASS"
    assert together(analytic=1 + 5e-5, estimate=numeric(error=1e-5)) == "PASS"  # within 3 rtol
    assert together(analytic=1 + 7e-5, estimate=numeric(error=1e-5)) == "INCONCLUSIVE"
    assert together(analytic=1 + 7e-5, atol=1.0) == "FAIL"
    assert together(**WRONG) == "FAIL"  # and not Need.NOISE
    assert together(**KINK) == "KINK"
    assert together(analytic=1 + 5e-5, estimate=numeric(error=1e-3)) == "PASS"  # they agree
    noisy = {"estimate": numeric(error=1e-4), "step_noise": 1e-5}  # 8 * 0.1 * 100 * 1e-5 allowed
    assert together(analytic=1 + 7.9e-4, **noisy) == "PASS"
    assert together(analytic=1 + 8.1e-4, **noisy) == "INCONCLUSIVE"


def test_next_to_a_kink():
    kink, jump = decide(evidence(**KINK)), decide(evidence(estimate=numeric(kink="jump")))
    passed = nearby(decide(evidence()), kink)
    assert passed.status == "PASS_NEARBY" and passed.kink == "kink" and not passed.obscure
    assert passed.cause == "a kink at the point itself; right next to it"
    failed = nearby(decide(evidence(**WRONG)), jump)
    assert failed.status == "FAIL" and failed.kink == "jump" and failed.cause == ""
    assert nearby(kink, jump).obscure == "a jump"  # so the next point is tried


def test_a_derivative_of_all_but_zero_is_looked_at_nearby():
    seen = decide(evidence(closer=numeric(1e-9, 1e-9), **FLAT))
    assert seen.status == "PASS" and seen.cause == verdict.ZERO and seen.obscure
    assert nearby(decide(evidence()), seen).status == "PASS"
    assert nearby(decide(evidence()), seen).cause == ""
    assert nearby(decide(evidence(**WRONG)), seen).status == "FAIL"
    again = nearby(seen, seen)
    assert again.status == "PASS" and again.cause == verdict.ZERO and not again.obscure
    nothing = decide(evidence(analytic=0.0, scale=0.0, estimate=numeric(1e-10)))
    assert nothing.cause == verdict.ZERO and not nothing.obscure  # an unused variable


def test_steps_that_disagree_call_for_another_point_and_show_both_values():
    found = decide(evidence(estimate=numeric(rival=2.0)))
    assert found.obscure and "1 by small steps and 2 by larger ones" in found.cause
    assert decide(evidence(**KINK)).obscure and decide(evidence(**VAGUE)).obscure
    assert not decide(evidence(**WRONG)).obscure and not decide(evidence()).obscure
    passed = nearby(decide(evidence()), found)
    assert passed.status == "PASS_NEARBY" and passed.kink == ""
    assert passed.cause == "steps that disagree at the point itself; right next to it"


def test_symmetry():
    found = Evidence(
        analytic=1.0, scale=1.0, rtol=1e-5, atol=1e-6, estimate=Estimate(1.001, 0.0, math.nan)
    )  # fmt: skip
    assert decide_symmetry(found) == Need.NOISE
    shaken = dataclasses.replace(found, known=frozenset({Need.NOISE}))
    assert decide_symmetry(shaken).status == "FAIL"
    excused = decide_symmetry(dataclasses.replace(shaken, noise=1e-4))
    assert excused.status == "PASS"
    assert excused.tolerance == pytest.approx(10 * 1e-5 + 1e-6 + 16 * 1e-4)
    for whu, status in ((1.00005, "PASS"), (math.nan, "FAIL")):
        estimate = Estimate(whu, 0.0, math.nan)
        assert decide_symmetry(dataclasses.replace(found, estimate=estimate)).status == status


# ------------------------------------------------------------------ statuses


def test_statuses():
    assert all(status.meaning for status in Status)
    assert worst([Status.PASS, Status.FAIL, Status.KINK]) == "FAIL"
    assert worst([Status.PASS, Status.INCONCLUSIVE]) == "INCONCLUSIVE"
    assert worst([]) == "SKIPPED"
    assert {s for s in Status if s.passed} == {"PASS", "PASS_NEARBY", "SKIPPED"}


@pytest.mark.parametrize(
    "module", ["verdict", "facts", "joint", "differences", "status", "numeric", "report"]
)
def test_no_tensorflow(module):
    code = (
        f"import sys, tf_einsum_grad.gradcheck.{module}\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("estimate", "several", "status"),
    [
        (Estimate(1.05, 0.0, 1e-3), False, "PASS"),
        (Estimate(1.2, 0.0, 1e-3), False, "FAIL"),
        (Estimate(1.2, 0.02, 1e-3), False, "PASS"),  # as far off as it may be itself
        (Estimate(1.2, 0.02, 1e-3), True, "FAIL"),  # of several: test them apart
        (Estimate(1.2, 0.0, 1e-3, kink="kink"), False, "INCONCLUSIVE"),
        (Estimate(1.2, 0.0, 1e-3, rival=1.0), False, "INCONCLUSIVE"),
        (Estimate(math.nan, math.inf, 1e-3, finite=False), False, "INCONCLUSIVE"),
    ],
)
def test_small_elements(estimate, several, status):
    found = decide_small(1.0, 1.0, estimate, 0.1, several)
    assert found.status == status and found.exact
