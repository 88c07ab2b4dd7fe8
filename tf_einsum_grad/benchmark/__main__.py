"""`python -m tf_einsum_grad.benchmark`: the same as `tf-einsum-grad bench`."""

import argparse
import sys

from tf_einsum_grad.benchmark.cli import add_parser, run

parser = argparse.ArgumentParser(prog="python -m tf_einsum_grad.benchmark")
add_parser(parser.add_subparsers(required=True))
sys.exit(run(parser.parse_args(["bench", *sys.argv[1:]])))
