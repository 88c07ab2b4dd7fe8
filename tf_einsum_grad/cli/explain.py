"""`tf-einsum-grad explain`: an equation, its gradients and what they cost."""

from __future__ import annotations

import argparse
import json

from tf_einsum_grad.cli.arguments import PASSED, Subparsers, parse_shape, parse_size
from tf_einsum_grad.explaining.explanation import explain

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Adds `explain` to what `ArgumentParser.add_subparsers` gave."""
    parser = subparsers.add_parser("explain", help="explain an equation, its gradients and cost")
    parser.add_argument("equation", metavar="EQUATION")
    parser.add_argument("shapes", nargs="*", type=parse_shape, metavar="SHAPE")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--optimize", default="auto", help="the name of an opt_einsum optimiser")
    parser.add_argument(
        "--size", nargs="+", type=parse_size, metavar="LABEL=SIZE",
        help="sizes of labels that only the output has: j=5",
    )  # fmt: skip
    parser.add_argument(
        "--mesh", nargs="+", type=parse_size, metavar="LABEL=DEVICES",
        help="labels that are sharded, to see what is sent: b=4",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
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
        sizes=dict(arguments.size or ()),
        mesh=dict(arguments.mesh or ()),
    )
    print(json.dumps(explanation.to_dict(), indent=2) if arguments.json else explanation)
    return PASSED
