"""`tf-einsum-grad check`: our einsum against native and against numbers, or a saved model."""

from __future__ import annotations

import argparse
import dataclasses
import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_einsum_grad.algebra.dtypes import DTYPES
from tf_einsum_grad.benchmark.checks import relative_error, rounding
from tf_einsum_grad.cli.arguments import (
    PASSED,
    WRONG,
    Subparsers,
    UsageError,
    at_least,
    input_file,
    output_file,
    parse_shape,
    parse_sizes,
    refuse,
    start_tensorflow,
)
from tf_einsum_grad.explaining.explanation import explain
from tf_einsum_grad.text.files import check_readable, write_whole
from tf_einsum_grad.text.terminal import make_console

if TYPE_CHECKING:
    import tensorflow as tf

    from tf_einsum_grad.cli.outcome import Outcome
    from tf_einsum_grad.gradcheck.report import GradientReport

__all__ = ["add_parser", "run"]

_DTYPES = tuple(name for name, facts in DTYPES.items() if facts.kind == "float")
_VARIANTS = ("eager", "graph", "xla", "forward")
_SUFFIXES = (".keras", ".h5")
_MODEL_PARTS = ("config.json", "model.weights.")  # of a .keras file, which is a zip archive
_HDF5 = b"\x89HDF"  # how an .h5 file begins


def add_parser(subparsers: Subparsers) -> None:
    """Adds `check` to what `ArgumentParser.add_subparsers` gave; imports no TensorFlow."""
    parser = subparsers.add_parser(
        "check",
        help="check gradients: of an equation, or of a saved Keras model",
        description="Checks the gradients of an einsum, EQUATION SHAPE..., against finite "
        "differences and native TensorFlow; or those of a saved model, MODEL.keras.",
    )
    add = parser.add_argument
    add("target", metavar="EQUATION|MODEL.keras", help="an einsum, or a saved model's file")
    add("shapes", nargs="*", type=parse_shape, default=(), metavar="SHAPE",
        help="of an equation: one for each operand, such as 3,4")  # fmt: skip
    add("--dtype", choices=_DTYPES, help="of an equation's operands; default: float32")
    add("--size", action="extend", type=parse_sizes, default=[], metavar="LABEL=SIZE",
        help="of a label that only the output has, such as j=5; default: none")  # fmt: skip
    add("--inputs", type=_npz_file, metavar="NPZ",
        help="arrays named as the model's inputs, or in their order; default: random")  # fmt: skip
    add("--import", action="append", dest="modules", default=[], metavar="MODULE",
        help="a module or .py file to import first, of the model's own layers; default: "
        "none")  # fmt: skip
    add("--training", action="store_true",
        help="call the model as in training; default: as in inference")  # fmt: skip
    add("--order", type=int, choices=(1, 2), default=1, help="of derivatives; default: 1")
    add("--variants", type=_variants, default=("eager",), metavar="NAMES",
        help=f"how gradients are taken, some of {','.join(_VARIANTS)}; default: eager")  # fmt: skip
    add("--directions", type=at_least(1), default=2, metavar="N",
        help="random directions for each tensor; default: 2")  # fmt: skip
    add("--stop-gradient", choices=("freeze", "differentiate"), default="freeze",
        help="what tf.stop_gradient is to be: a constant, or nothing; default: freeze")  # fmt: skip
    add("--seed", type=at_least(0), default=0, metavar="N", help="of what is random; default: 0")
    add("--seconds", type=at_least(1), metavar="SECONDS",
        help="how long to go on; what is not reached by then is INCONCLUSIVE; default: to the "
        "end")  # fmt: skip
    add("--html", type=output_file, metavar="FILE",
        help="write the report as HTML; default: not")  # fmt: skip
    add("--json", type=output_file, metavar="FILE",
        help="write the report as JSON; default: not")  # fmt: skip
    parser.set_defaults(run=run)


def _variants(text: str) -> tuple[str, ...]:
    """Reads names of variants between commas.

    Raises:
        argparse.ArgumentTypeError: they are others.
    """
    names = tuple(text.split(","))
    if not set(names) <= set(_VARIANTS):
        wanted = ", ".join(_VARIANTS)
        raise argparse.ArgumentTypeError(f"one or more of {wanted} required, got {text!r}")
    return names


