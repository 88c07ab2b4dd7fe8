"""`tf-einsum-grad tune`: measure what is fastest on this machine, into a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tf_einsum_grad.cli.arguments import (
    PASSED,
    Subparsers,
    UsageError,
    input_file,
    output_file,
    parse_shape,
    start_tensorflow,
)
from tf_einsum_grad.lowering.machine import Target
from tf_einsum_grad.text.terminal import make_console, make_table

if TYPE_CHECKING:
    from tf_einsum_grad.tuning.result import Tuning

__all__ = ["add_parser", "run"]

_EPILOG = """\
Without MODEL or EQUATION it fits the rates that kernels are priced at. With one, it times every
candidate for each contraction that runs, forward and backward, and keeps what is faster.

  tf-einsum-grad tune --output machine.json
  tf-einsum-grad tune 'bhts,bshd->bthd' 8,8,256,256 8,256,8,64 --output machine.json
  tf-einsum-grad tune model.keras --inputs x.npz --output machine.json
  TF_EINSUM_GRAD_MACHINE=machine.json python train.py
"""


def add_parser(subparsers: Subparsers) -> None:
    """Adds `tune` to what `ArgumentParser.add_subparsers` gave; imports no TensorFlow."""
    parser = subparsers.add_parser(
        "tune",
        help="measure what is fastest on this machine, and keep it in a file",
        description="Lets measurement overrule the prices that kernels are chosen by.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("what", nargs="?", metavar="MODEL.keras|EQUATION",
        help="what to tune for; default: the machine's rates")  # fmt: skip
    add("shapes", nargs="*", type=parse_shape, default=(), metavar="SHAPE",
        help="of an equation, one for each operand, such as 100,28,28,512")  # fmt: skip
    add("--dtype", default="float32", metavar="DTYPE", help="of operands; default: float32")
    add("--mode", choices=get_args(Target), default="graph",
        help="where it runs: in eager mode, in a graph (tf.function), or under XLA; default: "
        "graph")  # fmt: skip
    add("--inputs", type=input_file, metavar="FILE.npz",
        help="the model's inputs; default: drawn at random to fit it")  # fmt: skip
    add("--import", dest="modules", action="append", default=[], metavar="MODULE",
        help="import this first: a model's own layers; default: none")  # fmt: skip
    add("--seconds", type=float, default=60.0, metavar="SECONDS",
        help="about how long to measure; default: 60")  # fmt: skip
    add("--output", type=output_file, metavar="FILE",
        help="write the result there, as JSON; default: it is only shown")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints, and returns 0.

    Raises:
        EinsumError, UsageError: there is no such model, or equation and shapes do not fit.
    """
    if not arguments.seconds > 0:
        raise UsageError(f"--seconds requires more than 0, got {arguments.seconds}")
    is_model = arguments.what is not None and Path(arguments.what).suffix in (".keras", ".h5")
    if is_model and arguments.shapes:
        raise UsageError("a model takes no shapes; --inputs gives what it is called with")
    if arguments.inputs and not is_model:
        raise UsageError("--inputs requires a model")
    if arguments.what is not None and not is_model:
        _check_einsum(arguments)
    start_tensorflow()
    from tf_einsum_grad.installation import installed
    from tf_einsum_grad.tuning.tune import tune

    function, inputs = _function(arguments, is_model)
    # What a model runs is what it will run once this einsum is installed.
    with installed() if is_model else nullcontext():
        found = tune(
            function, inputs, seconds=arguments.seconds, path=arguments.output, mode=arguments.mode
        )
    _show(found, arguments.output)
    return PASSED


def _check_einsum(arguments: argparse.Namespace) -> None:
    from tf_einsum_grad.explaining.explanation import explain

    if not arguments.shapes:
        raise UsageError("an equation requires shapes, one for each operand")
    explain(arguments.what, *arguments.shapes, dtype=arguments.dtype)


def _function(
    arguments: argparse.Namespace, is_model: bool
) -> tuple[Callable[..., Any] | None, Any]:
    """What is tuned for, and what it is called with."""
    if arguments.what is None:
        return None, None
    import tensorflow as tf

    from tf_einsum_grad.ops import einsum

    if not is_model:
        equation = arguments.what
        operands = [tf.ones(shape, arguments.dtype) for shape in arguments.shapes]
        return lambda *operands: einsum(equation, *operands), operands
    from tf_einsum_grad.cli import models

    models.import_modules(arguments.modules)
    model = models.load(Path(arguments.what))
    inputs = models.inputs_for(model, arguments.inputs, seed=0)
    return model, inputs if isinstance(inputs, list) else [inputs]


def _show(found: Tuning, path: Path | None) -> None:
    console = make_console()
    if found.changes:
        console.print(make_table(*found.table(), n_left=3, folded=("what",)))
    print(found.summary())
    if path is not None:
        print(f"TF_EINSUM_GRAD_MACHINE={path} uses it, or `with tf_einsum_grad.machine(...)`.")
