"""`tf-einsum-grad check`: our einsum against native and against numbers, or a saved model."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tf_einsum_grad.cli.main import parse_shape, parse_size, start_tensorflow
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
    parser.add_argument("--dtype", choices=tuple(_TOLERANCES), help="default: float32")
    parser.add_argument(
        "--size", nargs="+", type=parse_size, metavar="LABEL=SIZE",
        help="sizes of labels that only the output has: j=5",
    )  # fmt: skip
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
    is_model = arguments.target.endswith((".keras", ".h5"))
    problem = _usage_problem(arguments, is_model)
    if problem:
        print(f"tf-einsum-grad check: {problem}", file=sys.stderr)
        return gradcheck_cli.BAD_USAGE
    if is_model:
        start_tensorflow()
        arguments.model = arguments.target
        return gradcheck_cli.run(arguments)
    return _check_equation(arguments)


def _usage_problem(arguments: argparse.Namespace, is_model: bool) -> str | None:
    """What is given that a model, or an equation, does not take; or lacks."""
    if is_model:
        given = {"shapes": arguments.shapes, "--dtype": arguments.dtype, "--size": arguments.size}
        taken = next((name for name, value in given.items() if value), None)
        return f"a model takes no {taken}" if taken else None
    given = {"--inputs": arguments.inputs, "--training": arguments.training}
    taken = next((name for name, value in given.items() if value), None)
    if taken:
        return f"an equation takes no {taken}; a model's file name ends in .keras"
    if not arguments.shapes:
        return (
            f"{arguments.target!r} requires a shape for each operand, as in 'ij,jk->ik' 2,3 3,4, "
            "or a model's file name that ends in .keras"
        )
    return None


def _check_equation(arguments: argparse.Namespace) -> int:
    from tf_einsum_grad.explaining.explanation import explain

    equation, dtype = arguments.target, arguments.dtype or "float32"
    sizes = dict(arguments.size or ())
    explain(equation, *arguments.shapes, dtype=dtype, sizes=sizes)  # bad shapes end here
    start_tensorflow()

    import numpy as np
    import tensorflow as tf

    from tf_einsum_grad.ops import einsum

    rng = np.random.default_rng(arguments.seed)
    operands = [tf.cast(rng.standard_normal(shape), dtype) for shape in arguments.shapes]
    code = gradcheck_cli.check_callable_cli(
        f"einsum {equation!r}", lambda *xs: einsum(equation, *xs, sizes=sizes), operands, arguments
    )
    if code == gradcheck_cli.BAD_USAGE:
        return code
    error = None if sizes else _native_error(equation, operands)
    if error is None:
        print("Native einsum does not take this equation, or cannot differentiate it.")
        return code
    print(f"Against native einsum's gradients: {error:.1e} of their largest element at most.")
    return code if error <= _TOLERANCES[dtype] else gradcheck_cli.FAILED


def _native_error(equation: str, operands: list[Any]) -> float | None:
    """The largest difference from native's gradients, None where native has none."""
    import numpy as np
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
    errors = [
        float(tf.reduce_max(tf.abs(a - b)) / tf.maximum(tf.reduce_max(tf.abs(b)), 1e-30))
        if tf.size(a)
        else 0.0
        for a, b in zip(*gradients, strict=True)
    ]
    return float(np.max(errors))  # not max(), which loses a nan
