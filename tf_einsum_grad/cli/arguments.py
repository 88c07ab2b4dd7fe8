"""What the subcommands share: how arguments are read, exit codes, and starting TensorFlow."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from typing import NoReturn, TypeAlias

__all__ = [
    "BAD_USAGE",
    "PASSED",
    "WRONG",
    "Parser",
    "Subparsers",
    "UsageError",
    "at_least",
    "parse_shape",
    "parse_size",
    "refuse",
    "start_tensorflow",
]

# What `ArgumentParser.add_subparsers` gives.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

PASSED, WRONG, BAD_USAGE = 0, 1, 2


class UsageError(ValueError):
    """Something about the command is wrong; the message is one line."""


class Parser(argparse.ArgumentParser):
    """Bad usage is one line on stderr, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        self.exit(BAD_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def refuse(command: str, problem: object) -> int:
    """Says in one line what is wrong with a subcommand's arguments, and returns the exit code."""
    print(f"tf-einsum-grad {command}: {problem}", file=sys.stderr)
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


def parse_size(text: str) -> tuple[str, int]:
    """Reads a label with a number as it is typed: `b=4`.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    label, _, number = text.partition("=")
    if len(label) != 1 or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"a label and a number like b=4 is required, got {text!r}")
    return label, int(number)


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
