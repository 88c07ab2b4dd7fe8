"""`tf-einsum-grad profile`: the einsums of a saved model, and what installing saves."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tf_einsum_grad.benchmark.workloads import MODES
from tf_einsum_grad.cli.arguments import (
    PASSED,
    Subparsers,
    input_file,
    output_file,
    start_tensorflow,
)
from tf_einsum_grad.text.terminal import terminal_width

__all__ = ["add_parser", "run"]

_EPILOG = """\
Each einsum and matmul is timed by itself, forward and for each gradient that a step of training
needs, native and ours in turn; then the whole step, as it is and with this package installed. The
loss is the outputs' mean square distance from fixed numbers. The model's file is not changed.

  tf-einsum-grad profile model.keras
  tf-einsum-grad profile model.keras --inputs x.npz --html page.html --json profile.json
  tf-einsum-grad profile model.keras --inference --modes graph,xla
"""


def add_parser(subparsers: Subparsers) -> None:
    """Adds `profile` to what `ArgumentParser.add_subparsers` gave; imports no TensorFlow."""
    parser = subparsers.add_parser(
        "profile",
        help="which einsums of a model cost what, and what installing saves",
        description="Measures the einsums and matmuls of a saved Keras model, and its whole step.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", type=input_file, metavar="MODEL.keras", help="a saved model")
    add("--inputs", type=input_file, metavar="FILE.npz",
        help="the model's inputs; default: drawn at random to fit it")  # fmt: skip
    add("--import", dest="modules", action="append", default=[], metavar="MODULE",
        help="import this first: a model's own layers; default: none")  # fmt: skip
    add("--inference", action="store_true", help="without gradients; default: a step of training")
    add("--modes", type=_modes, default=("graph",), metavar="NAMES",
        help=f"some of {','.join(MODES)}; default: graph")  # fmt: skip
    add("--html", type=output_file, metavar="FILE",
        help="write it as a page with bars; default: not")  # fmt: skip
    add("--json", type=output_file, metavar="FILE", help="write it as JSON; default: not")
    parser.set_defaults(run=run)


def _modes(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(MODES):
        known = ", ".join(MODES)
        raise argparse.ArgumentTypeError(f"one or more of {known} required, got {text!r}")
    return names


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints and writes, and returns 0.

    Raises:
        EinsumError, UsageError: there is no such model, or its inputs do not fit.
    """
    start_tensorflow()
    from tf_einsum_grad.cli import models
    from tf_einsum_grad.profiling.profile import profile

    models.import_modules(arguments.modules)
    model = models.load(arguments.model)
    inputs = models.inputs_for(model, arguments.inputs, seed=0)
    training = not arguments.inference
    models.try_call(model, inputs, arguments.inputs, training)
    models.try_trace(model, inputs, training)
    given: Sequence[object] = inputs if isinstance(inputs, list) else [inputs]
    found = profile(model, given, training=training, modes=arguments.modes)
    print(found.to_text(terminal_width()), end="")
    for path, write in ((arguments.html, found.to_html), (arguments.json, found.to_json)):
        if path is not None:
            write(Path(path))
    return PASSED
