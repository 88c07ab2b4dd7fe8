"""From findings to answers: which leaf, which elements, and why.

A directional derivative is linear in the direction, so one evaluation tells the error of a half
and, by subtraction, that of the other half: bisection needs log2(n) numeric derivatives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from tf_einsum_grad.gradcheck.analytic import BackwardError, VariantError
from tf_einsum_grad.gradcheck.comparison import Comparison
from tf_einsum_grad.gradcheck.differences import Derivative
from tf_einsum_grad.gradcheck.evidence import BudgetExhausted, Measurer
from tf_einsum_grad.gradcheck.flow import Flow, describe
from tf_einsum_grad.gradcheck.numeric import Along, Array, inner
from tf_einsum_grad.gradcheck.problem import Leaf, Problem, VariantName, static_shape
from tf_einsum_grad.gradcheck.promote import PYTHON_OPS
from tf_einsum_grad.gradcheck.report import LeafReport, listed
from tf_einsum_grad.gradcheck.run import Finding, Run
from tf_einsum_grad.gradcheck.status import Status, worst
from tf_einsum_grad.gradcheck.verdict import ZERO, Verdict

_LOCALIZED = 5  # leaves; each costs about 12 log2(n) evaluations
_HINTS = 3
_ALL = 0.9  # of an error, for one element to be the only one that is wrong
_WHOLE = 0.02  # how near the inverse of a factor is to a whole number that it is taken for
_IGNORES = "it ignores the upstream gradient: a zero cotangent gives a gradient that is not zero"
_DIVIDES = "a zero cotangent gives NaN or infinity: does it divide by the upstream gradient?"
_WRONG = (Status.FAIL, Status.MISSING)


@dataclass(frozen=True, slots=True)
class Element:
    """One entry of a gradient, both ways."""

    index: tuple[int, ...]
    analytic: float
    numeric: float
    share: float = math.nan  # its part of the whole leaf's error

    @property
    def error(self) -> float:
        """How far apart the two are."""
        return abs(self.analytic - self.numeric)

    @property
    def differs(self) -> bool:
        """Whether people see a difference in the digits that are shown."""
        return math.isfinite(self.error) and f"{self.analytic:.6g}" != f"{self.numeric:.6g}"


def diagnose(run: Run, flow: Flow, findings: Sequence[Finding]) -> list[LeafReport]:
    """Reports the worst finding of each leaf, with elements and a cause where it failed.

    What lies upstream of another wrong leaf is wrong because of that, so it gets no closer look.
    """
    mine: dict[int, list[Finding]] = {}
    for finding in findings:
        mine.setdefault(finding.leaf, []).append(finding)
    chosen = {leaf: _worst(found) for leaf, found in mine.items()}
    wrong = [i for i, f in chosen.items() if f.verdict.status in _WRONG and f.where is not None]
    nearest = nearest_to_faults(flow, wrong)
    localized = nearest[:_LOCALIZED] if run.options.localize else []
    reports = []
    for index, leaf in enumerate(run.problem.leaves):
        finding = chosen[index]
        report = leaf_report(leaf, finding.verdict, finding.variant, run.order)
        if index in nearest:
            elements = _elements(run.measurer, finding) if index in localized else []
            report = _explained(run.problem, report, finding, mine[index], elements)
            report = replace(report, cause=report.cause + _variants(run, mine[index]))
        elif index in wrong:
            below = next(i for i in nearest if flow.leads_to(index, [i]))
            cause = f"upstream of {run.problem.leaves[below].name!r}, so wrong as well"
            report = replace(report, upstream=True, cause=cause)
        reports.append(replace(report, tested=not all(map(_idle, mine[index]))))
    return reports


def nearest_to_faults(flow: Flow, wrong: Sequence[int]) -> list[int]:
    """Returns the wrong leaves that are upstream of no other, the last in the order of use first.

    A wrong gradient spoils all upstream of it and nothing downstream, so these are nearest to what
    is wrong.
    """
    others = {leaf: [other for other in wrong if other != leaf] for leaf in wrong}
    found = [leaf for leaf in wrong if not flow.leads_to(leaf, others[leaf])]
    place = {leaf: position for position, leaf in enumerate(flow.first_uses)}
    return sorted(found, key=lambda leaf: (place.get(leaf, -1), leaf), reverse=True)


def _worst(findings: Sequence[Finding]) -> Finding:
    status = worst(f.verdict.status for f in findings)
    chosen = max((f for f in findings if f.verdict.status == status), key=_excess)
    kinks = (f.verdict.kink for f in findings if f.verdict.kink)
    kink = chosen.verdict.kink or next(kinks, "")
    return replace(chosen, verdict=replace(chosen.verdict, kink=kink))


def _idle(finding: Finding) -> bool:
    """Whether there was nothing to see: the derivative is zero, and so is what was compared."""
    verdict = finding.verdict
    return verdict.status == Status.PASS and (verdict.scale == 0 or verdict.cause == ZERO)


def leaf_report(leaf: Leaf, verdict: Verdict, variant: VariantName, order: int) -> LeafReport:
    """Returns a verdict as people read it."""
    error, estimate = verdict.error, verdict.estimate
    return LeafReport(
        leaf.name, leaf.shape, leaf.dtype.name, verdict.status,
        analytic=verdict.analytic, numeric=estimate.value, tolerance=verdict.tolerance,
        abs_error=error, rel_error=error / verdict.scale if verdict.scale > 0 else float("nan"),
        fd_error=estimate.error, step=estimate.step,
        kink=verdict.kink, cause=verdict.cause, variant=variant, order=order,
    )  # fmt: skip


def _excess(finding: Finding) -> float:
    error, tolerance = finding.verdict.error, finding.verdict.tolerance
    if not np.isfinite(error):
        return 0.0
    return error / tolerance if tolerance > 0 else error


def _elements(measurer: Measurer, finding: Finding) -> list[Element]:
    leaf, at, tolerance = finding.leaf, finding.where, finding.verdict.tolerance
    if at is not None and leaf not in at.backward.defects:
        with suppress(BudgetExhausted, VariantError):
            found = bisect(
                at.u(leaf),
                lambda w: at.backward.directional(leaf, w),
                lambda w: _quick(measurer.derivative(at, leaf, w), tolerance),
                tolerance=tolerance,
            )
            return [e for e in found if e.differs]
    return []


def _quick(derivative: Derivative, tolerance: float) -> float:
    estimate = derivative.first()
    if estimate.kink or not estimate.error <= tolerance:
        estimate = derivative.refine()
    return estimate.value


def _explained(
    problem: Problem,
    report: LeafReport,
    finding: Finding,
    findings: Sequence[Finding],
    elements: Sequence[Element],
) -> LeafReport:
    """Adds the elements and the likely cause."""
    indices = tuple(e.index for e in elements)
    values = tuple((e.analytic, e.numeric) for e in elements)
    report = replace(report, worst_indices=indices, worst_values=values)
    at, leaf = finding.where, finding.leaf
    if report.cause or at is None:
        return report
    if report.status == Status.MISSING:
        return replace(report, cause=_why_missing(problem))
    same = [f.verdict for f in findings if f.variant == report.variant]
    failed = [v for v in same if v.status == Status.FAIL]
    pairs = [*values, *((v.analytic, v.estimate.value) for v in failed)]
    ratio = constant_ratio(pairs) if len(failed) == len(same) else None
    gradient = at.backward.gradients[leaf]
    seen = at.u(leaf), report.numeric, report.tolerance
    cause = (
        _at_zero_cotangent(at, leaf)
        or (as_another(gradient, *seen) if gradient is not None else "")
        or (describe_ratio(ratio, _sizes(problem, at, leaf)) if ratio is not None else "")
        or _by_elements(elements)
    )
    if at.exact:
        cause += " (seen in a float64 run of the traced gradient)"
    return replace(report, ratio=ratio, cause=cause)


def _why_missing(problem: Problem) -> str:
    text = "the gradient is None, but moving this leaf changes the output"
    concrete = problem.concrete
    if concrete is None:
        return f"{text}: a Python value or `.numpy()` between them?"
    ops = {op.type for op in concrete.graph.get_operations()}
    python = sorted(ops & PYTHON_OPS)
    if python:
        return f"{text}: tf.numpy_function or tf.py_function ({python[0]}) cuts it off"
    return f"{text}: something between them (a cast to an integer, an op without a gradient)"


def _at_zero_cotangent(at: Comparison, leaf: int) -> str:
    """Says so if the gradient is not zero where nothing comes from above."""
    if at.backward.gradients[leaf] is None or at.exact:
        return ""
    zero = [np.zeros_like(v) for v in at.point.cotangents[at.number]]
    with suppress(BackwardError, VariantError):
        gradient = at.variant.backward(at.point.values, zero).gradients[leaf]
        if gradient is not None and not np.isfinite(gradient).all():
            return _DIVIDES
        if gradient is not None and np.any(gradient != 0):
            return _IGNORES
    return ""


def _sizes(problem: Problem, at: Comparison, leaf: int) -> list[int]:
    """Returns sizes that a factor may come from: of dimensions, and of several together."""
    shapes = [problem.leaves[leaf].shape, *map(static_shape, problem.args)]
    shapes += [y.shape for y in at.backward.outputs]
    together = (
        dims
        for shape in shapes
        for count in range(1, len(shape) + 1)
        for dims in itertools.combinations(shape, count)
    )
    return sorted(set(map(math.prod, together)))


def _by_elements(elements: Sequence[Element]) -> str:
    if len(elements) == 1 and elements[0].share > _ALL:
        return f"a single element is wrong, [{', '.join(map(str, elements[0].index))}]"
    return "the gradient does not match the function"


def _variants(run: Run, findings: Sequence[Finding]) -> str:
    """Says so if only some variants are wrong."""
    bad = {f.variant for f in findings if not f.verdict.status.passed}
    good = sorted(run.variants.keys() - bad)
    if not good or not bad:
        return ""
    return f"; wrong only in {', '.join(sorted(bad))}, right in {', '.join(good)}"


def hints(problem: Problem, flow: Flow, reports: Sequence[LeafReport]) -> list[str]:
    """Says where to look first.

    The op that first uses the wrong leaf that is nearest to the fault, and the leaf that is used
    next and passes, bracket the place.
    """
    uses = flow.first_uses
    wrong = [leaf for leaf in uses if reports[leaf].status in _WRONG and not reports[leaf].upstream]
    places: dict[str, list[int]] = {}  # leaves by the op that first uses them
    for leaf in wrong:
        if not math.isnan(reports[leaf].abs_error):
            places.setdefault(uses[leaf].name, []).append(leaf)
    found = []
    for leaves in reversed([*places.values()][-_HINTS:]):
        names = listed(reports[leaf].name for leaf in leaves)
        text = f"look at or after {describe(uses[leaves[0]])}, which first uses {names}"
        after = [i for i in uses if reports[i].status.passed and flow.leads_to(leaves[0], [i])]
        if after:
            text += f"; from what uses {reports[after[0]].name!r} on, gradients are right"
        found.append(text)
    return found


def notes(problem: Problem, flow: Flow, reports: Sequence[LeafReport], freeze: bool) -> list[str]:
    """Says what was held fixed, and what was not tested."""
    found = []
    named, inside = flow.held()
    if freeze and named:
        found.append(
            f"held fixed by stop_gradient: {'; '.join(named)}; "
            'stop_gradient="differentiate" takes derivatives through it'
        )
    if freeze and inside:
        values = "1 value" if inside == 1 else f"{inside} values"
        found.append(f"held fixed inside functions of TensorFlow and Keras: {values}")
    if assigned := flow.assigned():
        found.append(f"assigned, so held fixed, and put back: {listed(assigned)}")
    idle = [i for i, report in enumerate(reports) if not report.tested and i not in flow.unused]
    if idle:
        names = listed(reports[i].name for i in idle)
        found.append(f"nothing was tested at {names}: the derivative is zero here")
    unused = [i for i in sorted(flow.unused) if reports[i].status.passed]
    if unused:
        found.append(f"no output depends on {listed(reports[i].name for i in unused)}")
    return found


def bisect(
    u: Array, analytic: Along, numeric: Along, *, tolerance: float, count: int = 3
) -> list[Element]:
    """Returns up to `count` elements with the largest errors, found greedily.

    Args:
        u: the direction in which the leaf failed.
        analytic: directional derivative by the gradient.
        numeric: the same by finite differences.
        tolerance: below this error of what remains, stop.
    """
    found: list[Element] = []
    rest = u.copy()

    def error(w: Array) -> float:
        return analytic(w) - numeric(w)

    whole = error(u)
    for _ in range(min(count, u.size)):
        total = error(rest) if found else whole
        if not np.isfinite(total) or (found and abs(total) <= tolerance):
            break
        position = _descend(rest, total, error)
        single = _masked(rest, position)
        index = tuple(map(int, np.unravel_index(position[0], u.shape)))
        scale = float(u[index]) if np.isrealobj(u) else abs(u[index])
        if scale == 0:
            break
        a, n = analytic(single), numeric(single)
        found.append(Element(index, a / scale, n / scale, (a - n) / whole if whole else 0.0))
        rest = rest - single
    return sorted(found, key=lambda e: -e.error)


def _descend(u: Array, total: float, error: Along) -> Array:
    """Returns the flat position, alone in an array, of an element that has much of the error."""
    where = np.flatnonzero(u) if np.any(u) else np.arange(1)
    while where.size > 1:
        left, right = np.array_split(where, 2)
        error_left = error(_masked(u, left))
        if abs(error_left) >= abs(total - error_left):
            where, total = left, error_left
        else:
            where, total = right, total - error_left
    return where


def _masked(u: Array, where: Array) -> Array:
    masked = np.zeros_like(u).ravel()
    masked[where] = u.ravel()[where]
    return np.asarray(masked.reshape(u.shape))


def constant_ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Returns analytic / numeric if it is the same for all pairs, is not 1, and there are two.

    The same to 1% of how far it is from 1, so that it explains the error.
    """
    ratios = [a / n for a, n in pairs if n != 0]
    if len(ratios) < 2:
        return None
    middle = float(np.median(ratios))
    spread, far = max(abs(r - middle) for r in ratios), min(abs(middle), abs(middle - 1))
    return middle if spread <= 0.01 * far and far > 0 else None


