"""The result of a check: plain, frozen data, and how a terminal or a browser shows it.

No TensorFlow here.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tf_einsum_grad.gradcheck.numeric import Kink
from tf_einsum_grad.gradcheck.status import Status
from tf_einsum_grad.text.numbers import number
from tf_einsum_grad.text.pages import Html, element
from tf_einsum_grad.text.terminal import make_table

if TYPE_CHECKING:
    from rich.console import Group

Index = tuple[int, ...]
_DESCRIBED = 10  # leaves that are shown with all their figures


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
        worst_indices: elements with the largest errors, worst first, if localized.
        worst_values: (analytic, numeric) for each of these.
        ratio: analytic / numeric where it is the same everywhere.
        cause: the likely cause, in words.
        variant, order: where the worst finding was made.
        upstream: it is wrong since what another one is used for, further on, is wrong.
        tested: false where the derivative is zero, so that a pass says nothing.
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
    kink: Kink = ""
    worst_indices: tuple[Index, ...] = ()
    worst_values: tuple[tuple[float, float], ...] = ()
    ratio: float | None = None
    cause: str = ""
    variant: str = ""
    order: int = 1
    upstream: bool = False
    tested: bool = True

    def describe(self) -> str:
        """Returns a few lines: the leaf, the indices, both values, the tolerance, the cause."""
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
            text += f"\n    {[*index]}: analytic {analytic:.6g}, numeric {numeric:.6g}"
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
        notes: what was held fixed, and what was not tested.
        order: the highest order of derivatives that was checked.
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
    notes: tuple[str, ...] = ()
    order: int = 1
    name: str = "function"

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
        """Returns the report as plain text: the verdict, where to look, what failed and why."""
        counts = Counter(str(leaf.status) for leaf in self.leaves)
        found = ", ".join(f"{n} {status}" for status, n in counts.items())
        lines = [f"{self.status}: gradients of {self.name}: {found}"]
        lines += [f"  {line}" for line in (*self._hints(), *self._findings(), *self._advice())]
        if len(self.variants) > 1:
            lines.append(f"  variants: {self._variants()}")
        return "\n".join([*lines, f"  {', '.join(self._facts())}"])

    def to_json(self) -> str:
        """Returns the report as JSON; NaN and infinity become null."""
        data = {**asdict(self), "passed": self.passed}
        return json.dumps(_finite(data), allow_nan=False)

    def raise_if_failed(self) -> GradientReport:
        """Raises GradientCheckError unless the check passed; returns self."""
        if not self.passed:
            raise GradientCheckError(self)
        return self

    def __rich__(self) -> Group:
        """Returns a table of leaves, then the findings."""
        from rich.console import Group
        from rich.text import Text

        rows: list[list[str | Text]] = [[*_cells(leaf)] for leaf in self.leaves]
        for row, leaf in zip(rows, self.leaves, strict=True):
            row[_STATUS] = Text(str(leaf.status), _color(leaf.status))
        # Narrow, so that numbers and names of usual length fit into 80 columns.
        table = make_table(_COLUMNS, rows, n_left=4, gap=0, ruled=True, folded=("leaf",))
        title = Text(f"{self.status}: gradients of {self.name}", style="italic")
        below = [*self._findings(), *self._advice()]
        footer = Text(self._footer(), style="dim")
        return Group(title, *map(Text, self._hints()), table, *map(Text, below), footer)

    def to_html(self) -> str:
        """Returns the report as one self-contained HTML fragment; notebooks show it."""

        def painted(tag: str, status: Status) -> Html:
            return element(tag, str(status), style=f"color:{_CSS[_color(status)]};font-weight:600")

        rows = [element("tr", *(element("th", c, style="text-align:left") for c in _COLUMNS))]
        for leaf in self.leaves:
            cells = [element("td", cell) for cell in _cells(leaf)]
            cells[_STATUS] = painted("td", leaf.status)
            rows.append(element("tr", *cells, title=leaf.status.meaning))
        table_style = "border-spacing:1em .2em;font-variant-numeric:tabular-nums"
        style = "margin:.3em 0;white-space:pre-wrap"
        return element(
            "div",
            element("p", painted("span", self.status), f": gradients of {self.name}"),
            *(element("pre", line, style=style) for line in self._hints()),
            element("table", *rows, style=table_style),
            *(element("pre", line, style=style) for line in (*self._findings(), *self._advice())),
            element("p", self._footer(), style="color:#666;font-size:smaller"),
            style="font-family:sans-serif",
        )

    def _hints(self) -> list[str]:
        return [f"hint: {hint}" for hint in self.hints]

    def _findings(self) -> list[str]:
        """Describes what did not simply pass; leaves of which the same is to be said, together."""
        lines: list[str] = []
        groups: dict[tuple[Status, str], list[LeafReport]] = {}
        own = [leaf for leaf in self.failed_leaves if not leaf.upstream]
        for leaf in own:
            if math.isnan(leaf.abs_error):
                groups.setdefault((leaf.status, leaf.cause), []).append(leaf)
        alone = [leaf for leaf in own if not math.isnan(leaf.abs_error)]
        for leaf in alone[:_DESCRIBED]:
            where = f"\n    in variant {leaf.variant}" if len(self.variants) > 1 else ""
            lines.append(leaf.describe() + where)
        if len(alone) > _DESCRIBED:
            lines.append(f"and like these: {listed(leaf.name for leaf in alone[_DESCRIBED:])}")
        if upstream := [leaf.name for leaf in self.failed_leaves if leaf.upstream]:
            lines.append(f"upstream, so wrong as well: {listed(upstream)}")
        for leaf in self.leaves:
            if leaf.status == Status.PASS_NEARBY:
                groups.setdefault((leaf.status, leaf.cause), []).append(leaf)
        for (status, cause), leaves in groups.items():
            together = f"{status} {listed(leaf.name for leaf in leaves)}\n    {cause}"
            lines.append(leaves[0].describe() if len(leaves) == 1 else together)
        return lines

    def _advice(self) -> list[str]:
        notes = [f"note: {note}" for note in self.notes]
        return notes + [f"warning: {warning}" for warning in self.warnings]

    def _variants(self) -> str:
        return ", ".join(f"{name} {status}" for name, status in self.variants.items())

    def _footer(self) -> str:
        """Says how the result came about, in one line."""
        return " · ".join((self._variants(), *self._facts()))

    def _facts(self) -> tuple[str, ...]:
        return (
            "orders 1 and 2" if self.order == 2 else "order 1",
            f"{self.reference} reference",
            f"{self.evaluations} evaluations",
            f"{self.backward_passes} backward passes",
            f"{self.seconds:.1f} s",
            f"seed {self.seed}",
        )

    _repr_html_ = to_html
    __str__ = summary


class GradientCheckError(AssertionError):
    """A gradient check did not pass; `report` says what was found."""

    def __init__(self, report: GradientReport) -> None:
        super().__init__(report.summary())
        self.report = report


def listed(names: Iterable[str], most: int = 5) -> str:
    """Returns names in a line, the first few if there are many.

    >>> listed(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - most} more" if len(quoted) > most else ""
    return ", ".join(quoted[:most]) + more


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, Status) else value


_COLUMNS = ("leaf", "shape", "dtype", "status", "analytic", "numeric", "error", "tolerance")
_STATUS = _COLUMNS.index("status")
_CSS = {"grey50": "#888", "green": "#1a7f37", "dark_orange": "#b35900", "red": "#cf222e"}


def _cells(leaf: LeafReport) -> tuple[str, ...]:
    """Returns one row of the table, in the order of `_COLUMNS`."""
    shape = "×".join(map(str, leaf.shape)) or "scalar"
    values = [number(x, 4) for x in (leaf.analytic, leaf.numeric)]
    errors = [number(x, 2) for x in (leaf.abs_error, leaf.tolerance)]
    return (leaf.name, shape, leaf.dtype, str(leaf.status), *values, *errors)


def _color(status: Status) -> str:
    """Returns a color that rich and `_CSS` know."""
    if status == Status.SKIPPED:
        return "grey50"
    if status.passed:
        return "green"
    undecided = (Status.INCONCLUSIVE, Status.KINK, Status.JUMP)
    return "dark_orange" if status in undecided else "red"
