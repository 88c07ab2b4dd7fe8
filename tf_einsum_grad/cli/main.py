"""The command line: `tf-einsum-grad`, also `python -m tf_einsum_grad`.

Each subcommand is a module with `add_parser(subparsers)` and `run(arguments) -> exit code`; none of
them imports TensorFlow before its arguments have been read.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence

from tf_einsum_grad.algebra.errors import EinsumError, SizeError

__all__ = ["main", "parse_shape", "parse_size", "start_tensorflow"]

QUESTION = "ijkm,ijkn->imn"
QUESTION_SHAPES = ((100, 28, 28, 512), (100, 28, 28, 512))


class _Parser(argparse.ArgumentParser):
    """Bad usage is one line on stderr, and exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def start_tensorflow() -> None:
    """Imports TensorFlow and starts its devices, without what its libraries write meanwhile.

    `TF_CPP_MIN_LOG_LEVEL` does not reach messages from before logging is set up, such as that there
    is no GPU. Where starting fails they are shown.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_logical_devices()
        except BaseException:
            messages.seek(0)
            os.write(shown, messages.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


def parse_shape(text: str) -> tuple[int, ...]:
    """Reads a shape as it is typed: `100,28,28,512`; `scalar` is the shape of a number.

    Raises:
        argparse.ArgumentTypeError: it is no shape.
    """
    if text == "scalar":
        return ()
    try:
        shape = tuple(int(part) for part in text.strip("()[] ").rstrip(",").split(","))
    except ValueError:
        shape = (-1,)
    if any(size < 0 for size in shape):
        raise argparse.ArgumentTypeError(f"a shape like 100,28,28,512 is required, got {text!r}")
    return shape


def parse_size(text: str) -> tuple[str, int]:
    """Reads a label with a number as it is typed: `b=4`.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    label, _, number = text.partition("=")
    if len(label) != 1 or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"a label and a number like b=4 is required, got {text!r}")
    return label, int(number)


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tf-einsum-grad",
        description="Einsum's gradients are einsums. Without a command: the question that this "
        "package answers, end to end, on real tensors.",
    )
    parser.add_argument("--equation", default=QUESTION, help=f"default: {QUESTION}")
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=parse_shape,
        metavar="SHAPE",
        help="one for each operand, like 100,28,28,512 (the default, twice)",
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds; default: 5")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    explain = commands.add_parser("explain", help="explain an equation, its gradients and cost")
    explain.add_argument("equation", metavar="EQUATION")
    explain.add_argument("shapes", nargs="*", type=parse_shape, metavar="SHAPE")
    explain.add_argument("--dtype", default="float32")
    explain.add_argument("--optimize", default="auto", help="the name of an opt_einsum optimiser")
    explain.add_argument(
        "--size",
        nargs="+",
        type=parse_size,
        metavar="LABEL=SIZE",
        help="sizes of labels that only the output has: j=5",
    )
    explain.add_argument(
        "--mesh",
        nargs="+",
        type=parse_size,
        metavar="LABEL=DEVICES",
        help="labels that are sharded, to see what is sent: b=4",
    )
    explain.add_argument("--json", action="store_true", help="print JSON instead of text")
    explain.set_defaults(run=_explain)
    # Here, since these modules read shapes as this one does.
    from tf_einsum_grad.benchmark import cli as benchmark_cli
    from tf_einsum_grad.cli import check as check_equation

    check_equation.add_parser(commands)
    benchmark_cli.add_parser(commands)
    return parser


def _explain(arguments: argparse.Namespace) -> int:
    import json

    from tf_einsum_grad.explaining.explanation import explain

    explanation = explain(
        arguments.equation,
        *arguments.shapes,
        dtype=arguments.dtype,
        optimize=arguments.optimize,
        sizes=dict(arguments.size or ()),
        mesh=dict(arguments.mesh or ()),
    )
    print(json.dumps(explanation.to_dict(), indent=2) if arguments.json else explanation)
    return 0


def _question(arguments: argparse.Namespace) -> int:
    from tf_einsum_grad.cli.demo import answer

    if arguments.shapes is None and arguments.equation != QUESTION:
        raise SizeError(f"--equation {arguments.equation!r} requires --shapes, got none")
    if arguments.repeats < 1:
        raise SizeError(f"--repeats requires 1 or more, got {arguments.repeats}")
    shapes = arguments.shapes or QUESTION_SHAPES
    return answer(arguments.equation, tuple(map(tuple, shapes)), arguments.repeats)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        0 if all went well, 1 if a result was wrong, 2 for bad usage.
    """
    # TensorFlow's start-up messages would stand before ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = _build_parser()
    arguments = parser.parse_args(argv)
    try:
        return int(getattr(arguments, "run", _question)(arguments))
    except EinsumError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (head, less) has what it wanted; say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
