"""What the subcommands share: how arguments are read, exit codes, and starting TensorFlow."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

from tf_einsum_grad.text.files import check_readable, check_writable

__all__ = [
    "BAD_USAGE",
    "CLOSED_PIPE",
    "FAILED",
    "PASSED",
    "PROGRAM",
    "WRONG",
    "Parser",
    "Subparsers",
    "UsageError",
    "at_least",
    "input_file",
    "output_file",
    "parse_shape",
    "parse_sizes",
    "refuse",
    "say",
    "start_tensorflow",
]

# What `ArgumentParser.add_subparsers` gives.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

PROGRAM = "tf-einsum-grad"

# All right; a wrong gradient, or a ratio that fell; the arguments; a full disk, or a fault of ours;
# Ctrl-C and a reader that left, as shells have them: 128 and the signal.
PASSED, WRONG, BAD_USAGE, FAILED, CLOSED_PIPE = 0, 1, 2, 3, 141

EXIT_CODES = """\
exit code: 0 all right; 1 a wrong gradient or a ratio that fell; 2 bad usage; 3 it could not be
finished (a full disk, a fault of ours); 130 interrupted."""


class UsageError(ValueError):
    """Something about a command is wrong; the message is one line."""


class Parser(argparse.ArgumentParser):
    """Bad usage is one line on stderr, and exit code 2; names of options are written out."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        self.exit(BAD_USAGE, f"{self.prog}: {_one_line(message)} (see {self.prog} --help)\n")


def say(problem: object, command: str = "") -> None:
    """Says in one line on stderr what is wrong."""
    print(f"{' '.join([PROGRAM, command]).strip()}: {_one_line(problem)}", file=sys.stderr)


def _one_line(problem: object) -> str:
    """A message without what a file or a name holds to colour, turn or clear a terminal."""
    words = " ".join(str(problem).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def refuse(command: str, problem: object) -> int:
    """Says in one line what is wrong with a subcommand's arguments, and returns the exit code."""
    say(problem, command)
    return BAD_USAGE


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


def at_least(least: int) -> Callable[[str], int]:
    """Returns a reader of whole numbers that are no smaller.

    Raises:
        argparse.ArgumentTypeError: (the reader) it is something else.
    """

    def parse(text: str) -> int:
        number = int(text) if text.removeprefix("-").isdecimal() else least - 1
        if number < least:
            requirement = f"a whole number, at least {least}, is required"
            raise argparse.ArgumentTypeError(f"{requirement}, got {text!r}")
        return number

    return parse


def parse_sizes(text: str) -> list[tuple[str, int]]:
    """Reads labels with numbers as they are typed: `b=4` or `b=4,n=2`.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    sizes = []
    for part in text.split(","):
        label, _, number = part.partition("=")
        if len(label) != 1 or not number.isdecimal():
            raise argparse.ArgumentTypeError(
                f"a label and a number like b=4 is required, got {text!r}"
            )
        sizes.append((label, int(number)))
    return sizes


def input_file(text: str) -> Path:
    """Reads the name of a file that is there.

    Raises:
        argparse.ArgumentTypeError: it cannot be read.
    """
    return _file(text, "read", check_readable)


def output_file(text: str) -> Path:
    """Reads the name of a file to write, before there is anything to write.

    Raises:
        argparse.ArgumentTypeError: it could not be written.
    """
    return _file(text, "write", check_writable)


def _file(text: str, verb: str, check: Callable[[Path], None]) -> Path:
    path = Path(text)
    try:
        check(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot {verb} {text!r}: {error.strerror}") from error
    return path


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
        except Exception:
            messages.seek(0)
            os.write(shown, messages.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
