"""`tf-einsum-grad check`: our einsum against native and against numbers, or a saved model."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tf_einsum_grad.cli import parse_shape
from tf_einsum_grad.gradcheck import cli as gradcheck_cli

__all__ = ["add_parser", "run"]

# What rounding may do to a gradient, relative to its largest element.
_TOLERANCES = {"float16": 1e-2, "bfloat16": 5e-2, "float32": 1e-4, "float64": 1e-10}


def add_parser(subparsers: Any) -> None:
    """Adds `check` to what `ArgumentParser.add_subparsers` gave; imports no TensorFlow."""
    parser = subparsers.add_parser(
        "check",
        help="check gradients: of an equation, or of a saved Keras model",
        description="Checks the gradients of an einsum, EQUATION SHAPE..., against finite "
        "differences and native TensorFlow; or those of a saved model, MODEL.keras.",
    )
    parser.add_argument("target", metavar="EQUATION|MODEL.keras")
    parser.add_argument("shapes", nargs="*", type=parse_shape, metavar="SHAPE")
    parser.add_argument("--dtype", default="float32", choices=tuple(_TOLERANCES))
    gradcheck_cli.add_model_options(parser)
    gradcheck_cli.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Checks what the arguments name.

    Returns:
        0 if it passed, 1 if it failed, 2 for bad usage.

    Raises:
        EinsumError: the equation and the shapes do not fit.
    """
    if arguments.target.endswith(".keras"):
        if arguments.shapes:
            print("tf-einsum-grad check: a model takes no shapes", file=sys.stderr)
            return 2
        arguments.model = arguments.target
        return gradcheck_cli.run(arguments)
    if not arguments.shapes:
        print(
            f"tf-einsum-grad check: {arguments.target!r} requires a shape for each operand, as in "
            "'ij,jk->ik' 2,3 3,4, or a model's file name that ends in .keras",
            file=sys.stderr,
        )
        return 2
    return _check_equation(arguments)


def _check_equation(arguments: argparse.Namespace) -> int:
    from tf_einsum_grad.explanation import explain

    equation = arguments.target
    explain(equation, *arguments.shapes, dtype=arguments.dtype)  # bad shapes end here

    import numpy as np
    import tensorflow as tf

    from tf_einsum_grad.ops import einsum

    rng = np.random.default_rng(arguments.seed)
    operands = [tf.cast(rng.standard_normal(shape), arguments.dtype) for shape in arguments.shapes]
    code = gradcheck_cli.check_callable_cli(
        f"einsum {equation!r}", lambda *xs: einsum(equation, *xs), operands, arguments
    )
    if code == gradcheck_cli.BAD_USAGE:
        return code
    error = _native_error(equation, operands)
    if error is None:
        print("Native einsum does not take this equation, or cannot differentiate it.")
        return code
    print(f"Against native einsum's gradients: {error:.1e} of their largest element at most.")
    return code if error <= _TOLERANCES[arguments.dtype] else gradcheck_cli.FAILED


def _native_error(equation: str, operands: list[Any]) -> float | None:
    """The largest difference from native's gradients, None where native has none."""
    import tensorflow as tf

    from tf_einsum_grad.ops import einsum

    gradients = []
    for function in (einsum, tf.einsum):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            try:
                result = function(equation, *operands)
            except (ValueError, tf.errors.OpError):
                if function is tf.einsum:
                    return None
                raise
            loss = tf.reduce_sum(tf.sin(result))
        gradients.append(tape.gradient(loss, operands))
    return max(
        float(tf.reduce_max(tf.abs(a - b)) / tf.maximum(tf.reduce_max(tf.abs(b)), 1e-30))
        if tf.size(a)
        else 0.0
        for a, b in zip(*gradients, strict=True)
    )
