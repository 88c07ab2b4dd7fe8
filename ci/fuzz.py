"""Fuzzes einsum: counts cases by mode and kind, and prints each failure, shrunk, in a line."""

from __future__ import annotations

import argparse
import json
import random
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.corpus import Case, cases
from tests.modes import COMPILED, EAGER, GRAPHS, Mode
from tests.test_ops_corpus import all_orders, check, first_order
from tf_einsum_grad import EinsumError, einsum
from tf_einsum_grad.lowering.machines import MACHINES, using

MODES = {mode.name: mode for mode in (EAGER, *GRAPHS, *COMPILED)}
BATCH = 12  # einsums in one graph
SILENCE = 240  # seconds after which a process hangs
DTYPES = ("float64", "complex128", "float32")
SHRINK = (Phase.generate, Phase.shrink)


# What is tried ------------------------------------------------------------------------------------


def to_json(case: Case) -> str:
    return json.dumps([case.equation, case.shapes, case.sizes])


def from_json(text: str) -> Case:
    equation, shapes, sizes = json.loads(text)
    return Case(equation, tuple(map(tuple, shapes)), tuple((x, n) for x, n in sizes))


def valid(drawn: list[Case], mode: Mode) -> None:
    """Values, gradients, second and forward order, exactly; on any of the machines."""
    rng = random.Random(repr(drawn))

    def body(case, *arguments):
        # Where a size is not known to be 0, TensorFlow's forward mode fails to gather from nothing.
        nothing = "unknown" in mode.name and any(0 in shape for shape in case.shapes)
        return (first_order if nothing or dtype != "float64" else all_orders)(case, *arguments)

    dtype = rng.choice(DTYPES)
    with using(MACHINES[rng.choice(list(MACHINES))]):
        check(drawn, mode, body, dtype)


@st.composite
def spoiled(draw) -> tuple[str, list, dict]:
    """A call that was right before something in it was changed."""
    case = draw(cases(max_operands=3))
    equation, shapes = case.equation, [list(shape) for shape in case.shapes]
    options = dict(case.kwargs)
    kind = draw(st.integers(0, 6))
    k = draw(st.integers(0, len(shapes) - 1))
    if kind == 0:
        shapes[k] = [*shapes[k], draw(st.integers(1, 3))]
    elif kind == 1 and shapes[k]:
        shapes[k][draw(st.integers(0, len(shapes[k]) - 1))] += draw(st.integers(1, 3))
    elif kind == 2:
        at = draw(st.integers(0, len(equation)))
        equation = equation[:at] + draw(st.text(max_size=3)) + equation[at:]
    elif kind == 3 and len(equation) > 1:
        at = draw(st.integers(0, len(equation) - 1))
        equation = equation[:at] + equation[at + 1 :]
    elif kind == 4:
        shapes.append([2])
    elif kind == 5:
        options["sizes"] = {draw(st.text("abcxyz.", max_size=2)): draw(st.integers(-1, 3))}
    else:
        name = draw(st.sampled_from(("optimize", "size_hints", "dtype", "sizes")))
        odd = st.one_of(st.text(max_size=3), st.integers(), st.floats(), st.lists(st.integers()))
        options[name] = draw(odd)
    return equation, shapes, options


def invalid(call: tuple[str, list, dict], mode: Mode) -> None:
    """An EinsumError, or what NumPy gives; nothing else, in any mode."""
    equation, shapes, options = call
    operands = [np.ones(shape) for shape in shapes]
    try:
        got = mode.run(lambda xs: einsum(equation, *xs, **options), operands)
    except EinsumError:
        return
    except tf.errors.InvalidArgumentError as error:
        if mode is EAGER or "requires" not in str(error):
            raise
        return  # what was unknown when the graph was traced does not fit
    if not options:
        np.testing.assert_array_equal(got, _oracle(equation, operands))


