"""What a profile found, as plain data: its rows, its steps, and where it was measured."""

from __future__ import annotations

from dataclasses import dataclass

from tf_einsum_grad.benchmark.results import Environment
from tf_einsum_grad.benchmark.statistics import Ratio, Timing
from tf_einsum_grad.benchmark.workloads import Mode
from tf_einsum_grad.profiling.graph import Product

__all__ = ["Results", "Row", "Step", "Time"]


@dataclass(frozen=True, slots=True)
class Time:
    """How long one call takes inside a step, in seconds.

    Attributes:
        mode: how it runs.
        what: "forward", or "gradient 0" for that of operand 0.
        native: as it is.
        ours: with this package's einsum; None where installing it changes nothing.
    """

    mode: Mode
    what: str
    native: float
    ours: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One einsum or matmul of a layer.

    Attributes:
        product: what is multiplied, where, and which gradients a step needs.
        calls: how often a step runs it; in a loop, how often each turn does.
        flops: multiplications and additions of all calls, with the gradients that are needed.
        intermediate_bytes: of the largest tensor that ours makes on the way, in either pass.
        times: of one call; none where sizes are unknown or the einsum cannot run by itself.
        why: what makes native slow here; or why there are no times.
    """

    product: Product
    calls: int
    flops: int
    intermediate_bytes: int
    times: tuple[Time, ...]
    why: str

    def native(self, mode: Mode) -> float:
        """Seconds of all calls as they are, forward and backward."""
        return self.calls * sum(t.native for t in self.times if t.mode == mode)

    def ours(self, mode: Mode) -> float:
        """Seconds of all calls with this package installed."""
        times = [t for t in self.times if t.mode == mode]
        return self.calls * sum(t.native if t.ours is None else t.ours for t in times)

    def saved(self, mode: Mode) -> float:
        """Seconds that installing saves; below 0 where it costs some."""
        return self.native(mode) - self.ours(mode)


@dataclass(frozen=True, slots=True)
class Step:
    """The whole step, as it is and with this package installed, measured in turn.

    Attributes:
        mode: how it runs.
        native, ours: seconds.
        ratio: how many times as fast.
        difference: the largest difference between the losses, or the gradients, of the two, as a
            share of the largest element of any.
        native_bytes, ours_bytes: peak memory beyond variables and inputs; None where it could not
            be measured, which `notes` of the profile explain.
    """

    mode: Mode
    native: Timing
    ours: Timing
    ratio: Ratio
    difference: float
    native_bytes: int | None = None
    ours_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """The einsums of a model and what they cost.

    Attributes:
        name: of the model or function.
        training: whether a step takes gradients.
        environment: where it was measured.
        rows: what would be saved most first, then what takes longest.
        steps: one for each mode.
        notes: what else there is to know.
    """

    name: str
    training: bool
    environment: Environment
    rows: tuple[Row, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]

    def remainder(self, mode: Mode) -> float:
        """Seconds of the step, as it is, that the rows do not explain.

        Below 0 where einsums run at the same time, on several cores.
        """
        (step,) = [step for step in self.steps if step.mode == mode]
        return step.native.median - sum(row.native(mode) for row in self.rows)
