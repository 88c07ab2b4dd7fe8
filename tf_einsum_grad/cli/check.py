"""`tf-einsum-grad check`: our einsum against native and against numbers, or a saved model."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_einsum_grad.algebra.dtypes import DTYPES
from tf_einsum_grad.benchmark.checks import relative_error, rounding
from tf_einsum_grad.cli.arguments import (
    BAD_USAGE,
    PASSED,
    WRONG,
    Subparsers,
    UsageError,
    at_least,
    parse_shape,
    parse_size,
    refuse,
    start_tensorflow,
)
from tf_einsum_grad.explaining.explanation import explain

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["add_parser", "run"]

_DTYPES = tuple(name for name, facts in DTYPES.items() if facts.kind == "float")


def add_parser(subparsers: Subparsers) -> None:
    """Adds `check` to what `ArgumentParser.add_subparsers` gave; imports no TensorFlow."""
    parser = subparsers.add_parser(
        "check",
        help="check gradients: of an equation, or of a saved Keras model",
        description="Checks the gradients of an einsum, EQUATION SHAPE..., against finite "
        "differences and native TensorFlow; or those of a saved model, MODEL.keras.",
    )
    parser.add_argument("target", metavar="EQUATION|MODEL.keras")
    parser.add_argument("shapes", nargs="*", type=parse_shape, metavar="SHAPE")
    parser.add_argument("--dtype", choices=_DTYPES, help="default: float32")
    parser.add_argument(
        "--size", nargs="+", type=parse_size, metavar="LABEL=SIZE",
        help="sizes of labels that only the output has: j=5",
    )  # fmt: skip
    parser.add_argument(
        "--inputs", type=Path, metavar="NPZ",
        help="arrays named as the model's inputs, or in their order; random if not given",
    )  # fmt: skip
    parser.add_argument(
        "--import", nargs="+", dest="modules", default=[], metavar="MODULE",
        help="modules or .py files to import first: those of the model's own layers",
    )  # fmt: skip
    parser.add_argument("--training", action="store_true", help="call the model as in training")
    parser.add_argument("--order", type=int, choices=(1, 2), default=1)
    parser.add_argument("--variants", nargs="+", default=["eager"], metavar="VARIANT",
                        choices=("eager", "graph", "xla", "forward"))  # fmt: skip
    parser.add_argument("--directions", type=at_least(1), default=2, metavar="N")
    parser.add_argument("--stop-gradient", choices=("freeze", "differentiate"), default="freeze",
                        help="what tf.stop_gradient is to be: a constant, or nothing")  # fmt: skip
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N")
    parser.add_argument(
        "--seconds", type=at_least(1), metavar="N",
        help="how long to go on; what is not reached by then is INCONCLUSIVE",
    )  # fmt: skip
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as HTML")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Checks what the arguments name.

    Returns:
        0 if it passed, 1 if it failed, 2 for bad usage.

    Raises:
        EinsumError: the equation and the shapes do not fit.
    """
    is_model = arguments.target.endswith((".keras", ".h5"))
    problem = _usage_problem(arguments, is_model)
    if problem:
        return refuse("check", problem)
    try:
        return _check_model(arguments) if is_model else _check_equation(arguments)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE


def _usage_problem(arguments: argparse.Namespace, is_model: bool) -> str | None:
    """What is given that a model, or an equation, does not take; or lacks."""
    if is_model:
        given = {"shapes": arguments.shapes, "--dtype": arguments.dtype, "--size": arguments.size}
        taken = next((name for name, value in given.items() if value), None)
        return f"a model takes no {taken}" if taken else None
    given = {
        "--inputs": arguments.inputs,
        "--training": arguments.training,
        "--import": arguments.modules,
    }
    taken = next((name for name, value in given.items() if value), None)
    if taken:
        return f"an equation takes no {taken}; a model's file name ends in .keras"
    if not arguments.shapes:
        return (
            f"{arguments.target!r} requires a shape for each operand, as in 'ij,jk->ik' 2,3 3,4, "
            "or a model's file name that ends in .keras"
        )
    return None


def _check(name: str, fn: Callable[..., Any], inputs: Any, arguments: argparse.Namespace) -> int:
    """Checks `fn`, prints the report, writes --html and --json, and returns the exit code.

    Raises:
        UsageError: the check refuses its arguments, or a file cannot be written.
    """
    from rich.console import Console

    from tf_einsum_grad.gradcheck.check import check_gradients

    try:
        report = check_gradients(
            fn, inputs, training=arguments.training or None, order=arguments.order,
            variants=arguments.variants, n_directions=arguments.directions, seed=arguments.seed,
            stop_gradient=arguments.stop_gradient, seconds=arguments.seconds,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error).splitlines()[0]) from error
    report = dataclasses.replace(report, name=name)
    Console().print(report)
    try:
        if arguments.html:
            head = f"<!doctype html><meta charset='utf-8'><title>{name}</title>"
            arguments.html.write_text(head + report.to_html(), encoding="utf-8")
        if arguments.json:
            arguments.json.write_text(report.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the report: {error}") from error
    return PASSED if report.passed else WRONG


def _check_equation(arguments: argparse.Namespace) -> int:
    equation, dtype = arguments.target, arguments.dtype or "float32"
    sizes = dict(arguments.size or ())
    # What does not fit ends here, before TensorFlow is imported.
    explanation = explain(equation, *arguments.shapes, dtype=dtype, sizes=sizes)
    start_tensorflow()

    import tensorflow as tf

    from tf_einsum_grad.benchmark.variants import VARIANTS

    rng = np.random.default_rng(arguments.seed)
    *operands, cotangent = (
        tf.cast(rng.standard_normal(shape), dtype)
        for shape in (*arguments.shapes, explanation.output_shape)
    )
    code = _check(
        f"einsum {equation!r}",
        lambda *xs: VARIANTS["ours"](equation, *xs, sizes=sizes),
        operands,
        arguments,
    )
    n_products = math.prod(role.size or 0 for role in explanation.roles)
    comparison = None if sizes else _compare_with_native(equation, operands, cotangent, n_products)
    if comparison is None:
        print("Native einsum does not take this equation, or cannot differentiate it.")
        return code
    worst = np.max([error for error, _ in comparison])  # not max(), which loses a nan
    print(f"Against native einsum's gradients: {worst:.1e} of their largest element at most.")
    return code if all(error <= tolerance for error, tolerance in comparison) else WRONG


def _compare_with_native(
    equation: str, operands: Sequence[tf.Tensor], cotangent: tf.Tensor, n_products: int
) -> list[tuple[float, float]] | None:
    """The relative error of each gradient, and its limit; None where native has no gradients."""
    import tensorflow as tf

    from tf_einsum_grad.benchmark.variants import VARIANTS, as_arrays, build_passes, native_values

    passes = build_passes(VARIANTS["ours"], equation, "eager", operands, cotangent)
    ours = as_arrays(passes["both"]()())[1:]
    try:
        native = native_values(equation, operands, cotangent)[1:]
    except (ValueError, tf.errors.OpError):
        return None
    dtype = operands[0].dtype.name
    return [
        (relative_error(a, b), rounding(dtype, len(operands), n_products, b.size))
        for a, b in zip(ours, native, strict=True)
    ]


def _check_model(arguments: argparse.Namespace) -> int:
    start_tensorflow()

    from tf_einsum_grad.cli import models

    models.import_modules(arguments.modules)
    model = models.load(Path(arguments.target))
    inputs = models.inputs_for(model, arguments.inputs, arguments.seed)
    models.try_call(model, inputs, arguments.inputs, arguments.training)
    return _check(model.name, model, inputs, arguments)
