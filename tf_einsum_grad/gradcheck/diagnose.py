"""From findings to answers: which leaf, which elements, and why.

A directional derivative is linear in the direction, so one evaluation tells the error of a half
and, by subtraction, that of the other half: bisection needs log2(n) numeric derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tf_einsum_grad.gradcheck.analytic import BackwardError, ForwardMode, VariantError
from tf_einsum_grad.gradcheck.evidence import BudgetExhausted, Comparison, Measurer
from tf_einsum_grad.gradcheck.numeric import Array, Derivative, inner
from tf_einsum_grad.gradcheck.problem import Problem
from tf_einsum_grad.gradcheck.promote import PYTHON_OPS
from tf_einsum_grad.gradcheck.run import Finding, Run
from tf_einsum_grad.gradcheck.status import Status, worst
from tf_einsum_grad.gradcheck.verdict import Verdict

_LOCALIZED = 5  # leaves; each costs about 12 log2(n) evaluations
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


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The worst finding about a leaf, and what is known of the reason.

    Attributes:
        elements: those with the largest errors, worst first.
        ratio: analytic / numeric where it is the same everywhere.
    """

    finding: Finding
    verdict: Verdict
    elements: tuple[Element, ...] = ()
    ratio: float | None = None


def diagnose(run: Run, findings: Sequence[Finding]) -> list[Diagnosis]:
    """Returns the worst finding of each leaf, with elements and a cause where it failed."""
    diagnoses = []
    budget = _LOCALIZED if run.options.localize else 0
    for leaf in range(len(run.problem.leaves)):
        mine = [f for f in findings if f.leaf == leaf]
        if not mine:
            continue
        status = worst(f.verdict.status for f in mine)
        chosen = max((f for f in mine if f.verdict.status == status), key=_excess)
        kink = chosen.verdict.kink or next((f.verdict.kink for f in mine if f.verdict.kink), "")
        found = Diagnosis(chosen, replace(chosen.verdict, kink=kink))
        if status in _WRONG and chosen.where is not None:
            if budget > 0:
                budget -= 1
                found = replace(found, elements=_elements(run.measurer, chosen, chosen.where))
            found = _with_cause(run.problem, found, chosen.where, mine)
            found = _with_variants(run, found, mine)
        diagnoses.append(found)
    return diagnoses


def _excess(finding: Finding) -> float:
    error, tolerance = finding.verdict.error, finding.verdict.tolerance
    if not np.isfinite(error):
        return 0.0
    return error / tolerance if tolerance > 0 else error


def _elements(measurer: Measurer, finding: Finding, at: Comparison) -> tuple[Element, ...]:
    leaf, tolerance = finding.leaf, finding.verdict.tolerance
    if leaf in at.backward.defects:
        return ()
    try:
        found = bisect(
            at.u(leaf),
            lambda w: at.backward.directional(leaf, w),
            lambda w: _quick(measurer.derivative(at, leaf, w), tolerance),
            tolerance=tolerance,
        )
    except (BudgetExhausted, VariantError):
        return ()
    return tuple(e for e in found if np.isfinite(e.error))


def _quick(derivative: Derivative, tolerance: float) -> float:
    estimate = derivative.first()
    if estimate.kink or not estimate.error <= tolerance:
        estimate = derivative.refine()
    return estimate.value


