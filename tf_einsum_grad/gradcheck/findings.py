"""What passes between the parts of a check: options, points, comparisons, findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tf_einsum_grad.gradcheck.analytic import Backward, Variant
from tf_einsum_grad.gradcheck.directions import Array
from tf_einsum_grad.gradcheck.localise import Element
from tf_einsum_grad.gradcheck.numeric import Derivative
from tf_einsum_grad.gradcheck.reference import Reference
from tf_einsum_grad.gradcheck.statuses import Status

if TYPE_CHECKING:
    from tf_einsum_grad.gradcheck.judge import Judge


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
        """Whether the two agree."""
        return Status.PASS if abs(self.uhw - self.whu) <= self.tolerance else Status.FAIL


@dataclass
class Point:
    """Values of all leaves, with cotangents and directions there."""

    values: list[Array]
    cotangents: list[list[Array]] = field(default_factory=list)  # [direction][output]
    directions: list[list[Array]] = field(default_factory=list)  # [direction][leaf]
    sizes: list[float] = field(default_factory=list)  # of the terms that each output sums
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
