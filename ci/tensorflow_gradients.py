"""Checks TensorFlow's and Keras' own gradients, and writes docs/tensorflow_gradients.md.

    ci/tensorflow_gradients [--resume FILE] [--only TEXT]

Every call of `tensorflow_calls` and `keras_calls` is checked in float32 and float64, layers at
inference and while training; functions whose first order is right, in second order too. What is flagged has to be a finding of `tensorflow_findings`, which is
verified here against plain central differences, or an op without a registered gradient; anything
else is a false alarm, and ends the script with exit code 1. `--resume` keeps what is done in a file,
so that a run can be cut short; `--only` checks the calls that hold a text, and writes nothing.
"""

from __future__ import annotations

import argparse
import ast
import collections
import inspect
import itertools
import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "ci"))
import keras_calls  # noqa: E402
import tensorflow_calls  # noqa: E402
import tensorflow_findings as findings  # noqa: E402

from tf_einsum_grad.gradcheck import check_gradients  # noqa: E402

PAGE = ROOT / "docs" / "tensorflow_gradients.md"
CHECKER_PAGE = ROOT / "docs" / "gradient_checker.md"
DTYPES = (tf.float32, tf.float64)
FOUND = {
    "wrong": findings.WRONG,
    "none": findings.NONE,
    "raises": findings.RAISES,
    "second": findings.SECOND,
    "xla": findings.XLA,
}
SAYS = re.compile(r"TensorFlow has no gradient (?:for (\w+) )?here")
COLUMNS = ("right", "inconclusive", "fault", "says", "meant", "open")


@dataclass(frozen=True)
class Case:
    """One call, in one dtype; for layers, at inference or while training."""

    source: str
    text: str
    dtype: tf.DType
    training: bool | None = None
    order: int = 1

    @property
    def key(self) -> str:
        """Says which case it is, in a word."""
        order = "" if self.order == 1 else f" | order {self.order}"
        return f"{self.text} | {self.dtype.name} | {self.training} | {tf.__version__}{order}"


def cases() -> Iterator[Case]:
    for dtype in DTYPES:
        for source, text in tensorflow_calls.CALLS.items():
            yield from (Case(source, line, dtype) for line in text.strip().splitlines())
        for line in offered(keras_calls.LAYERS, keras.layers):
            yield Case("Keras layers, at inference", line, dtype, False)
            if takes_training(line):
                yield Case("Keras layers, while training", line, dtype, True)
        for line in offered(keras_calls.LOSSES, keras.losses):
            yield Case("Keras losses", line, dtype)
        for name in keras_calls.ACTIVATIONS:
            yield Case("Keras activations", f"{name} | x", dtype)


def offered(text: str, module: Any) -> list[str]:
    """Returns the lines about what this Keras has."""
    return [line for line in text.split("\n")[1:-1] if hasattr(module, re.match(r"\w+", line)[0])]


def second_order(results: list[tuple[Case, dict[str, Any], str]]) -> Iterator[Case]:
    """Yields the calls of TensorFlow functions whose first order is right."""
    for case, _, meaning in list(results):
        if meaning == "right" and case.dtype == tf.float64 and not case.source.startswith("Keras"):
            yield replace(case, source="second order of TensorFlow functions", order=2)


def takes_training(line: str) -> bool:
    layer = getattr(keras.layers, re.match(r"\w+", line)[0])
    return "training" in inspect.signature(layer.call).parameters