def _with_cause(
    problem: Problem, found: Diagnosis, at: Comparison, findings: Sequence[Finding]
) -> Diagnosis:
    verdict, leaf = found.verdict, found.finding.leaf
    if verdict.cause:
        return found
    if verdict.status == Status.MISSING:
        return replace(found, verdict=replace(verdict, cause=_why_missing(problem)))
    same = [f.verdict for f in findings if f.variant == found.finding.variant]
    failed = [v for v in same if v.status == Status.FAIL]
    pairs = [(e.analytic, e.numeric) for e in found.elements]
    pairs += [(v.analytic, v.estimate.value) for v in failed]
    ratio = constant_ratio(pairs) if len(failed) == len(same) else None
    cause = (
        _ignores_cotangent(at, leaf)
        or _by_gradient(at, leaf, verdict)
        or (describe_ratio(ratio, _sizes(problem, at, leaf)) if ratio is not None else "")
        or _by_elements(found.elements)
    )
    if at.exact:
        cause += " (seen in a float64 run of the traced gradient)"
    return replace(found, ratio=ratio, verdict=replace(verdict, cause=cause))


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
    if isinstance(at.backward, ForwardMode) or at.exact:
        return ""
    zero = [np.zeros_like(v) for v in at.point.cotangents[at.number]]
    try:
        gradient = at.variant.backward(at.point.values, zero).gradients[leaf]
    except (BackwardError, VariantError):
        return ""
    if gradient is None or not np.any(gradient != 0):
        return ""
    return "it ignores the upstream gradient: a zero cotangent gives a gradient that is not zero"


def _by_gradient(at: Comparison, leaf: int, verdict: Verdict) -> str:
    if isinstance(at.backward, ForwardMode):
        return ""
    gradient, numeric = at.backward.gradients[leaf], verdict.estimate.value
    if gradient is None:
        return ""
    if looks_transposed(gradient, at.u(leaf), numeric, verdict.tolerance):
        return "its transpose would be right: a missing transpose"
    if looks_conjugated(gradient, at.u(leaf), numeric, verdict.tolerance):
        return "its complex conjugate would be right: a missing conj"
    return ""


def _sizes(problem: Problem, at: Comparison, leaf: int) -> list[int]:
    """Returns dimensions and element counts that a factor may come from."""
    shapes = [problem.leaves[leaf].shape, *(tuple(a.shape) for a in problem.args)]
    shapes += [y.shape for y in at.backward.outputs]
    return sorted({n for shape in shapes for n in (*shape, int(np.prod(shape)))})


def _by_elements(elements: Sequence[Element]) -> str:
    if len(elements) == 1:
        return f"a single element is wrong, [{', '.join(map(str, elements[0].index))}]"
    text = "the gradient does not match the function"
    signs = {np.sign(e.numeric) for e in elements}
    return f"{text}; see the elements" if signs in ({1}, {-1}) else text


def _with_variants(run: Run, found: Diagnosis, findings: Sequence[Finding]) -> Diagnosis:
    """Says so if only some variants are wrong."""
    bad = {f.variant for f in findings if not f.verdict.status.passed}
    good = sorted(run.variants.keys() - bad)
    if not good or not bad:
        return found
    cause = f"{found.verdict.cause}; wrong only in {', '.join(sorted(bad))}, right in "
    return replace(found, verdict=replace(found.verdict, cause=cause + ", ".join(good)))


def hints(problem: Problem, diagnoses: Sequence[Diagnosis]) -> list[str]:
    """Says where to look first: a wrong gradient spoils all upstream of it, nothing downstream.

    So the last failing leaf in the order of use and the first passing one after it bracket the
    place.
    """
    status = {d.finding.leaf: d.verdict.status for d in diagnoses}
    order = _first_uses(problem)
    failing = [leaf for leaf in order if status.get(leaf) in _WRONG]
    if not failing or len(order) < 3:
        return []
    last = max(failing, key=order.__getitem__)
    after = [leaf for leaf in order if leaf in status and order[leaf] > order[last]]
    names = [leaf.name for leaf in problem.leaves]
    text = f"look at or after the op that first uses {names[last]!r}"
    if not after:
        return [f"{text}: no leaf that is used later fails"]
    following = min(after, key=order.__getitem__)
    return [f"{text}; from the one that uses {names[following]!r} on, gradients are right"]


