"""From findings to answers: which leaf, which elements, and why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tf_einsum_grad.gradcheck.analytic import BackwardError, ForwardMode, VariantError
from tf_einsum_grad.gradcheck.findings import BudgetExhausted, Comparison, Finding
from tf_einsum_grad.gradcheck.judge import Judge
from tf_einsum_grad.gradcheck.localise import (
    bisect,
    constant_ratio,
    describe_ratio,
    looks_conjugated,
    looks_transposed,
)
from tf_einsum_grad.gradcheck.numeric import Derivative
from tf_einsum_grad.gradcheck.promote import PYTHON_OPS
from tf_einsum_grad.gradcheck.statuses import Status, worst

_LOCALISED = 5  # leaves; each costs about 12 log2(n) evaluations


def explain(judge: Judge, findings: Sequence[Finding], *, localise: bool) -> list[Finding]:
    """Return the worst finding of each leaf, with elements and a cause where it failed."""
    explained = []
    budget = _LOCALISED
    for leaf in range(len(judge.problem.leaves)):
        mine = [f for f in findings if f.leaf == leaf]
        if not mine:
            continue
        status = worst(f.status for f in mine)
        chosen = max((f for f in mine if f.status == status), key=_excess)
        chosen.kink = chosen.kink or next((f.kink for f in mine if f.kink), "")
        if chosen.status in (Status.FAIL, Status.MISSING) and chosen.where is not None:
            if localise and budget > 0:
                budget -= 1
                _locate(chosen)
            _find_cause(judge, chosen, [f for f in mine if f.variant == chosen.variant])
            _name_variant(judge, chosen, mine)
        explained.append(chosen)
    return explained


def _excess(finding: Finding) -> float:
    error = abs(finding.analytic - finding.numeric)
    if not np.isfinite(error):
        return 0.0
    return error / finding.tolerance if finding.tolerance > 0 else error


def _locate(finding: Finding) -> None:
    at, leaf = finding.where, finding.leaf
    if at is None or leaf in at.backward.defects:
        return
    try:
        elements = bisect(
            at.u(leaf),
            lambda w: at.backward.directional(leaf, w),
            lambda w: _quick(at.numeric(leaf, w), finding.tolerance),
            tolerance=finding.tolerance,
        )
    except (BudgetExhausted, VariantError):
        return
    finding.elements = tuple(e for e in elements if np.isfinite(e.error))


def _quick(derivative: Derivative, tolerance: float) -> float:
    estimate = derivative.first()
    if estimate.kink or not estimate.error <= tolerance:
        estimate = derivative.refine()
    return estimate.value


def _find_cause(judge: Judge, finding: Finding, same_variant: Sequence[Finding]) -> None:
    at, leaf = finding.where, finding.leaf
    if at is None or finding.cause:
        return
    if finding.status == Status.MISSING:
        finding.cause = _why_missing(judge)
        return
    pairs = [(e.analytic, e.numeric) for e in finding.elements]
    pairs += [(f.analytic, f.numeric) for f in same_variant if f.status == Status.FAIL]
    everywhere = all(f.status == Status.FAIL for f in same_variant)
    finding.ratio = constant_ratio(pairs) if everywhere else None
    finding.cause = (
        _ignores_cotangent(at, leaf)
        or _by_gradient(at, finding)
        or (finding.ratio is not None and describe_ratio(finding.ratio, _sizes(at, leaf)))
        or _by_elements(finding)
    )
    if at.exact:
        finding.cause += " (seen in a float64 run of the traced gradient)"


def _why_missing(judge: Judge) -> str:
    text = "the gradient is None, but moving this leaf changes the output"
    concrete = judge.problem.concrete
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
    if gradient is not None and np.any(gradient != 0):
        return (
            "it ignores the upstream gradient: a zero cotangent gives a gradient that is not zero"
        )
    return ""


def _by_gradient(at: Comparison, finding: Finding) -> str:
    if isinstance(at.backward, ForwardMode):
        return ""
    gradient, u = at.backward.gradients[finding.leaf], at.u(finding.leaf)
    if gradient is None:
        return ""
    for test, text in (
        (looks_transposed, "its transpose would be right: a missing transpose"),
        (looks_conjugated, "its complex conjugate would be right: a missing conj"),
    ):
        if test(gradient, u, finding.numeric, finding.tolerance):
            return text
    return ""


def _sizes(at: Comparison, leaf: int) -> list[int]:
    """Dimensions and element counts that a factor may come from."""
    problem = at.judge.problem
    shapes = [problem.leaves[leaf].shape, *(tuple(a.shape) for a in problem.args)]
    shapes += [y.shape for y in at.backward.outputs]
    sizes = {n for shape in shapes for n in (*shape, int(np.prod(shape)))}
    return sorted(sizes)


def _by_elements(finding: Finding) -> str:
    elements = finding.elements
    if not elements:
        return "the gradient does not match the function"
    if len(elements) == 1:
        return f"a single element is wrong, [{', '.join(map(str, elements[0].index))}]"
    if all(e.numeric < 0 for e in elements) or all(e.numeric > 0 for e in elements):
        return "the gradient does not match the function; see the elements"
    return "the gradient does not match the function"


def _name_variant(judge: Judge, finding: Finding, findings: Sequence[Finding]) -> None:
    """Say so if only some variants are wrong."""
    bad = {f.variant for f in findings if not f.status.passed}
    good = sorted(set(judge.variants) - bad)
    if good and bad:
        finding.cause += f"; wrong only in {', '.join(sorted(bad))}, right in {', '.join(good)}"


def hints(judge: Judge, explained: Sequence[Finding]) -> list[str]:
    """Where to look first: a wrong gradient spoils everything upstream of it, nothing downstream.

    So the last failing leaf in the order of use and the first passing one after it bracket the
    place.
    """
    status = {f.leaf: f.status for f in explained}
    wrong = (Status.FAIL, Status.MISSING)
    order = _first_uses(judge)
    failing = [leaf for leaf in order if status.get(leaf) in wrong]
    if not failing or len(order) < 3:
        return []
    last = max(failing, key=order.__getitem__)
    after = [leaf for leaf in order if leaf in status and order[leaf] > order[last]]
    names = [leaf.name for leaf in judge.problem.leaves]
    text = f"look at or after the op that first uses {names[last]!r}"
    if not after:
        return [f"{text}: no leaf that is used later fails"]
    following = min(after, key=order.__getitem__)
    return [f"{text}; from the one that uses {names[following]!r} on, gradients are right"]


def _first_uses(judge: Judge) -> dict[int, int]:
    """For each leaf, the position in the traced function of the first op that uses it."""
    problem = judge.problem
    if problem.concrete is None:
        return {}
    graph = problem.concrete.graph
    captured = {id(external): internal for external, internal in graph.captures}
    leaf_of: dict[str, int] = {}
    for i, leaf in enumerate(problem.leaves):
        if leaf.position is not None:
            leaf_of[problem.concrete.inputs[leaf.position].name] = i
        elif leaf.variable is not None and id(leaf.variable.handle) in captured:
            leaf_of[captured[id(leaf.variable.handle)].name] = i
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