def program(case: Case) -> tuple[Any, tuple[Any, ...]]:
    """Returns what is checked, and its inputs."""
    values = tensorflow_calls.make_inputs(case.dtype, 0)
    scope = {**tensorflow_calls.SCOPE, **vars(keras.layers)}
    if not case.source.startswith("Keras"):
        used = {node.id for node in ast.walk(ast.parse(case.text)) if isinstance(node, ast.Name)}
        names = [name for name in values if name in used]
        fn = eval(f"lambda {', '.join(names)}: {case.text}", scope)
        return fn, tuple(values[name] for name in names)
    code, _, given = case.text.rpartition(" | ")
    inputs = eval(f"({given},)", {**scope, **values})
    inputs = tuple(tf.constant(i, tf.int32) if is_integers(i) else i for i in inputs)
    keras.utils.set_random_seed(0)
    if case.source == "Keras activations":
        more, activation = keras_calls.ARGUMENTS.get(code, ()), getattr(keras.activations, code)
        return lambda v: activation(v, *more), inputs
    if case.source == "Keras losses":
        loss = eval(code, vars(keras.losses).copy())
        return lambda *given: loss(*given), inputs
    return eval(code, scope), inputs


def is_integers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, int) or is_integers(v) for v in value)


def run(case: Case) -> dict[str, Any]:
    """Checks one case; `cannot` where TensorFlow does not offer it in this dtype."""
    start, training = time.perf_counter(), case.training
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(case.dtype.name)
    try:
        fn, inputs = program(case)
        options = {"training": training} if training is not None and takes(fn) else {}
        try:
            fn(*inputs, **options)
        except Exception as error:
            row = {"status": "cannot", "text": f"{type(error).__name__}: {error}"[:300]}
        else:
            report = check_gradients(fn, inputs, order=case.order, progress=False, **options)
            row = {
                "status": str(report.status),
                "text": report.summary(),
                "evaluations": report.evaluations,
            }
    finally:
        keras.config.set_dtype_policy(policy)
    return {**row, "seconds": round(time.perf_counter() - start, 2)}


def takes(layer: Any) -> bool:
    return "training" in inspect.signature(layer.call).parameters


def explain(case: Case, row: dict[str, Any]) -> str:
    """Says what a result means: one of COLUMNS, or that it `cannot` run."""
    found = [
        kind
        for kind, some in FOUND.items()
        for finding in some
        if (kind == "second") == (case.order == 2) and case.text.startswith(finding.starts)
    ]
    if row["status"] in ("PASS", "PASS_NEARBY"):
        # Layers do at inference, and calls in one of the dtypes, what their fault is not about.
        always = found and found[0] != "raises" and not case.source.startswith("Keras")
        return "open" if always else "right"
    if row["status"] == "cannot":
        return "cannot"
    if row["status"] == "MISSING" and SAYS.search(row["text"]):
        return "says"
    if found:
        return "fault"
    if any(case.text.startswith(start) for start in findings.MEANT):
        return "meant"
    return "inconclusive" if row["status"] == "INCONCLUSIVE" else "open"


def uncovered() -> list[str]:
    """Names layers, losses and activations that no call is about."""
    excused = {name for names in keras_calls.WITHOUT_GRADIENT.values() for name in names}
    lines = (keras_calls.LAYERS + keras_calls.LOSSES).splitlines()
    called = {re.match(r"\w*", line)[0] for line in lines} | {*keras_calls.ACTIVATIONS}
    covered, missing = set(), []
    for module in (keras.layers, keras.losses):
        classes = {n: c for n, c in vars(module).items() if inspect.isclass(c)}
        covered |= {c for n, c in classes.items() if n in called | excused}
        missing += [n for n, c in classes.items() if c not in covered]
    functions = vars(keras.activations)
    known = {functions[n] for n in called & functions.keys()}
    missing += [
        n for n, f in functions.items()
        if inspect.isfunction(f) and f not in known and n not in ("get", "serialize", "deserialize")
    ]  # fmt: skip
    return missing


# ---------------------------------------------------------------- findings, by hand