def _first_uses(problem: Problem) -> dict[int, int]:
    """Returns, for each leaf, the position in the traced function of the first op that uses it."""
    if problem.concrete is None:
        return {}
    graph = problem.concrete.graph
    captured = {external.ref(): internal for external, internal in graph.captures}
    leaf_of: dict[str, int] = {}
    for i, leaf in enumerate(problem.leaves):
        if leaf.position is not None:
            leaf_of[problem.concrete.inputs[leaf.position].name] = i
        elif leaf.variable is not None and leaf.variable.handle.ref() in captured:
            leaf_of[captured[leaf.variable.handle.ref()].name] = i
    uses: dict[int, int] = {}
    for position, op in enumerate(graph.get_operations()):
        for tensor in op.inputs:
            if tensor.name not in leaf_of:
                continue
            if op.type in ("ReadVariableOp", "Cast", "Identity"):  # early, but not yet a use
                leaf_of[op.outputs[0].name] = leaf_of[tensor.name]
            else:
                uses.setdefault(leaf_of[tensor.name], position)
    return uses


def bisect(
    u: Array,
    analytic: Callable[[Array], float],
    numeric: Callable[[Array], float],
    *,
    tolerance: float,
    count: int = 3,
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
    for _ in range(min(count, u.size)):
        total = analytic(rest) - numeric(rest)
        if not np.isfinite(total) or (found and abs(total) <= tolerance):
            break
        index = _descend(rest, total, lambda w: analytic(w) - numeric(w))
        single = _masked(rest, np.array([np.ravel_multi_index(index, u.shape)] if index else [0]))
        scale = float(np.real(u[index])) if np.isrealobj(u) else abs(u[index])
        if scale == 0:
            break
        found.append(Element(index, analytic(single) / scale, numeric(single) / scale))
        rest = rest - single
    return sorted(found, key=lambda e: -e.error)


def _descend(u: Array, total: float, error: Callable[[Array], float]) -> tuple[int, ...]:
    where = np.flatnonzero(u)
    if where.size == 0:
        where = np.arange(1)
    while where.size > 1:
        left, right = np.array_split(where, 2)
        error_left = error(_masked(u, left))
        if abs(error_left) >= abs(total - error_left):
            where, total = left, error_left
        else:
            where, total = right, total - error_left
    return tuple(int(i) for i in np.unravel_index(int(where[0]), u.shape))


def _masked(u: Array, where: Array) -> Array:
    masked = np.zeros_like(u).ravel()
    masked[where] = u.ravel()[where]
    return np.asarray(masked.reshape(u.shape))


def constant_ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Returns analytic / numeric if it is the same (to 1%) for all pairs, and there are two.

    >>> constant_ratio([(2.0, 1.0), (-6.0, -3.0)])
    2.0
    """
    ratios = [a / n for a, n in pairs if n != 0]
    if len(ratios) < 2:
        return None
    middle = float(np.median(ratios))
    close = max(abs(r - middle) for r in ratios) <= 0.01 * abs(middle)
    return middle if close and middle != 0 else None


def describe_ratio(ratio: float, sizes: Sequence[int]) -> str:
    """Says in words what a constant ratio of analytic to numeric means.

    >>> describe_ratio(-1.0, [])
    'the sign is wrong'
    >>> describe_ratio(0.25, [4])
    'off by a factor of 0.25 = 1/4: a mean where a sum belongs?'
    """

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
    for digits in range(2, 5):
        text = f"{x:.{digits}g}"
        if abs(float(text) - x) <= 1e-3 * abs(x):
            return text
    return f"{x:.4g}"


def looks_transposed(gradient: Array, u: Array, numeric: float, tolerance: float) -> bool:
    """Whether the transposed gradient would be right for a square matrix."""
    if gradient.ndim != 2 or gradient.shape[0] != gradient.shape[1] or gradient.shape[0] < 2:
        return False
    return abs(inner(gradient.T, u) - numeric) <= tolerance


def looks_conjugated(gradient: Array, u: Array, numeric: float, tolerance: float) -> bool:
    """Whether the complex conjugate of the gradient would be right."""
    if not np.iscomplexobj(gradient):
        return False
    return abs(inner(gradient.conj(), u) - numeric) <= tolerance
