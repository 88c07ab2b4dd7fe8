import subprocess
import sys

import pytest

from tests.cli.running import run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "ij", "3,4", "--mesh", "b4"], "a label and a number like b=4 is required"),
        (["explain", "ij", "3,4", "--mesh", "b=4"], "requires a mesh of its own labels, got 'b'"),
        (["explain", "ij,jk", "3,4", "5,6"], "label 'j', got 4 in operand 0 (shape (3, 4)) and 5"),
        (["explain", "ij", "3,x"], "a shape like 100,28,28,512 is required, got '3,x'"),
        (["explain"], "the following arguments are required: EQUATION"),
        (["explain", "i", "3", "--dtype", "str"], "requires a numeric dtype, got 'str'"),
        (["--equation", "ij,jk"], "requires --shapes, got none"),
        (["--repeats", "0"], "--repeats requires 1 or more, got 0"),
        (["--shapes", "3,4"], "requires 2 operands, got 1"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["check", "ij,jk", "3,4"], "requires 2 operands, got 1"),
        (["check", "ij,jk"], "'ij,jk' requires a shape for each operand"),
        (["check", "no.keras"], "no.keras"),
        (["check", "no.keras", "3,4"], "a model takes no shapes"),
        (["check", "no.keras", "--dtype", "float64"], "a model takes no --dtype"),
        (["check", "ij->i", "3,4", "--training"], "an equation takes no --training"),
        (["check", "i->ij", "3"], "requires sizes={'j': ...}"),
        (["explain", "i->ij", "3", "--size", "j"], "a label and a number like b=4 is required"),
        (["explain", "i,i->i", "3", "3", "--optimize", "best"], "the name of an optimiser"),
        (["--equation", "ij,jk->ik", "--shapes", "0,3", "3,4"], "requires sizes from 1 on"),
        (["bench"], "an equation with shapes is required"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert out == "" and err.count("\n") == 1


def test_the_module_runs_and_explain_needs_no_tensorflow():
    program = (
        "import sys, tf_einsum_grad.cli.main as c; c.main(['explain', 'ij,jk', '2,3', '3,4']); "
    )
    program += "sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Y = einsum('ij,jk'" in done.stdout
    done = subprocess.run([sys.executable, "-m", "tf_einsum_grad", "--help"], capture_output=True)
    assert done.returncode == 0 and b"explain" in done.stdout