def grad(function: Any, x: tf.Tensor) -> tf.Tensor:
    """What findings of second order call: a gradient, to be differentiated again."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)


def value_of(finding: findings.Finding, tensors: dict[str, tf.Tensor]) -> tf.Tensor:
    return eval(finding.code, {"tf": tf, "np": np, "grad": grad, **tensors})


def by_differences(finding: findings.Finding) -> np.ndarray:
    """Returns the gradient of the sum of the real part, one element at a time."""
    arrays, x = finding.arrays(), finding.arrays()[finding.wrt]
    gradient, step = np.zeros_like(x), finding.step

    def along(direction: np.ndarray) -> float:
        ends = []
        for sign in (1, -1):
            moved = {**arrays, finding.wrt: x + sign * direction}
            y = value_of(finding, {name: tf.constant(value) for name, value in moved.items()})
            ends.append(np.sum(np.real(y.numpy()).astype(np.float64)))
        return (ends[0] - ends[1]) / (2 * step)

    for index in np.ndindex(*x.shape):
        for unit in (1, 1j) if np.iscomplexobj(x) else (1,):
            direction = np.zeros_like(x)
            direction[index] = step * unit
            gradient[index] += unit * along(direction)
    return gradient


def by_tensorflow(finding: findings.Finding, xla: bool) -> np.ndarray | str | None:
    """Returns TensorFlow's gradient, or what it raises."""
    tensors = {name: tf.constant(value) for name, value in finding.arrays().items()}

    def run(tensors: dict[str, tf.Tensor]) -> tf.Tensor | None:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = value_of(finding, tensors)
        return tape.gradient(y, tensors[finding.wrt])

    try:
        gradient = tf.function(run, jit_compile=True)(tensors) if xla else run(tensors)
    except Exception as error:
        return type(error).__name__
    return None if gradient is None else tf.convert_to_tensor(gradient).numpy()


def verified(kind: str, finding: findings.Finding) -> list[str]:
    """Returns the row of a finding: the program, its input, TensorFlow's gradient, the right one.

    Raises:
        AssertionError: the formula is wrong, or TensorFlow is right by now.
    """
    arrays, theirs = finding.arrays(), by_tensorflow(finding, xla=kind == "xla")
    right = np.asarray(finding.right(*arrays.values()))
    assert np.allclose(right, by_differences(finding), 1e-4, 1e-6), f"{finding.code}: {right}?"
    as_said = {
        "none": theirs is None,
        "raises": isinstance(theirs, str),
        "wrong": isinstance(theirs, np.ndarray),
    }
    assert as_said.get(kind, True), f"{finding.code}: gives {theirs}"
    wrong = not isinstance(theirs, np.ndarray) or not np.allclose(theirs, right, 1e-6, 1e-9)
    assert wrong, f"{finding.code}: TensorFlow {tf.__version__} is right"
    given = ", ".join(f"{name} = {show(value)}" for name, value in arrays.items())
    row = [f"`{finding.code}`", given, show(right), finding.why]
    return row if kind == "none" else [*row[:2], f"**{show(theirs)}**", *row[2:]]


def show(value: Any) -> str:
    """Writes an array in a line, in four digits."""
    if value is None or isinstance(value, str):
        return str(value)
    value = np.asarray(value)
    if value.ndim:
        return f"[{', '.join(map(show, value))}]"
    if np.iscomplexobj(value):
        real, imag = (show(part) for part in (value.real, value.imag))
        return real if imag == "0" else f"{real}{'' if imag[0] == '-' else '+'}{imag}j"
    return f"{float(value) + 0.0:.4g}".replace("-0", "0") if value == 0 else f"{float(value):.4g}"


# ---------------------------------------------------------------- the page


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def right_programs(results: list[tuple[Case, dict[str, Any], str]]) -> str:
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    calls: dict[str, set[str]] = collections.defaultdict(set)
    for case, _, meaning in results:
        counts[case.source][meaning] += 1
        calls[case.source].add(case.text)
    rows = []
    for source, found in counts.items():
        checks = sum(found.values()) - found["cannot"]
        rows.append([source, len(calls[source]), checks, *(found[c] for c in COLUMNS)])
    totals = [sum(row[i] for row in rows) for i in range(1, len(COLUMNS) + 3)]
    rows.append(["together", *totals])
    head = [
        "source", "calls", "checks", "right", "INCONCLUSIVE", "faults of TensorFlow",
        "no gradient, it says so", "none, or another, is meant", "missed, false, or not verified",
    ]  # fmt: skip
    return table(head, [[str(cell) for cell in row] for row in rows])


