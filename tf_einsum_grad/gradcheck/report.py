"""The result of a check: plain, frozen data. No TensorFlow here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tf_einsum_grad.gradcheck.statuses import Status

Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LeafReport:
    """What was found about one input or variable: the worst over directions and variants.

    Attributes:
        name: an argument with its path in the nest, or a variable's path.
        shape, dtype: of the leaf.
        status: the verdict.
        analytic, numeric: the two directional derivatives of the finding, Re <g, u>.
        abs_error, rel_error: their difference; relative to ||g * u||_2, the tolerance's scale.
        tolerance: what abs_error was allowed to be.
        fd_error: estimated error of the numeric derivative.
        step: step of the finite difference, relative to the leaf's size.
        kink: "", "kink" or "jump", at the point itself.
        worst_indices: elements with the largest errors, worst first, if localised.
        worst_values: (analytic, numeric) for each of these.
        ratio: analytic / numeric where it is the same everywhere.
        cause: the likely cause, in words.
        variant, order: where the worst finding was made.
    """

    name: str
    shape: Index
    dtype: str
    status: Status
    analytic: float = math.nan
    numeric: float = math.nan
    abs_error: float = math.nan
    rel_error: float = math.nan
    tolerance: float = math.nan
    fd_error: float = math.nan
    step: float = math.nan
    kink: str = ""
    worst_indices: tuple[Index, ...] = ()
    worst_values: tuple[tuple[float, float], ...] = ()
    ratio: float | None = None
    cause: str = ""
    variant: str = ""
    order: int = 1

    def describe(self) -> str:
        """One or a few lines: the leaf, the indices, both values, the tolerance, the cause."""
        shape = "x".join(map(str, self.shape)) or "scalar"
        text = f"{self.status} {self.name} ({shape} {self.dtype})"
        if self.order == 2:
            text += ", second order"
        if self.status in (Status.SKIPPED, Status.PASS):
            return text
        if not math.isnan(self.abs_error):
            text += (
                f": analytic {self.analytic:.6g}, numeric {self.numeric:.6g},"
                f" differ by {self.abs_error:.3g}, tolerance {self.tolerance:.3g}"
            )
        for index, (analytic, numeric) in zip(self.worst_indices, self.worst_values, strict=True):
            where = f"[{', '.join(map(str, index))}]"
            text += f"\n    {where}: analytic {analytic:.6g}, numeric {numeric:.6g}"
        if self.cause:
            text += f"\n    {self.cause}"
        return text


@dataclass(frozen=True, slots=True)
class GradientReport:
    """The result of `check_gradients`; true if it passed.

    Attributes:
        status: the worst status of all leaves.
        leaves: one `LeafReport` per input and variable.
        variants: the worst status of each variant.
        seed: the seed; the same seed gives the same report.
        reference: where numerics were evaluated: "promote", "clone" or "native".
        evaluations: forward evaluations, all leaves and directions together.
        backward_passes: gradients computed (with forward mode: Jacobian-vector products).
        seconds: wall time.
        warnings: what makes the result weaker than it could be.
        hints: where to look first.
    """

    status: Status
    leaves: tuple[LeafReport, ...]
    variants: Mapping[str, Status]
    seed: int
    reference: str
    evaluations: int
    backward_passes: int
    seconds: float
    warnings: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    name: str = field(default="function")

    @property
    def passed(self) -> bool:
        """Whether everything was right; INCONCLUSIVE is not."""
        return self.status.passed and any(leaf.status != Status.SKIPPED for leaf in self.leaves)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def failed_leaves(self) -> tuple[LeafReport, ...]:
        """The leaves that did not pass."""
        return tuple(leaf for leaf in self.leaves if not leaf.status.passed)

    def summary(self) -> str:
        """The report as plain text: the verdict, then what did not pass and why."""
        counts: dict[str, int] = {}
        for leaf in self.leaves:
            counts[str(leaf.status)] = counts.get(str(leaf.status), 0) + 1
        found = ", ".join(f"{n} {status}" for status, n in counts.items())
        lines = [f"{self.status}: gradients of {self.name}: {found}"]
        lines += [f"  {leaf.describe()}" + self._where(leaf) for leaf in self.failed_leaves]
        lines += [
            f"  {leaf.describe()}" for leaf in self.leaves if leaf.status == Status.PASS_NEARBY
        ]
        lines += [f"  hint: {hint}" for hint in self.hints]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        if len(self.variants) > 1:
            lines.append("  variants: " + ", ".join(f"{k} {v}" for k, v in self.variants.items()))
        lines.append(
            f"  {self.reference} reference, {self.evaluations} evaluations,"
            f" {self.backward_passes} backward passes, {self.seconds:.1f} s, seed {self.seed}"
        )
        return "\n".join(lines)

    def _where(self, leaf: LeafReport) -> str:
        several = len(self.variants) > 1 and leaf.variant
        return f"\n    in variant {leaf.variant}" if several else ""

    def to_json(self) -> str:
        """The report as JSON; NaN and infinity become null."""
        data = {**_plain(self), "passed": self.passed}
        return json.dumps(_finite(data), allow_nan=False)

    def raise_if_failed(self) -> GradientReport:
        """Raise GradientCheckError unless the check passed; return self."""
        if not self.passed:
            raise GradientCheckError(self)
        return self

    def __rich__(self) -> Any:
        from tf_einsum_grad.gradcheck.render import rich_report

        return rich_report(self)

    def to_html(self) -> str:
        """The report as one self-contained HTML fragment; notebooks show it."""
        from tf_einsum_grad.gradcheck.render import html_report

        return html_report(self)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        return self.summary()


class GradientCheckError(AssertionError):
    """A gradient check did not pass; `report` says what was found."""

    def __init__(self, report: GradientReport) -> None:
        super().__init__(report.summary())
        self.report = report


def _plain(report: GradientReport) -> dict[str, Any]:
    data = {name: getattr(report, name) for name in GradientReport.__dataclass_fields__}
    data["leaves"] = [asdict(leaf) for leaf in report.leaves]
    data["variants"] = dict(report.variants)
    return data


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, Status) else value
