"""The command line: `tf-einsum-grad`, also `python -m tf_einsum_grad`.

Each subcommand is a module with `add_parser(subparsers)` and `run(arguments) -> exit code`; none of
them imports TensorFlow before its arguments have been read. Without a subcommand: `demo`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.cli import bench, check, demo, explain
from tf_einsum_grad.cli.arguments import BAD_USAGE, PASSED, Parser

__all__ = ["main"]


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
        return int(arguments.run(arguments))
    except EinsumError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return BAD_USAGE
    except BrokenPipeError:
        # The reader (head, less) has what it wanted; say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PASSED


def _build_parser() -> Parser:
    parser = Parser(
        prog="tf-einsum-grad",
        description="Einsum's gradients are einsums. Without a command: the question that this "
        "package answers, end to end, on real tensors.",
    )
    demo.add_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for command in (explain, check, bench):
        command.add_parser(commands)
    return parser
