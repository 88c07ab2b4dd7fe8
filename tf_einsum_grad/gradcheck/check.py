"""`check_gradients`: the orchestration. See docs/gradient_checker.md for the algorithm.

For each direction: one cotangent for all outputs, one backward pass per variant for all leaves, and
one numeric directional derivative per leaf, shared by the variants. What does not agree at once is
looked at again, more closely (`judge`), and what is wrong is located (`explain`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from tf_einsum_grad.gradcheck.analytic import VARIANTS
from tf_einsum_grad.gradcheck.explain import explain, hints
from tf_einsum_grad.gradcheck.findings import Asymmetry, Finding, Options
from tf_einsum_grad.gradcheck.inputs import build_problem
from tf_einsum_grad.gradcheck.judge import Judge
from tf_einsum_grad.gradcheck.problem import Leaf, Problem
from tf_einsum_grad.gradcheck.randomness import draws
from tf_einsum_grad.gradcheck.report import GradientReport, LeafReport
from tf_einsum_grad.gradcheck.second import second_order
from tf_einsum_grad.gradcheck.state import StateGuard
from tf_einsum_grad.gradcheck.statuses import Status, worst

# Called with (done, total) comparisons; the command line sets it.
PROGRESS: ContextVar[Callable[[int, int], None] | None] = ContextVar("progress", default=None)
REFERENCES = ("auto", "promote", "clone", "native")
KINKS = ("jitter", "report", "ignore")
STOP_GRADIENT = ("freeze", "differentiate")


def check_gradients(
    fn_or_model: Any,
    inputs: Any,
    *,
    variables: Any = "trainable",
    wrt: Any = None,
    loss: Any = None,
    training: bool | None = None,
    order: int = 1,
    n_directions: int = 2,
    variants: Sequence[str] = ("eager",),
    reference: str = "auto",
    rtol: float | None = None,
    atol: float | None = None,
    kinks: str = "jitter",
    stop_gradient: str = "freeze",
    localise: bool = True,
    max_evaluations: int | None = None,
    seed: int = 0,
    raise_on_fail: bool = False,
) -> GradientReport:
    """Check TensorFlow's gradients of a function or model against finite differences in float64.

    Args:
        fn_or_model: a callable, `tf.function`, `tf.Module`, Keras layer or model. Its outputs may
            be any nest; only floating and complex ones are differentiated.
        inputs: any nest of tensors, arrays and numbers. A tuple holds positional arguments; a
            list does where the function takes that many (not for Keras models); a dict whose keys
            are parameter names holds keyword arguments. Integer inputs are skipped.
        variables: "trainable", "all", or names, `fnmatch` patterns and variables; None for none.
        wrt: which inputs: positions, names or patterns; None for all.
        loss: a function of the outputs, or (a Keras loss or its name, the targets).
        training: passed on as `training=`.
        order: 2 checks second derivatives as well, by reverse over reverse.
        n_directions: random directions, each with one backward pass per variant.
        variants: any of "eager", "graph", "xla", "forward".
        reference: where finite differences are taken. "promote": the traced graph in float64;
            "clone": a float64 copy of a Keras model; "native": the function itself; "auto": the
            first of these that works and computes the same values.
        rtol: relative to ||gradient * direction||_2; by default 1e-7 for float64, 2e-5 for
            float32, 1e-2 for float16, 5e-2 for bfloat16 (the narrowest dtype in the graph counts).
        atol: replaces the allowance for rounding errors in the function's own dtype.
        kinks: "jitter" moves off a kink and checks again nearby; "report" reports it; "ignore"
            compares with the mean of the left and right derivatives.
        stop_gradient: "freeze" treats `tf.stop_gradient` as the constant that it stands for;
            "differentiate" takes derivatives through it.
        localise: look for the wrong elements of a wrong gradient.
        max_evaluations: a budget; what it does not reach is INCONCLUSIVE.
        seed: for directions and for the function's own random ops.
        raise_on_fail: raise instead of returning a report that did not pass.

    Returns:
        A report, true if all gradients are right.

    Raises:
        ValueError: nothing to differentiate, unknown names or options.
        GradientCheckError: with raise_on_fail, if the check did not pass.

    Example:
        >>> import tensorflow as tf
        >>> check_gradients(lambda x: tf.sin(x) ** 2, tf.constant([0.3, 0.7])).passed
        True
    """
    options = Options(
        n_directions, rtol, atol, kinks, stop_gradient == "freeze", max_evaluations, seed
    )
    if isinstance(variants, str) or not isinstance(variants, Iterable):
        variants = (variants,)
    variants = tuple(dict.fromkeys(variants))
    _validate(order, options, variants, reference, stop_gradient)
    start = time.perf_counter()
    with StateGuard(seed=seed) as guard:
        guard.reset()  # so that the trace sees the seed, too
        problem = build_problem(
            fn_or_model, inputs, variables=variables, wrt=wrt, loss=loss, training=training
        )
        guard.watch(problem.variables)
        guard.reseed = problem.concrete is None or draws(problem.concrete)
        run = _Run(problem, options, guard, variants, reference, localise, order, PROGRESS.get())
        run.all_orders()
    report = run.report(_name(fn_or_model), time.perf_counter() - start)
    return report.raise_if_failed() if raise_on_fail else report


def assert_gradients(fn_or_model: Any, inputs: Any, **options: Any) -> GradientReport:
    """`check_gradients` for test suites: fails with the report's summary as its message.

    Args:
        fn_or_model, inputs, options: as for `check_gradients`.

    Raises:
        GradientCheckError: (an AssertionError) if the check did not pass.

    Example:
        >>> import tensorflow as tf
        >>> assert_gradients(tf.tanh, tf.constant([0.3, 0.7])).status
        <Status.PASS: 'PASS'>
    """
    return check_gradients(fn_or_model, inputs, **{**options, "raise_on_fail": True})


@dataclass
class _Run:
    problem: Problem
    options: Options
    guard: StateGuard
    variants: tuple[str, ...]
    reference: str
    localise: bool
    order: int
    progress: Callable[[int, int], None] | None

    def all_orders(self) -> None:
        """Check first order, then second order unless the first already failed."""
        self.warnings: list[str] = []
        self.hints: list[str] = []
        self.leaves: list[LeafReport] = []
        self.evaluations = self.passes = 0
        self.reference_used = self.reference
        self.statuses: dict[str, list[Status]] = {name: [] for name in self.variants}
        first = self._one_order(self.problem, 1)
        if self.order == 2:
            if not worst(leaf.status for leaf in self.leaves).passed:
                self.warnings.append("second order was not checked, since first order did not pass")
                return
            self._one_order(second_order(self.problem, first), 2)

    def _one_order(self, problem: Problem, order: int) -> Judge:
        judge = Judge(problem, self.options, self.guard, self.reference, order, self.progress)
        try:
            findings = judge.run(self.variants)
            explained = explain(judge, findings, localise=self.localise)
            found = judge.symmetry() if order == 2 else []
        finally:
            judge.close()
        self.evaluations += judge.evaluations
        self.passes += judge.passes
        if order == 1 or judge.reference_names != {"promote"}:
            self.reference_used = "+".join(sorted(judge.reference_names)) or self.reference
        self.warnings += [w for w in judge.warnings if w not in self.warnings]
        self.leaves += [_leaf_report(problem.leaves[f.leaf], f, order) for f in explained]
        for name in self.variants:
            self.statuses[name] += [f.status for f in findings if f.variant == name]
        for result in found:
            self.statuses[result.variant].append(result.status)
            if not result.status.passed:
                self.leaves.append(_symmetry_report(result))
        self.hints += hints(judge, explained)
        return judge

    def report(self, name: str, seconds: float) -> GradientReport:
        """Merge the orders: one report per leaf, the worst.

        What second order adds (cotangents, the symmetry) is shown only if it did not pass.
        """
        merged: dict[str, LeafReport] = {}
        own = {leaf.name for leaf in self.problem.leaves}
        for leaf in self.leaves:
            if leaf.name not in own and leaf.status.passed:
                continue
            kept = merged.get(leaf.name)
            if kept is None or worst([leaf.status, kept.status]) != kept.status:
                merged[leaf.name] = leaf
        skipped = [
            LeafReport(leaf.name, leaf.shape, leaf.dtype.name, Status.SKIPPED)
            for leaf in self.problem.skipped
        ]
        return GradientReport(
            status=worst(leaf.status for leaf in merged.values()),
            leaves=(*merged.values(), *skipped),
            variants={name: worst(found) for name, found in self.statuses.items()},
            seed=self.options.seed,
            reference=self.reference_used,
            evaluations=self.evaluations,
            backward_passes=self.passes,
            seconds=seconds,
            warnings=tuple(self.warnings),
            hints=tuple(self.hints),
            name=name,
        )


def _symmetry_report(found: Asymmetry) -> LeafReport:
    error = abs(found.uhw - found.whu)
    return LeafReport(
        name="symmetry of the second derivative",
        shape=(),
        dtype="",
        status=found.status,
        analytic=found.uhw,
        numeric=found.whu,
        abs_error=error,
        rel_error=error / found.scale if found.scale > 0 else float("nan"),
        tolerance=found.tolerance,
        cause="u'Hw and w'Hu differ: the gradient is not the gradient of anything",
        variant=found.variant,
        order=2,
    )


def _leaf_report(leaf: Leaf, finding: Finding, order: int) -> LeafReport:
    error = abs(finding.analytic - finding.numeric)
    return LeafReport(
        name=leaf.name,
        shape=leaf.shape,
        dtype=leaf.dtype.name,
        status=finding.status,
        analytic=finding.analytic,
        numeric=finding.numeric,
        abs_error=error,
        rel_error=error / finding.scale if finding.scale > 0 else float("nan"),
        tolerance=finding.tolerance,
        fd_error=finding.fd_error,
        step=finding.step,
        kink=finding.kink,
        worst_indices=tuple(e.index for e in finding.elements),
        worst_values=tuple((e.analytic, e.numeric) for e in finding.elements),
        ratio=finding.ratio,
        cause=finding.cause,
        variant=finding.variant,
        order=order,
    )


def _validate(
    order: int, options: Options, variants: Sequence[str], reference: str, stop_gradient: str
) -> None:
    def require(value: Any, allowed: Sequence[Any], what: str) -> None:
        if value not in allowed:
            raise ValueError(f"{what} must be one of {', '.join(map(str, allowed))}, got {value!r}")

    require(order, (1, 2), "order")
    require(reference, REFERENCES, "reference")
    require(options.kinks, KINKS, "kinks")
    require(stop_gradient, STOP_GRADIENT, "stop_gradient")
    for variant in variants:
        require(variant, VARIANTS, "variants")
    if not variants:
        raise ValueError("variants must name at least one of " + ", ".join(VARIANTS))
    for name, least in (("n_directions", 1), ("seed", 0), ("max_evaluations", 1)):
        value = getattr(options, name)
        unlimited = name == "max_evaluations" and value is None
        if not unlimited and not (isinstance(value, Integral) and value >= least):
            raise ValueError(f"{name} must be an integer, at least {least}, got {value!r}")
    for name, value in (("rtol", options.rtol), ("atol", options.atol)):
        number = value is None or (isinstance(value, Real) and np.isfinite(value) and value >= 0)
        if not number:
            raise ValueError(f"{name} must be a finite number, at least 0, got {value!r}")


def _name(fn: Any) -> str:
    return str(getattr(fn, "name", None) or getattr(fn, "__name__", None) or type(fn).__name__)
