"""Nothing kills the process: every lowering of every role, with size 0 anywhere."""

import subprocess
import sys

import pytest

from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.lower import lower


@pytest.mark.parametrize(
    "mode", ["eager static", "graph static", "graph batch", "graph unknown", "xla static"]
)
def test_empty_tensors(mode):
    """In a child process: a division by 0 in a rewrite of the graph ends all of it."""
    command = [sys.executable, "-m", "tests.execution.empties_program", *mode.split()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = run.stdout.splitlines()
    assert (run.returncode, lines[-1:]) == (0, ["done"]), (lines[-1:], run.stderr[-500:])


@pytest.mark.parametrize("text", ["ij,jk->ik", "ij,i->j", "ij->i", "ii->i", "bi,b->bi"])
def test_a_contraction_of_nothing_reads_no_operand(text):
    equation = parse_equation(text)
    for empty in equation.labels:
        sizes = {label: 0 if label == empty else 3 for label in equation.labels}
        contraction = Contraction.of(equation, sizes, "float32")
        for c in (contraction, *map(contraction.transpose, range(len(equation.inputs)))):
            assert lower(c).kernel == "zeros"
