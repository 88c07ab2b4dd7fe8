"""What is known about a leaf, and what a verdict on it may still need. No TensorFlow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from tf_einsum_grad.gradcheck.numeric import EPS, RTOL, Estimate

NOISE = 16  # rounding errors allowed for, in units of what an ulp of input does
_TRACED_NOISE = 4  # ... in units of what rounding does to the trace
_UNDECIDED = 0.05  # a numeric derivative known no better than this decides nothing
_LOST = 1e4  # errors up to so many times that of a lost numeric derivative decide nothing
_EXACT_RTOL = 1e-2  # at most, where both sides are in float64, whatever the function's own dtype
NARROW = EPS["float32"]
_NORMAL = 2.0**-126  # float32 holds nothing that is smaller, so no function in it means that
UNMEASURED = Estimate(math.nan, math.nan, math.nan, finite=False)


class Need(Enum):
    """What a rule wants to be measured, if it is not known yet."""

    ESTIMATE = "the numeric derivative, by one or two steps"
    REFINED = "the numeric derivative, by many steps"
    RELATIVE = "all anew, along a direction that is relative to each element"
    NOISE = "what an ulp of every input does to the analytic derivative"
    EXACT = "the traced gradient, run in float64"
    TRACED = "the traced gradient, run in its own dtypes"
    SYMMETRIC = "both derivatives along a symmetric direction"
    CLOSER = "whether a derivative that is all but zero is zero"


@dataclass(frozen=True, slots=True)
class Exact:
    """The traced gradient run in float64, and the numeric derivative that it is held against."""

    analytic: float
    scale: float  # its own ||g * u||
    eps: float  # the precision that it really ran in
    estimate: Estimate
    coarsest: float = 0.0  # of the dtypes that the traced gradient computes in by itself


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one leaf in one direction and variant."""

    defect: str = ""  # what is malformed about the gradient: its shape, its dtype
    empty: bool = False  # the leaf has no elements
    nonfinite: str = ""  # which entries of the gradient are NaN or infinite, in words
    connected: bool = True  # there is a gradient at all
    analytic: float = math.nan  # the directional derivative by the gradient, Re <g, u>
    scale: float = 0.0  # ||g * u||_2, which rtol is relative to
    rtol: float = 0.0
    default_rtol: bool = True  # nobody asked for another
    atol: float | None = None  # in place of the allowance for rounding, where it was asked for
    ignore_kinks: bool = False  # compare with the mean of left and right derivatives
    eps: float = EPS["float64"]  # of the narrowest dtype between the leaf and the outputs
    reference_eps: float = EPS["float64"]  # that the numeric derivative was computed in
    amplitude: float = 0.0  # size of the terms that the checked scalar sums
    strictness: float = 1.0  # the part of that allowance that the rtol asked for leaves
    share: float = 1.0  # how much of a leaf's own allowances one of several has, tested together
    other_draws: bool = False  # the reference may draw other random numbers than the variant
    step_noise: float = 0.0  # rounding error of the numeric derivative at the first steps
    known: frozenset[Need] = frozenset()  # what was measured; what follows is void unless it was
    estimate: Estimate = UNMEASURED  # the numeric derivative
    noise: float = 0.0  # by how much an ulp of every input moves `analytic`
    exact: Exact | None = None  # None where there is no such run
    traced: float | None = None  # `analytic` by the trace in its own dtypes, if it does the same
    # The analytic and the numeric derivative along a symmetric direction; None where the leaf is
    # no symmetric matrix, or symmetry explains nothing.
    symmetric: tuple[float, float] | None = None
    closer: Estimate | None = None  # by many steps; None where not even the largest shows one

    @property
    def error(self) -> float:
        """How far apart the two derivatives are."""
        return abs(self.analytic - self.estimate.value)

    @property
    def size(self) -> float:
        """How large a derivative may be here."""
        return max(self.scale, abs(self.estimate.value))

    @property
    def floor(self) -> float:
        """What rounding may do at least, in the function's own dtype."""
        rounding = self.strictness * allowance(self.eps) * self.amplitude
        return self.share * (rounding if self.atol is None else self.atol)

    @property
    def tolerance(self) -> float:
        """What `error` may be, by all that is known about rounding."""
        allowed = self.rtol * self.scale + 10 * self.estimate.error + self.floor
        allowed += NOISE * self.noise
        if self.exact is not None and self.traced is not None and not self.coarser:
            allowed += _TRACED_NOISE * abs(self.traced - self.exact.analytic)
        return allowed

    @property
    def coarser(self) -> bool:
        """Whether the backward pass computes in a narrower dtype than the forward pass."""
        return self.exact is not None and self.exact.coarsest > self.eps

    @property
    def refuted(self) -> bool:
        """Whether the two differ by more than all that may excuse it."""
        lost = self.undecided(self.estimate.error, abs(self.estimate.value))
        excused = lost and self.error <= _LOST * self.estimate.error
        return self.error > self.tolerance and not excused

    @property
    def all_but_zero(self) -> bool:
        """Whether both derivatives are zero as far as one sees."""
        zero = 10 * self.estimate.error + 1e-9 * self.share * self.amplitude
        return abs(self.estimate.value) <= zero and abs(self.analytic) <= max(zero, self.floor)

    @property
    def sloping(self) -> bool:
        """Whether a closer look shows a derivative that is not zero."""
        closer = self.closer
        return closer is not None and closer.finite and abs(closer.value) > 10 * closer.error

    @property
    def seen(self) -> Estimate:
        """The numeric derivative, after a closer look if there was one."""
        return self.closer if self.closer is not None and self.sloping else self.estimate

    @property
    def lenient(self) -> bool:
        """Whether it passed thanks to the allowance for rounding, or rtol itself allows much."""
        strict = self.rtol * self.scale + 10 * self.seen.error
        return self.eps > NARROW or abs(self.analytic - self.seen.value) > strict

    def undecided(self, error: float, size: float) -> bool:
        """Whether a numeric derivative is too inaccurate, for its size and for the function's."""
        coarse = 100 * math.sqrt(self.reference_eps) * self.share * self.amplitude
        return 10 * error > max(_UNDECIDED * size, coarse)

    def exact_tolerance(self, exact: Exact) -> float:
        """What the float64 run may differ by."""
        rtol = exact_rtol(self.rtol, self.eps, exact.eps) if self.default_rtol else self.rtol
        rounding = 1e3 * self.reference_eps * self.amplitude
        more = self.share * ((self.atol or 0.0) + rounding)
        more += _NORMAL if self.eps >= NARROW else 0.0
        return rtol * exact.scale + 10 * exact.estimate.error + more


def exact_rtol(rtol: float, eps: float, exact_eps: float) -> float:
    """Returns the relative tolerance of a run in `exact_eps` of a function in `eps`.

    Formulas hold constants, such as 2/sqrt(pi), in the function's own dtype.
    """
    return min(rtol, _EXACT_RTOL, max(RTOL[NARROW], 2 * eps, 64 * exact_eps))


def allowance(eps: float) -> float:
    """Rounding errors allowed for, relative to the amplitude; narrow dtypes have less room."""
    return (64 if eps <= NARROW else 8) * eps
