"""`profile`: which einsums of a model cost what, and what installing this package saves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import tensorflow as tf

from tf_einsum_grad.algebra.errors import OperandError
from tf_einsum_grad.benchmark.environment import describe_environment
from tf_einsum_grad.benchmark.statistics import paired_ratio, summarize
from tf_einsum_grad.benchmark.subjects import is_keras
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.workloads import Mode
from tf_einsum_grad.gradcheck.state import StateGuard
from tf_einsum_grad.profiling.graph import Product
from tf_einsum_grad.profiling.measure import measure_row
from tf_einsum_grad.profiling.memory import MemoryUnknown, measure_peak
from tf_einsum_grad.profiling.names import name_layers
from tf_einsum_grad.profiling.report import Profile
from tf_einsum_grad.profiling.result import Row, Step
from tf_einsum_grad.profiling.steps import Subject, Traced, find_products, make_step, read_subject
from tf_einsum_grad.text.terminal import make_console, progress

__all__ = ["profile"]

_EFFORT = Effort(repeats=7, seconds=4.0, most=200)
_PATIENCE = 1.0  # seconds before a bar appears
_CLOSE = 1e-2  # a difference between two steps that rounding does not explain


def profile(
    model_or_fn: Any,
    inputs: Any,
    *,
    loss: Callable[[Any], Any] | None = None,
    training: bool = True,
    modes: Sequence[Mode] = ("graph",),
) -> Profile:
    """Finds the einsums of a model, and measures what each costs and what installing saves.

    Every einsum that the model calls by `tf.einsum`, `keras.ops.einsum` or this package is a row,
    with each layer, equation, shapes and dtype by itself, timed on random operands, native and
    ours in turn: forward, and each gradient that the step needs. Matmuls (`tf.matmul`,
    `tf.tensordot`, `Dense`) are rows as well; installing leaves them as they are. Then the step is
    measured as it is and under `installed()`, in turn, after their results were compared.

    Args:
        model_or_fn: a Keras model, a `tf.Module` or a function of tensors, or a SavedModel (its
            "serving_default", or first, signature; pass `loaded.signatures[name]` for another).
            Variables and seeds are afterwards what they were.
        inputs: a tensor or an array, or a list of them, one for each argument; a dict is one
            argument of a Keras model, and arguments by name of anything else.
        loss: a number from the outputs; by default their mean square distance from fixed numbers.
        training: whether a step takes gradients, of the variables, or of the inputs where there are
            none; and what a Keras model is called with.
        modes: some of "graph" (`tf.function`), "xla" (`jit_compile=True`), "eager".

    Returns:
        Rows, steps and what they leave unexplained: `print` it, or take `to_html`, `to_json`.

    Raises:
        EinsumError: it cannot be called, an input is no tensor, a mode does not exist.
        RuntimeError: `install` was called: there is nothing to compare with.

    Example:
        >>> import tensorflow as tf
        >>> from tf_einsum_grad import profile
        >>> x = tf.ones([2, 8, 4, 16])
        >>> scores = lambda q, k: tf.einsum("bthd,bshd->bhts", q, k)
        >>> found = profile(scores, [x, x], modes=["eager"])
        >>> [(row.product.equation, row.product.needed, row.calls) for row in found.rows]
        [('bthd,bshd->bhts', (0, 1), 1)]
    """
    modes = tuple(modes)
    unknown = [mode for mode in modes if mode not in get_args(Mode)]
    if unknown or not modes:
        wanted = ", ".join(get_args(Mode))
        raise OperandError(f"profile requires modes among {wanted}, got {unknown or 'none'}")
    subject = read_subject(model_or_fn, inputs, loss, training)
    with (
        _unchanged(model_or_fn) as guard,
        progress(make_console(stderr=True), patience=_PATIENCE) as tell,
    ):
        products, functions, variables = find_products(subject)
        guard.watch(variables)
        products = name_layers(model_or_fn, products) if is_keras(model_or_fn) else products
        counted = Counter(products)
        total = len(counted) + len(modes)
        rows = _rows(counted, functions, modes, lambda what, done: tell(what, done, total))
        steps, notes = [], _notes(rows)
        for k, mode in enumerate(modes):
            tell(f"the step, {mode}", len(counted) + k, total)
            step, more = _measure_step(subject, mode, guard)
            steps.append(step)
            notes += more
    rows.sort(key=lambda row: (-_gain(row, modes[0]), -row.native(modes[0])))
    place = describe_environment()
    return Profile(subject.name, training, place, tuple(rows), tuple(steps), tuple(notes))


def _gain(row: Row, mode: Mode) -> float:
    """What installing saves, in microseconds: less than one is nothing."""
    return round(max(0.0, row.saved(mode)) * 1e6)


@contextmanager
def _unchanged(model: Any) -> Iterator[StateGuard]:
    """Variables and seeds are afterwards what they were."""
    with StateGuard(seed=0) as guard:
        variables = getattr(model, "variables", ())
        guard.watch(
            getattr(v, "value", v) if not isinstance(v, tf.Variable) else v for v in variables
        )
        yield guard


def _rows(
    counted: dict[Product, int],
    functions: dict[str, Any],
    modes: Sequence[Mode],
    tell: Callable[[str, int], None],
) -> list[Row]:
    """Each product with its calls; what differs in nothing but the layer is measured once."""
    measured: dict[Any, Row] = {}
    rows = []
    for done, (product, calls) in enumerate(counted.items()):
        tell(product.equation, done)
        key = product.call, product.equation, product.shapes, product.dtype, product.needed
        if key not in measured:
            measured[key] = measure_row(product, functions, modes)
        one = measured[key]
        rows.append(replace(one, product=product, calls=calls, flops=calls * one.flops))
    return rows


def _measure_step(subject: Subject, mode: Mode, guard: StateGuard) -> tuple[Step, list[str]]:
    native, ours = make_step(subject, mode, False), make_step(subject, mode, True)
    results = []
    for step in (native, ours):
        guard.reset()
        results.append([x.numpy() for x in step()])
    difference = _difference(results[0], results[1], subject.training)
    notes = []
    if not difference <= _CLOSE:
        notes.append(
            f"{mode}: results of the two steps differ by {difference:.1e} of their largest "
            "element; a step that draws random numbers by itself does that"
        )
    guard.reseed = False
    seconds = interleave({"native": lambda: native, "ours": lambda: ours}, _EFFORT)
    guard.restore_variables()
    timings = summarize(seconds["native"]), summarize(seconds["ours"])
    ratio = paired_ratio(seconds["native"], seconds["ours"])
    peaks: list[int | None] = [None, None]
    if isinstance(native, Traced) and isinstance(ours, Traced):
        try:
            peaks = [measure_peak(native), measure_peak(ours)]
        except MemoryUnknown as error:
            notes.append(f"{mode}: peak memory could not be measured: {error}")
    return Step(mode, *timings, ratio, difference, *peaks), notes


def _difference(native: Sequence[Any], ours: Sequence[Any], training: bool) -> float:
    """The largest difference of any tensor, as a share of the largest element of all of its kind.

    A gradient that is zero but for rounding, such as that of an attention layer's key bias, has no
    scale of its own.
    """
    kinds = ([0], range(1, len(native))) if training else (range(len(native)),)
    worst = 0.0
    for kind in kinds:
        scale = error = 0.0
        for k in kind:
            x, y = (np.asarray(z[k]) for z in (native, ours))
            if tf.as_dtype(x.dtype).is_floating or x.dtype.kind == "c":
                wide = np.complex128 if x.dtype.kind == "c" else np.float64
                x, y = x.astype(wide), y.astype(wide)
                scale = max(scale, float(np.max(np.abs(x), initial=0.0)))
                error = max(error, float(np.max(np.abs(x - y), initial=0.0)))
        worst = max(worst, error / (scale or 1.0))
    return worst


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = []
    if any(row.product.loop for row in rows):
        notes.append("what is in a loop counts once, however many turns it has")
    if any(row.product.call == "Einsum" for row in rows):
        notes.append("einsums that were traced before cannot be replaced: install() before tracing")
    if not rows:
        notes.append("there is no einsum and no matmul in it")
    return notes
