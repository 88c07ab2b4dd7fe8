"""The subcommands of the command line, and the exit code of each way that one can end.

Each subcommand is a module with `add_parser(subparsers)` and `run(arguments) -> exit code`; none of
them imports TensorFlow before its arguments have been read. Without a subcommand: `demo`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata

from tf_einsum_grad._version import __version__
from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.cli.arguments import (
    CLOSED_PIPE,
    EXIT_CODES,
    FAILED,
    PROGRAM,
    Parser,
    UsageError,
    refuse,
    say,
)
from tf_einsum_grad.text.terminal import use_plain_characters

__all__ = ["build_parser", "main"]

_COMMANDS = ("demo", "explain", "check", "bench", "tune", "profile")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        0 if all went well, 1 if a result was wrong, 2 for bad usage, 3 where it could not be
        finished, 141 where no one reads what it prints.
    """
    # TensorFlow's start-up messages would stand before ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    use_plain_characters(sys.stdout, sys.stderr)
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has what it wanted.
        _leave_stdout()
        return CLOSED_PIPE
    except OSError as error:
        _leave_stdout()
        named = f"{error.filename}: " if error.filename else ""
        say(f"{named}{error.strerror or error}")
        return FAILED
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == __name__.partition(".")[0]:
            raise
        say(f"requires {error.name}, which is not installed: pip install {PROGRAM}")
        return FAILED
    except Exception:
        traceback.print_exc()
        say("this is a fault of the program, not of what it was asked")
        return FAILED
    return code


def _run(argv: Sequence[str]) -> int:
    first = argv[0] if argv else ""
    if first not in (*_COMMANDS, "-h", "--help", "--version"):
        argv = ["demo", *argv]
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what there is to say
        return int(end.code or 0)
    try:
        return int(arguments.run(arguments))
    except (EinsumError, UsageError) as error:
        return refuse(arguments.command, error)


def _leave_stdout() -> None:
    """Has what is still to be written go nowhere, so that it is no second error at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> Parser:
    """The parser of the program, with those of its commands."""
    from tf_einsum_grad.cli import bench, check, demo, explain, profile, tune

    parser = Parser(
        prog=PROGRAM,
        description="Einsum's gradients are einsums. Without a command: demo, the question that "
        "this package answers, end to end, on real tensors.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for command in (demo, explain, check, bench, tune, profile):
        command.add_parser(commands)
    return parser


def _version() -> str:
    """The versions of all that a result may depend on; finding them imports nothing."""
    versions = [f"Python {platform.python_version()}"]
    for name, distribution in (("TensorFlow", "tensorflow"), ("Keras", "keras")):
        try:
            versions.append(f"{name} {metadata.version(distribution)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    return f"{PROGRAM} {__version__} ({', '.join(versions)})"
