"""From findings to answers: which leaf, which elements, and why.

A directional derivative is linear in the direction, so one evaluation tells the error of a half
and, by subtraction, that of the other half: bisection needs log2(n) numeric derivatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from tf_einsum_grad.gradcheck.analytic import BackwardError, VariantError
from tf_einsum_grad.gradcheck.evidence import BudgetExhausted, Comparison, Measurer
from tf_einsum_grad.gradcheck.numeric import Along, Array, Derivative, inner
from tf_einsum_grad.gradcheck.problem import Leaf, Problem, VariantName, static_shape
from tf_einsum_grad.gradcheck.promote import PYTHON_OPS
from tf_einsum_grad.gradcheck.report import LeafReport
from tf_einsum_grad.gradcheck.run import Finding, Run
from tf_einsum_grad.gradcheck.status import Status, worst
from tf_einsum_grad.gradcheck.verdict import Verdict

_LOCALIZED = 5  # leaves; each costs about 12 log2(n) evaluations
_IGNORES = "it ignores the upstream gradient: a zero cotangent gives a gradient that is not zero"
_WRONG = (Status.FAIL, Status.MISSING)


@dataclass(frozen=True, slots=True)
class Element:
    """One entry of a gradient, both ways."""

    index: tuple[int, ...]
    analytic: float
    numeric: float

    @property
    def error(self) -> float:
        """How far apart the two are."""
        return abs(self.analytic - self.numeric)


def diagnose(run: Run, findings: Sequence[Finding]) -> list[LeafReport]:
    """Reports the worst finding of each leaf, with elements and a cause where it failed."""
    reports = []
    budget = _LOCALIZED if run.options.localize else 0
    for index, leaf in enumerate(run.problem.leaves):
        mine = [f for f in findings if f.leaf == index]
        status = worst(f.verdict.status for f in mine)
        chosen = max((f for f in mine if f.verdict.status == status), key=_excess)
        kink = chosen.verdict.kink or next((f.verdict.kink for f in mine if f.verdict.kink), "")
        report = leaf_report(leaf, replace(chosen.verdict, kink=kink), chosen.variant, run.order)
        at = chosen.where
        if status in _WRONG and at is not None:
            if budget > 0:
                budget -= 1
                elements = _elements(run.measurer, chosen, at)
                values = tuple((e.analytic, e.numeric) for e in elements)
                indices = tuple(e.index for e in elements)
                report = replace(report, worst_indices=indices, worst_values=values)
            report = _with_cause(run.problem, report, index, at, mine)
            report = replace(report, cause=report.cause + _variants(run, mine))
        reports.append(report)
    return reports


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


def _elements(measurer: Measurer, finding: Finding, at: Comparison) -> tuple[Element, ...]:
    leaf, tolerance = finding.leaf, finding.verdict.tolerance
    if leaf not in at.backward.defects:
        with suppress(BudgetExhausted, VariantError):
            found = bisect(
                at.u(leaf),
                lambda w: at.backward.directional(leaf, w),
                lambda w: _quick(measurer.derivative(at, leaf, w), tolerance),
                tolerance=tolerance,
            )
            return tuple(e for e in found if np.isfinite(e.error))
    return ()


def _quick(derivative: Derivative, tolerance: float) -> float:
    estimate = derivative.first()
    if estimate.kink or not estimate.error <= tolerance:
        estimate = derivative.refine()
    return estimate.value


def _with_cause(
    problem: Problem, report: LeafReport, leaf: int, at: Comparison, findings: Sequence[Finding]
) -> LeafReport:
    if report.cause:
        return report
    if report.status == Status.MISSING:
        return replace(report, cause=_why_missing(problem))
    same = [f.verdict for f in findings if f.variant == report.variant]
    failed = [v for v in same if v.status == Status.FAIL]
    pairs = [*report.worst_values, *((v.analytic, v.estimate.value) for v in failed)]
    ratio = constant_ratio(pairs) if len(failed) == len(same) else None
    gradient = at.backward.gradients[leaf]
    seen = at.u(leaf), report.numeric, report.tolerance
    cause = (
        _ignores_cotangent(at, leaf)
        or (as_another(gradient, *seen) if gradient is not None else "")
        or (describe_ratio(ratio, _sizes(problem, at, leaf)) if ratio is not None else "")
        or _by_elements(report)
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


def _ignores_cotangent(at: Comparison, leaf: int) -> str:
    if at.backward.gradients[leaf] is None or at.exact:
        return ""
    zero = [np.zeros_like(v) for v in at.point.cotangents[at.number]]
    with suppress(BackwardError, VariantError):
        gradient = at.variant.backward(at.point.values, zero).gradients[leaf]
        if gradient is not None and np.any(gradient != 0):
            return _IGNORES
    return ""


def _sizes(problem: Problem, at: Comparison, leaf: int) -> list[int]:
    """Returns dimensions and element counts that a factor may come from."""
    shapes = [problem.leaves[leaf].shape, *map(static_shape, problem.args)]
    shapes += [y.shape for y in at.backward.outputs]
    return sorted({n for shape in shapes for n in (*shape, int(np.prod(shape)))})


def _by_elements(report: LeafReport) -> str:
    if len(report.worst_indices) == 1:
        return f"a single element is wrong, [{', '.join(map(str, report.worst_indices[0]))}]"
    text = "the gradient does not match the function"
    signs = {np.sign(numeric) for _, numeric in report.worst_values}
    return f"{text}; see the elements" if signs in ({1}, {-1}) else text


def _variants(run: Run, findings: Sequence[Finding]) -> str:
    """Says so if only some variants are wrong."""
    bad = {f.variant for f in findings if not f.verdict.status.passed}
    good = sorted(run.variants.keys() - bad)
    if not good or not bad:
        return ""
    return f"; wrong only in {', '.join(sorted(bad))}, right in {', '.join(good)}"


def hints(problem: Problem, reports: Sequence[LeafReport]) -> list[str]:
    """Says where to look first: a wrong gradient spoils all upstream of it, nothing downstream.

    So the last failing leaf in the order of use and the first passing one after it bracket the
    place.
    """
    order = _first_uses(problem)
    failing = [leaf for leaf in order if reports[leaf].status in _WRONG]
    if not failing or len(order) < 3:
        return []
    last = max(failing, key=order.__getitem__)
    after = [reports[leaf].name for leaf in order if order[leaf] > order[last]]
    text = f"look at or after the op that first uses {reports[last].name!r}"
    if not after:
        return [f"{text}: no leaf that is used later fails"]
    return [f"{text}; from the one that uses {after[0]!r} on, gradients are right"]


def _first_uses(problem: Problem) -> dict[int, int]:
    """Returns, for each leaf, in order, the position of the first op that uses it in the trace."""
    if problem.concrete is None:
        return {}
    graph = problem.concrete.graph
    captured = {external.ref(): internal for external, internal in graph.captures}
    leaf_of: dict[str, int] = {}
    for i, leaf in enumerate(problem.leaves):
        if isinstance(leaf.source, int):
            leaf_of[problem.concrete.inputs[leaf.source].name] = i
        elif leaf.source.handle.ref() in captured:
            leaf_of[captured[leaf.source.handle.ref()].name] = i
    uses: dict[int, int] = {}
    for position, op in enumerate(graph.get_operations()):
        for used in [leaf_of[tensor.name] for tensor in op.inputs if tensor.name in leaf_of]:
            if op.type in ("ReadVariableOp", "Cast", "Identity"):  # early, but not yet a use
                leaf_of[op.outputs[0].name] = used
            else:
                uses.setdefault(used, position)
    return uses


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

    for _ in range(min(count, u.size)):
        total = error(rest)
        if not np.isfinite(total) or (found and abs(total) <= tolerance):
            break
        position = _descend(rest, total, error)
        single = _masked(rest, position)
        index = tuple(map(int, np.unravel_index(position[0], u.shape)))
        scale = float(u[index]) if np.isrealobj(u) else abs(u[index])
        if scale == 0:
            break
        found.append(Element(index, analytic(single) / scale, numeric(single) / scale))
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
    """Returns analytic / numeric if it is the same (to 1%) for all pairs, and there are two."""
    ratios = [a / n for a, n in pairs if n != 0]
    if len(ratios) < 2:
        return None
    middle = float(np.median(ratios))
    close = max(abs(r - middle) for r in ratios) <= 0.01 * abs(middle)
    return middle if close and middle != 0 else None


def describe_ratio(ratio: float, sizes: Sequence[int]) -> str:
    """Says in words what a constant ratio of analytic to numeric means; a size may explain it."""

    def close(a: float, b: float) -> bool:
        return abs(a - b) <= 0.01 * abs(b)

    if close(ratio, -1):
        return "the sign is wrong"
    text = f"off by a factor of {_short(ratio)}"
    for size in sizes:
        if size > 1 and close(ratio, 1 / size):
            return f"{text} = 1/{size}: a mean where a sum belongs?"
        if size > 2 and close(ratio, size):
            return f"{text}, the size of a dimension: a sum where a mean belongs?"
    if ratio < 0:
        text += ", and the sign is wrong"
    return text


def _short(x: float) -> str:
    texts = [f"{x:.{digits}g}" for digits in range(2, 5)]
    return next((text for text in texts if abs(float(text) - x) <= 1e-3 * abs(x)), texts[-1])


def as_another(gradient: Array, u: Array, numeric: float, tolerance: float) -> str:
    """Says whether the gradient would be right if it were transposed, or conjugated."""

    def right(other: Array) -> bool:
        return abs(inner(other, u) - numeric) <= tolerance

    square = gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1] > 1
    if square and right(gradient.T):
        return "its transpose would be right: a missing transpose"
    if np.iscomplexobj(gradient) and right(gradient.conj()):
        return "its complex conjugate would be right: a missing conj"
    return ""