def saying(results: list[tuple[Case, dict[str, Any], str]]) -> str:
    by_op: dict[str, list[str]] = collections.defaultdict(list)
    for case, row, meaning in results:
        if meaning == "says":
            op = SAYS.search(row["text"])[1] or "(not implemented)"
            if case.text not in by_op[op]:
                by_op[op].append(case.text)
    return table(
        ["op", "met in"],
        [[f"`{op}`", f"`{texts[0]}`" + (f" and {len(texts) - 1} more" if texts[1:] else "")]
         for op, texts in sorted(by_op.items())],
    )  # fmt: skip


def replaced(page: str, marker: str, text: str) -> str:
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    assert start in page and end in page, marker
    return re.sub(f"{start}.*?{end}", lambda _: f"{start}\n{text}\n{end}", page, flags=re.S)


def write_pages(results: list[tuple[Case, dict[str, Any], str]]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    with_theirs = ["program", "at", "TensorFlow returns", "right", "what is wrong"]
    for kind, found in FOUND.items():
        head = ["program", "at", "right", "for what"] if kind == "none" else with_theirs
        page = replaced(page, kind, table(head, [verified(kind, f) for f in found]))
    page = replaced(page, "says", saying(results))
    meant = [[f"`{start.rstrip('.(')}`", why] for start, why in findings.MEANT.items()]
    page = replaced(page, "meant", table(["call", "why it is flagged, and is no fault"], meant))
    opened = [[f"`{start}`", why] for start, why in findings.OPEN.items()]
    page = replaced(page, "open", table(["call", "what it is about"], opened))
    counts = right_programs(results)
    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}, CPU."
    page = replaced(page, "versions", versions)
    PAGE.write_text(replaced(page, "right programs", counts), encoding="utf-8")
    checker = CHECKER_PAGE.read_text(encoding="utf-8")
    text = f"{versions}\n\n{counts}"
    CHECKER_PAGE.write_text(replaced(checker, "right programs", text), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", type=Path, help="a file of results, kept and gone on with")
    parser.add_argument("--only", help="a text that the calls hold")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    missing = uncovered()
    known: dict[str, Any] = {}
    if arguments.resume and arguments.resume.exists():
        known = dict(map(json.loads, arguments.resume.read_text(encoding="utf-8").splitlines()))
    results, unexplained, start = [], [], time.perf_counter()
    for case in itertools.chain(cases(), second_order(results)):
        if arguments.only and arguments.only not in case.text:
            continue
        if case.key not in known:
            known[case.key] = run(case)
            if arguments.resume:
                with arguments.resume.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([case.key, known[case.key]]) + "\n")
        row = known[case.key]
        results.append((case, row, explain(case, row)))
        if results[-1][2] == "open" and not case.text.startswith(tuple(findings.OPEN)):
            unexplained.append(case.key)
            print(f"FALSE ALARM, OR MISSED? {case.key}\n{row['text']}", flush=True)
    unusable = collections.Counter(c.text for c, _, m in results if m == "cannot")
    useless = [
        text for text, n in unusable.items() if n == sum(c.text == text for c, _, _ in results)
    ]
    for text in useless:
        print(f"CANNOT RUN: {text}: {next(r['text'] for c, r, _ in results if c.text == text)}")
    print(collections.Counter(m for _, _, m in results), f"{time.perf_counter() - start:.0f} s")
    if not arguments.only:
        write_pages(results)
        print(f"NO CALL OF {', '.join(missing)}" if missing else "every layer and loss is called")
    return int(bool(missing or useless or unexplained))


if __name__ == "__main__":
    sys.exit(main())
