"""`tf-einsum-grad explain`: an equation, its gradients and what they cost."""

from __future__ import annotations

import argparse
import json
from typing import get_args

from tf_einsum_grad.cli.arguments import PASSED, Subparsers, parse_shape, parse_sizes
from tf_einsum_grad.explaining.explanation import explain
from tf_einsum_grad.lowering.machine import Target
from tf_einsum_grad.lowering.machines import MACHINES
from tf_einsum_grad.text.terminal import terminal_width

__all__ = ["add_parser", "run"]

_WIDEST = 120  # columns; longer lines are hard to read


def add_parser(subparsers: Subparsers) -> None:
    """Adds `explain` to what `ArgumentParser.add_subparsers` gave."""
    parser = subparsers.add_parser(
        "explain",
        help="explain an equation, its gradients and cost",
        description="Prints the gradients of an einsum, how each comes about, which kernels run "
        "for it, and what they cost. Needs no TensorFlow.",
    )
    add = parser.add_argument
    add("equation", metavar="EQUATION", help="such as 'ij,jk->ik'")
    add("shapes", nargs="*", type=parse_shape, default=(), metavar="SHAPE",
        help="one for each operand, such as 100,28,28,512; 'scalar' for a number; default: sizes "
        "are unknown")  # fmt: skip
    add("--dtype", default="float32", metavar="DTYPE", help="of the operands; default: float32")
    add("--target", choices=get_args(Target), default="graph",
        help="where it runs: in eager mode, in a graph (tf.function), or under XLA; default: "
        "graph")  # fmt: skip
    add("--machine", choices=tuple(MACHINES),
        help="what it runs on, a CPU without or with oneDNN's kernels, or a GPU; default: "
        "cpu")  # fmt: skip
    add("--optimize", default="auto", metavar="NAME",
        help="the name of an opt_einsum optimiser; default: auto")  # fmt: skip
    add("--memory-limit", metavar="BYTES",
        help="what neither pass may take beyond operands, result and gradients, such as 512MB or "
        "1.5GiB, to see the slices that it makes; default: no limit")  # fmt: skip
    add("--size", action="extend", type=parse_sizes, default=[], metavar="LABEL=SIZE",
        help="the size of a label that only the output has, such as j=5 or j=5,k=2; default: "
        "none")  # fmt: skip
    add("--mesh", action="extend", type=parse_sizes, default=[], metavar="LABEL=DEVICES",
        help="a label that is sharded over so many devices, such as b=4, to see what is sent; "
        "default: none")  # fmt: skip
    add("--json", action="store_true", help="print JSON instead of text; default: text")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the explanation, and returns 0.

    Raises:
        EinsumError: the equation and the shapes do not fit.
    """
    explanation = explain(
        arguments.equation,
        *arguments.shapes,
        dtype=arguments.dtype,
        optimize=arguments.optimize,
        sizes=dict(arguments.size),
        mesh=dict(arguments.mesh),
        target=arguments.target,
        machine=arguments.machine,
        memory_limit=arguments.memory_limit,
    )
    if arguments.json:
        print(json.dumps(explanation.to_dict(), indent=2))
    else:
        print(explanation.to_text(min(terminal_width(), _WIDEST)))
    return PASSED
