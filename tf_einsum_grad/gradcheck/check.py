"""`check_gradients`: all orders of a check, and its report.

docs/gradient_checker.md explains the algorithm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from tf_einsum_grad.gradcheck.diagnose import diagnose, hints, leaf_report, notes
from tf_einsum_grad.gradcheck.flow import Flow
from tf_einsum_grad.gradcheck.inputs import InputChoice, Loss, VariableChoice, build_problem
from tf_einsum_grad.gradcheck.problem import (
    Kinks,
    Options,
    Problem,
    ReferenceChoice,
    StopGradient,
    VariantName,
    gradient_problem,
)
from tf_einsum_grad.gradcheck.progress import shown
from tf_einsum_grad.gradcheck.replay import draws
from tf_einsum_grad.gradcheck.report import GradientReport, LeafReport
from tf_einsum_grad.gradcheck.run import Run
from tf_einsum_grad.gradcheck.second_look import second_look
from tf_einsum_grad.gradcheck.state import StateGuard
from tf_einsum_grad.gradcheck.status import Status, worst


def check_gradients(
    fn_or_model: Callable[..., Any],
    inputs: Any,
    *,
    variables: VariableChoice = "trainable",
    wrt: InputChoice = None,
    loss: Loss = None,
    training: bool | None = None,
    order: int = 1,
    n_directions: int = 2,
    variants: VariantName | Sequence[VariantName] | None = None,
    reference: ReferenceChoice = "auto",
    rtol: float | None = None,
    atol: float | None = None,
    kinks: Kinks = "jitter",
    stop_gradient: StopGradient = "freeze",
    localize: bool = True,
    max_evaluations: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    raise_on_fail: bool = False,
    progress: bool = True,
) -> GradientReport:
    """Checks TensorFlow's gradients of a function or model against finite differences in float64.

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
        n_directions: random directions, each with one backward pass per variant; what passes has
            one more at a point next to the first, and small elements one of their own.
        variants: any of "eager", "graph", "xla", "forward". By default what models are trained
            with: "eager", "graph" where the function can be traced, and "xla" where it is a
            Keras model that is compiled with it.
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
        localize: look for the wrong elements of a wrong gradient.
        max_evaluations: a budget; what it does not reach is INCONCLUSIVE.
        seconds: the same in seconds; an evaluation that has begun is not cut short.
        seed: for directions and for the function's own random ops.
        raise_on_fail: raise instead of returning a report that did not pass.
        progress: show a bar with an estimate on stderr if it takes long, where that is a terminal
            or a notebook.

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
    single = isinstance(variants, str) or not isinstance(variants, Iterable)
    names: Any = [variants] if single else variants
    options = Options(
        order=order, variants=("eager",) if variants is None else tuple(dict.fromkeys(names)),
        reference=reference, n_directions=n_directions, rtol=rtol, atol=atol, kinks=kinks,
        stop_gradient=stop_gradient, localize=localize, max_evaluations=max_evaluations,
        seed=seed, seconds=seconds,
    )  # fmt: skip
    start = time.perf_counter()
    # What is not finite is a finding, and not for NumPy to warn of.
    with np.errstate(all="ignore"), shown(progress), StateGuard(seed=seed) as guard:
        guard.reset()  # so that the trace sees the seed, too
        problem = build_problem(
            fn_or_model, inputs, variables=variables, wrt=wrt, loss=loss, training=training
        )
        if variants is None:
            more = _trained_with(problem)
            options = replace(options, variants=("eager", *more), by_default=more)
        guard.watch(problem.variables)
        guard.reseed = problem.concrete is None or draws(problem.concrete)
        check = _Check(problem, options, guard)
        check.all_orders()
    report = check.report(_name(fn_or_model), time.perf_counter() - start)
    return report.raise_if_failed() if raise_on_fail else report