def describe_ratio(ratio: float, sizes: Sequence[int]) -> str:
    """Says in words what a constant ratio of analytic to numeric means; a size may explain it."""

    def close(a: float, b: float) -> bool:
        return abs(a - b) <= 1e-3 * abs(b)

    if close(ratio, -1):
        return "the sign is wrong"
    inverse = 1 / abs(ratio)
    whole = round(inverse)
    known = whole in sizes
    small = whole > 1 and (close(inverse, whole) if known else abs(inverse - whole) <= _WHOLE)
    text = f"off by a factor of {f'1/{whole}' if small else _short(abs(ratio))}"
    if small and known:
        text += ": a mean where a sum belongs?"
    elif any(size > 2 and close(abs(ratio), size) for size in sizes):
        text += ", the size of a dimension: a sum where a mean belongs?"
    return f"{text}, and the sign is wrong" if ratio < 0 else text


def _short(x: float) -> str:
    """Writes a number in as few digits as tell it from others, and from 1."""
    texts = [f"{x:.{digits}g}" for digits in range(2, 9)]
    allowed = min(1e-3 * x, 0.05 * abs(x - 1))
    return next((text for text in texts if abs(float(text) - x) <= allowed), texts[-1])


def as_another(gradient: Array, u: Array, numeric: float, tolerance: float) -> str:
    """Says whether the gradient would be right if it were transposed, or conjugated."""

    error = abs(inner(gradient, u) - numeric)

    def right(other: Array) -> bool:
        return abs(inner(other, u) - numeric) <= min(tolerance, 0.01 * error)

    square = gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1] > 1
    if square and right(gradient.T):
        return "its transpose would be right: a missing transpose"
    if np.iscomplexobj(gradient) and right(gradient.conj()):
        return "its complex conjugate would be right: a missing conj"
    return ""
