"""Fuzzes einsum: counts cases by mode and kind, and prints each failure, shrunk, in a line."""

from __future__ import annotations

import argparse
import ast
import json
import random
import selectors
import subprocess
import sys
import time
from collections import Counter
from dataclasses import astuple

import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.attending.reference import attention as reference
from tests.attending.test_attention import EQUATIONS, HEADS, SIZES, both_ways
from tests.attending.test_attention import draw as draw_attention
from tests.calls import Call, random_call, simpler
from tests.corpus import Case, cases
from tests.modes import COMPILED, EAGER, GRAPHS, Mode
from tests.test_ops_corpus import all_orders, check, first_order
from tf_einsum_grad import EinsumError, einsum
from tf_einsum_grad.lowering.machines import MACHINES, using

MODES = {mode.name: mode for mode in (EAGER, *GRAPHS, *COMPILED)}
BATCH = 12  # einsums in one graph
BATCHES = 200  # between calls that make no sense
ORDERS = (0, 0, 0, 0, 0, 0, 1, 1, 1, 2)  # values are cheap
SILENCE = 240  # seconds after which a process hangs
ONE_ROW = (HEADS, "bnth,bnsh,bnsv->bntv", "th,sh,sv->tv")  # where rows are counted along t
SHRINK = (Phase.generate, Phase.shrink)


# What is tried ------------------------------------------------------------------------------------


def show(call: Case) -> str:
    return repr(astuple(call))


def read(text: str) -> Call:
    return Call(*ast.literal_eval(text))


def valid(calls: list[Call], mode: Mode, order: int = 2) -> None:
    """Exactly, on any of the machines: values; for order 1 gradients, for 2 theirs, and forward."""

    def body(call, operands, *others):
        if order == 0:
            return {"value": call(*operands)}
        # Where a size is not known to be 0, TensorFlow's forward mode fails to gather from nothing.
        nothing = "unknown" in mode.name and any(0 in shape for shape in call.shapes)
        plain = order == 2 and call.plain and not nothing
        return (all_orders if plain else first_order)(call, operands, *others)

    with using(MACHINES[random.Random(repr(calls)).choice(list(MACHINES))]):
        check(calls, mode, body)


def smallest(call: Call, mode: Mode, order: int) -> tuple[Call, Exception] | None:
    """A call that is wrong, with all left out that it is wrong without; None if it is right."""
    try:
        valid([call], mode, order)
    except Exception as error:
        found = (smallest(one, mode, order) for one in simpler(call))
        return next(filter(None, found), (call, error))
    return None


def attends(rng: random.Random, mode: Mode) -> None:
    """Attention in blocks: NumPy's result, and the gradients of all scores at once."""
    ranked = mode.name != "unknown rank"  # attention has no ellipses where that is all
    text = rng.choice([x for x in EQUATIONS if ranked or "..." not in x])
    sizes = {x: rng.randint(1, 7) for x in SIZES} | {"b": 2, "n": 3}
    n_rows, n_keys = sizes["t"], sizes["s"]
    seen = np.array([[rng.random() < 0.7 for _ in range(n_keys)] for _ in range(n_rows)])
    options: dict = {"scale": 0.5}
    if "t" not in text:
        seen = None
    else:
        options["mask"] = ("ts", seen)
        away = np.arange(n_keys) - np.arange(n_rows)[:, None]
        if text in ONE_ROW and rng.random() < 0.5:
            options["causal"] = True
            seen = seen & (away <= 0)
        if text in ONE_ROW and rng.random() < 0.5:
            options["window"] = rng.randint(1, 4)
            seen = seen & (abs(away) < options["window"])
    operands, block = draw_attention(text, sizes, rng.randrange(2**32)), rng.randint(1, 9)
    tell("at", case=f"attention {text} {sizes} block={block} {options}")
    blocks, dense = both_ways(text, operands, mode, block, **options)
    mask = None if seen is None else ("ts", seen)
    wanted = reference(text.replace("...", "bn"), *operands, 0.5, mask)
    np.testing.assert_allclose(blocks[0], wanted, rtol=1e-9, atol=1e-11)
    for got, other in zip(blocks, dense, strict=True):
        np.testing.assert_allclose(got, other, rtol=1e-8, atol=1e-11)


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
    """Until time is up: batches of calls, then calls that make no sense."""
    end, n = time.monotonic() + seconds, start
    while time.monotonic() < end:
        n += 1
        rng = random.Random(n)
        for _ in range(BATCHES if mode is EAGER else 5):
            _try([random_call(rng, mode) for _ in range(BATCH)], mode, rng.choice(ORDERS))
        try:
            attends(rng, mode)
            tell("count", what="of attention", n=1)
        except Exception as error:
            _fail("attention", error)
        _hunt(n, 200 if mode is EAGER else 5, mode)


def _try(calls: list[Call], mode: Mode, order: int) -> None:
    tell("at", case=f"order {order}: {' '.join(map(show, calls))}")
    try:
        valid(calls, mode, order)
    except Exception as together:  # whatever it is, it is a failure to be counted
        alone = [found for call in calls if (found := smallest(call, mode, order))]
        for call, error in alone or [(None, together)]:
            if call:
                tell("at", case=f"order {order}: {show(call)}")
            _fail("valid", error)
    tell("count", what=f"of order {order}", n=len(calls))


def _fail(what: str, error: BaseException) -> None:
    first = " ".join(str(error).split())[:200]
    tell("failed", what=what, error=f"{type(error).__name__}: {first}")


def _hunt(n: int, examples: int, mode: Mode) -> None:
    """Calls that make no sense; Hypothesis shrinks what fails."""
    done = 0

    @seed(n)
    @settings(
        max_examples=examples,
        phases=SHRINK,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(spoiled())
    def run(call):
        nonlocal done
        tell("at", case=repr(call))
        invalid(call, mode)
        done += 1

    try:
        run()
    except Exception as error:
        _fail("invalid", error)
    tell("count", what="invalid", n=done)


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
            valid([read(arguments.case)], MODES[name])
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