def run(arguments: argparse.Namespace) -> int:
    """Checks what the arguments name.

    Returns:
        0 if it passed, 1 if it failed, 2 for bad usage.

    Raises:
        EinsumError: the equation and the shapes do not fit.
    """
    path = Path(arguments.target)
    is_model = path.suffix in _SUFFIXES
    problem = _usage_problem(arguments, is_model)
    if problem:
        return refuse("check", problem)
    if is_model:
        _check_model_file(path)
    outcome = _check_model(arguments) if is_model else _check_equation(arguments)
    outcome.show(make_console())
    if arguments.html:
        write_whole(arguments.html, outcome.to_html())
    if arguments.json:
        write_whole(arguments.json, outcome.to_json())
    return PASSED if outcome.passed else WRONG


def _npz_file(text: str) -> Path:
    """Reads the name of an .npz file that is there.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    path = input_file(text)
    if not zipfile.is_zipfile(path):
        raise argparse.ArgumentTypeError(f"{text!r} is not an .npz file")
    return path


def _check_model_file(path: Path) -> None:
    """Finds out without Keras, which takes seconds, what it would not load.

    Raises:
        UsageError: there is no such file, or it is none of Keras'.
    """
    try:
        check_readable(path)
        lacks = _what_lacks(path)
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror}") from error
    if lacks:
        raise UsageError(f"{str(path)!r} is no {path.suffix} model: {lacks}")


def _what_lacks(path: Path) -> str:
    if path.suffix == ".h5":
        with path.open("rb") as file:
            return "" if file.read(len(_HDF5)) == _HDF5 else "it is not an HDF5 file"
    if not zipfile.is_zipfile(path):
        return "it is not a zip archive, or not all of one"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    missing = [part for part in _MODEL_PARTS if not any(name.startswith(part) for name in names)]
    return f"it lacks {missing[0].rstrip('.')}" if missing else ""


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


def _check(
    name: str, fn: Callable[..., Any], inputs: Any, arguments: argparse.Namespace
) -> GradientReport:
    """Checks `fn`.

    Raises:
        UsageError: the check refuses its arguments.
    """
    from tf_einsum_grad.gradcheck.check import check_gradients

    try:
        report = check_gradients(
            fn, inputs, training=arguments.training or None, order=arguments.order,
            variants=arguments.variants, n_directions=arguments.directions, seed=arguments.seed,
            stop_gradient=arguments.stop_gradient, seconds=arguments.seconds,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error).splitlines()[0]) from error
    return dataclasses.replace(report, name=name)


def _check_equation(arguments: argparse.Namespace) -> Outcome:
    equation, dtype = arguments.target, arguments.dtype or "float32"
    sizes = dict(arguments.size)
    # What does not fit ends here, before TensorFlow is imported.
    explanation = explain(equation, *arguments.shapes, dtype=dtype, sizes=sizes)
    start_tensorflow()

    import tensorflow as tf

    from tf_einsum_grad.benchmark.variants import VARIANTS
    from tf_einsum_grad.cli.outcome import AgainstNative, Outcome

    rng = np.random.default_rng(arguments.seed)
    *operands, cotangent = (
        tf.cast(rng.standard_normal(shape), dtype)
        for shape in (*arguments.shapes, explanation.output_shape)
    )
    report = _check(
        f"einsum {equation!r}",
        lambda *xs: VARIANTS["ours"](equation, *xs, sizes=sizes),
        operands,
        arguments,
    )
    n_products = math.prod(role.size or 0 for role in explanation.roles)
    found = None if sizes else _compare_with_native(equation, operands, cotangent, n_products)
    native = AgainstNative(None) if found is None else AgainstNative(*zip(*found, strict=True))
    return Outcome.of(report, arguments, native)


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


def _check_model(arguments: argparse.Namespace) -> Outcome:
    start_tensorflow()

    from tf_einsum_grad.cli import models
    from tf_einsum_grad.cli.outcome import Outcome

    models.import_modules(arguments.modules)
    model = models.load(Path(arguments.target))
    inputs = models.inputs_for(model, arguments.inputs, arguments.seed)
    models.try_call(model, inputs, arguments.inputs, arguments.training)
    return Outcome.of(_check(model.name, model, inputs, arguments), arguments)