def _oracle(equation: str, operands: list[np.ndarray]) -> np.ndarray:
    """NumPy's result; that of a brute-force sum for what NumPy cannot."""
    try:
        return np.einsum(equation, *operands)
    except ValueError:
        case = Case(equation, tuple(x.shape for x in operands))
        return case.reference.value(operands)


# A process for each mode ----------------------------------------------------------------------


def tell(kind: str, **what: object) -> None:
    print(json.dumps({"kind": kind, **what}), flush=True)


def fuzz(mode: Mode, start: int, seconds: float) -> None:
    """Until time is up: batches of cases, then calls that make no sense."""
    end, n = time.monotonic() + seconds, start
    n_batch = 1 if mode is EAGER else BATCH
    examples = 400 if mode is EAGER else 10
    while time.monotonic() < end:
        n += 1
        _hunt("valid", n, examples, n_batch, lambda drawn: valid(drawn, mode), _lists(n_batch))
        _hunt("invalid", n, examples, 1, lambda call: invalid(call, mode), spoiled())


def _lists(n: int):
    return st.lists(cases(max_operands=random.Random(n).choice((2, 3, 4))), min_size=n, max_size=n)


def _hunt(
    kind: str, n: int, examples: int, weight: int, test: Callable[[object], None], strategy
) -> None:
    done = 0

    @seed(n)
    @settings(
        max_examples=examples,
        phases=SHRINK if weight == 1 else (Phase.generate,),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(drawn):
        nonlocal done
        shown = [to_json(c) for c in drawn] if kind == "valid" else [repr(drawn)]
        tell("at", case=shown if len(shown) > 1 else shown[0])
        test(drawn)
        done += 1

    try:
        run()
    except BaseException as error:  # whatever it is, it is a failure to be counted
        if isinstance(error, KeyboardInterrupt):
            raise
        first = (str(error).splitlines() or [""])[0][:200]
        tell("failed", what=kind, seed=n, error=f"{type(error).__name__}: {first}")
    tell("count", what=kind, n=done * weight)


def watch(name: str, start: int, seconds: float) -> tuple[Counter, list[str]]:
    """Runs a mode to its end; a process that dies or hangs is a failure, and another goes on."""
    counts: Counter = Counter()
    failures: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = str(max(end - time.monotonic(), 1))
        child = subprocess.Popen(
            [sys.executable, __file__, "--child", name, "--seed", str(start), "--seconds", left],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        last, hung = None, False
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(timeout=SILENCE):
                    child.kill()
                    hung = True
                    break
                line = child.stdout.readline()
                if not line:
                    break
                told = json.loads(line)
                if told["kind"] == "at":
                    last = told["case"]
                elif told["kind"] == "count":
                    counts[told["what"]] += told["n"]
                else:
                    counts["failed"] += 1
                    failures.append(f"{name} {told['what']} {told['error']}: {last}")
        code = child.wait()
        if hung or code:
            counts["hung" if hung else "aborted"] += 1
            failures.append(f"{name} {'hangs' if hung else f'dies ({code})'}: {last}")
        start += 10_000
    return counts, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6.0, help="in all, shared among the modes")
    parser.add_argument("--seconds", type=float, help="of one mode, in the place of --minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modes", default=",".join(MODES), help="some of: %(default)s")
    parser.add_argument("--case", help="one case, as it was printed, in every mode")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        fuzz(MODES[arguments.child], arguments.seed, arguments.seconds)
        return 0
    modes = [name for name in MODES if name in arguments.modes]
    if arguments.case:
        for name in modes:
            valid([from_json(arguments.case)], MODES[name])
            print(f"{name}: right")
        return 0
    each = arguments.seconds or 60 * arguments.minutes / len(modes)
    found: list[str] = []
    for name in modes:
        counts, failures = watch(name, 1_000_000 * arguments.seed, each)
        found += failures
        shown = ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items()))
        print(f"{name}: {shown}", flush=True)
        for failure in failures:
            print(f"  FAILED {failure}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