def assert_gradients(
    fn_or_model: Callable[..., Any], inputs: Any, **options: Any
) -> GradientReport:
    """Does what `check_gradients` does, for test suites: fails with the report's summary.

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


class _Check:
    """Runs one order after the other, and gathers what they find."""

    def __init__(self, problem: Problem, options: Options, guard: StateGuard) -> None:
        self.problem, self.options, self.guard = problem, options, guard
        self.warnings: list[str] = []
        self.hints: list[str] = []
        self.notes: list[str] = []
        self.leaves: list[LeafReport] = []
        self.runs: list[Run] = []
        self.reference: str = options.reference
        self.statuses: dict[str, list[Status]] = {name: [] for name in options.variants}

    def all_orders(self) -> None:
        """Checks first order, then second order unless the first already failed."""
        first = self._one_order(self.problem, 1)
        if self.options.order == 1:
            return
        if not worst(leaf.status for leaf in self.leaves).passed:
            self.warnings.append("second order was not checked, since first order did not pass")
            return
        second = gradient_problem(self.problem, first.base_point.cotangents[0])
        if second is None:
            self.notes.append("no leaf has a gradient, so there is no second order")
        else:
            self._one_order(second, 2)

    def _one_order(self, problem: Problem, order: int) -> Run:
        run, flow = Run(problem, self.options, self.guard, order), Flow(problem)
        self.runs.append(run)
        oracle = run.oracle
        with closing(oracle):
            findings = run.findings()
            findings += second_look(run, findings) if order == 1 else []
            reports = diagnose(run, flow, findings)
            symmetry = run.symmetry() if order == 2 else {}
        if order == 1 or oracle.used != {"promote"}:
            self.reference = "+".join(sorted(oracle.used)) or self.options.reference
        self.warnings += oracle.warnings
        self.leaves += reports
        for finding in findings:
            self.statuses[finding.variant].append(finding.verdict.status)
        for name, verdict in symmetry.items():
            self.statuses[name].append(verdict.status)
            if not verdict.status.passed:
                found = leaf_report(problem.leaves[0], verdict, name, order)
                whole = "symmetry of the second derivative"
                self.leaves.append(replace(found, name=whole, shape=(), dtype=""))
        self.hints += hints(problem, flow, reports)
        if order == 1:
            freeze = self.options.stop_gradient == "freeze"
            self.notes += notes(problem, flow, reports, freeze)
        return run

    def report(self, name: str, seconds: float) -> GradientReport:
        """Merges the orders: one report per leaf, the worst.

        What second order adds (cotangents, the symmetry) is shown only if it did not pass.
        """
        merged: dict[str, LeafReport] = {}
        own = {leaf.name for leaf in self.problem.leaves}
        for leaf in self.leaves:
            kept = merged.get(leaf.name)
            shown = leaf.name in own or not leaf.status.passed
            if shown and (kept is None or worst([leaf.status, kept.status]) != kept.status):
                merged[leaf.name] = leaf
        skipped = [
            LeafReport(leaf.name, leaf.shape, leaf.dtype.name, Status.SKIPPED)
            for leaf in self.problem.skipped
        ]
        return GradientReport(
            status=worst(leaf.status for leaf in merged.values()),
            leaves=(*merged.values(), *skipped),
            variants={name: worst(found) for name, found in self.statuses.items() if found},
            seed=self.options.seed,
            reference=self.reference,
            evaluations=sum(run.oracle.evaluations for run in self.runs),
            backward_passes=sum(run.passes for run in self.runs),
            seconds=seconds,
            warnings=tuple(dict.fromkeys(self.warnings)),
            hints=tuple(self.hints),
            notes=tuple(self.notes),
            order=max(run.order for run in self.runs),
            name=name,
        )


def _trained_with(problem: Problem) -> tuple[VariantName, ...]:
    """Returns the variants, beside eager, that `fit` or a training step would run in."""
    if problem.concrete is None:
        return ()
    model = problem.model
    xla = getattr(model, "compiled", False) and getattr(model, "jit_compile", None) is True
    return ("graph", "xla") if xla else ("graph",)


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "name", None) or getattr(fn, "__name__", None) or type(fn).__name__)
