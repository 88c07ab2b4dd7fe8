"""`tune`: lets measurement overrule what the rates of a machine say."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import tensorflow as tf

from tf_einsum_grad.algebra.errors import MachineError
from tf_einsum_grad.algebra.sizes import bind_call
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.variants import Preparation, build_passes
from tf_einsum_grad.execution.call import Call
from tf_einsum_grad.execution.here import circumstances
from tf_einsum_grad.lowering.contraction import Contraction, signature
from tf_einsum_grad.lowering.lower import lower
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.lowering.machines import machine_here, using
from tf_einsum_grad.ops import einsum
from tf_einsum_grad.text.files import check_writable
from tf_einsum_grad.text.terminal import Advance, make_console, progress
from tf_einsum_grad.tuning.candidates import time_candidates
from tf_einsum_grad.tuning.choose import choose
from tf_einsum_grad.tuning.collect import Seen, collect
from tf_einsum_grad.tuning.kernels import time_probe
from tf_einsum_grad.tuning.rates import PROBES, Probe, fit
from tf_einsum_grad.tuning.result import Change, Tuning

__all__ = ["tune"]

_T = TypeVar("_T")

# Of the time, what candidates of single contractions get; the rest is for whole einsums.
_SHARE = 0.7
_LEAST_SECONDS, _MOST_SECONDS = 0.02, 2.0
_PATIENCE = 1.0  # seconds before a bar appears
_TO_TRACE = 60.0  # seconds that tracing what is measured may take beside


def tune(
    fn_or_model: Callable[..., Any] | None = None,
    inputs: Any = None,
    *,
    seconds: float = 60.0,
    path: str | os.PathLike[str] | None = None,
    mode: Target = "graph",
) -> Tuning:
    """Measures what is fastest on this machine.

    Without arguments it fits the rates that kernels are priced at. With a function, it collects
    the contractions that this runs, forward and for each gradient, times every candidate that
    there is for each, TensorFlow's own Einsum op among them, in turn, on the device that runs
    them; then every einsum as XLA compiles it, forward and backward as one. What is
    faster by more than chance is kept. Only sizes that are known take part.

    It is used where you say so: `with machine("file.json")`, `TF_EINSUM_GRAD_MACHINE=file.json`, or
    `with tuning.using()`. It changes the speed, never a result beyond rounding, and nothing that is
    traced already.

    Args:
        fn_or_model: a function of tensors; or a Keras model, which is called with `training=True`.
            It is traced, not run, but for `mode="eager"`.
        inputs: a tensor or an array, or a list of them, one for each argument.
        seconds: about how long to measure, after what tracing takes.
        path: a file to write the result to.
        mode: "graph" (`tf.function`), "eager", or "xla" (`jit_compile=True`).

    Returns:
        What was found: its `machine`, what `changes`, and `save(path)`.

    Raises:
        MachineError: `seconds` or `mode` is none, or there are inputs for no function.
        OSError: `path` cannot be written, which is found out before anything is measured.

    Example:
        >>> import tensorflow as tf
        >>> from tf_einsum_grad import einsum, tune
        >>> a, b = tf.ones([4, 8, 16]), tf.ones([4, 16, 8])
        >>> found = tune(lambda a, b: einsum("bij,bjk->bik", a, b), [a, b], seconds=0.1)
        >>> found.measured
        4
    """
    if mode not in get_args(Target):
        raise MachineError(f"tune requires a mode among {get_args(Target)}, got {mode!r}")
    if not seconds > 0:
        raise MachineError(f"tune requires more than 0 seconds, got {seconds!r}")
    if fn_or_model is None and inputs is not None:
        raise MachineError("tune requires a function or a model for inputs, got none")
    if path is not None:
        check_writable(Path(path))
    start = machine_here()
    with progress(make_console(stderr=True), patience=_PATIENCE) as advance:
        if fn_or_model is None:
            rates = fit(_clock(seconds, advance), start, f"{start.name}, measured")
            found = Tuning(rates, circumstances(), 0, ())
        else:
            arguments = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
            seen = collect(fn_or_model, arguments, start, mode)
            found = _measure(seen, start, seconds, advance)
    if path is not None:
        found.save(path)
    return found


def _clock(seconds: float, advance: Advance) -> Callable[[Probe], float]:
    """Times probes, each for its share of the seconds."""
    effort = Effort(repeats=3, seconds=seconds / PROBES, most=100)
    done = 0

    def clock(probe: Probe) -> float:
        nonlocal done
        advance(probe.kernel, done, PROBES)
        done += 1
        return time_probe(probe, effort)

    return clock


def _measure(seen: Seen, start: Machine, seconds: float, advance: Advance) -> Tuning:
    """Times candidates, then einsums as a whole, on the machine that the former make."""
    calls = [call for call in seen.calls if call.target != "xla" and _differentiable(call)]
    total, share = len(seen.contractions) + len(calls), _SHARE if calls else 1.0
    deadline = time.perf_counter() + 2 * seconds + _TO_TRACE
    changes: list[Change] = []
    winners, compiled, measured = dict(start.winners), set(start.compiled), 0

    def in_time(things: Sequence[_T], name: Callable[[_T], object]) -> Iterator[_T]:
        nonlocal measured
        for thing in things:
            if time.perf_counter() > deadline:
                return
            advance(str(name(thing)), measured, total)
            measured += 1
            yield thing

    effort = _share(seconds * share, len(seen.contractions))
    for contraction in in_time(seen.contractions, lambda c: c.equation):
        change, recipe = _compare_candidates(contraction, effort)
        if change is not None:
            winners[change.what] = recipe
            changes.append(change)
    machine = replace(start, name=f"{start.name}, tuned", winners=winners)
    effort = _share(seconds * (1 - share), len(calls))
    for call in in_time(calls, lambda call: call.text):
        change = _compare_compiled(call, machine, effort)
        if change is not None:
            compiled.add(change.what)
            changes.append(change)
    machine = replace(machine, compiled=frozenset(compiled))
    changes.sort(key=lambda change: change.seconds_after - change.seconds_before)
    return Tuning(machine, circumstances(), measured, tuple(changes))


def _compare_candidates(contraction: Contraction, effort: Effort) -> tuple[Change | None, str]:
    """What is faster than what the rates say, and its recipe."""
    running = lower(contraction)
    choice = choose(time_candidates(contraction, effort, running), running)
    if choice is None:
        return None, ""
    what, kernels = str(contraction.signature), (running.kernel, choice.best.kernel)
    return Change(what, *kernels, choice.before, choice.after, choice.ratio), choice.best.recipe


def _share(seconds: float, n: int) -> Effort:
    share = min(max(seconds / max(n, 1), _LEAST_SECONDS), _MOST_SECONDS)
    return Effort(repeats=5, seconds=share, most=100)


def _differentiable(call: Call) -> bool:
    return tf.as_dtype(call.dtype).is_floating


def _compare_compiled(call: Call, machine: Machine, effort: Effort) -> Change | None:
    """An einsum and its gradients as they run, and as XLA compiles them."""
    binding = bind_call(call.text, call.shapes, {})
    what = signature(binding.equation, binding.sizes, call.dtype, call.target)
    rng = np.random.default_rng(0)

    def draw(shape: Sequence[int | None]) -> tf.Tensor:
        return tf.cast(rng.standard_normal([size or 1 for size in shape]), call.dtype)

    known = dict(binding.sizes)
    operands = [draw(shape) for shape in call.shapes]
    cotangent = draw([known[label] for label in binding.expanded.output])

    def prepared(machine: Machine) -> Preparation:
        passes = build_passes(einsum, call.text, call.target, operands, cotangent)

        def prepare() -> Callable[[], Any]:
            def run() -> Any:
                with using(machine):
                    return passes["both"]()()

            return run

        return prepare

    as_a_whole = replace(machine, compiled=frozenset({what}))
    passes = {"steps": prepared(machine), "compiled": prepared(as_a_whole)}
    choice = choose(interleave(passes, effort), "steps")
    if choice is None:
        return None
    kernels = f"{len(binding.equation.inputs)} operands, kernel by kernel"
    return Change(what, kernels, "compiled", choice.before, choice.after, choice.ratio)
