import math
import subprocess
import sys

import numpy as np
import pytest

from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.benchmark.workloads import Workload, load_workloads


def test_the_suite_is_sound():
    workloads = load_workloads()
    assert len(workloads) >= 36
    assert len({w.name for w in workloads}) == len(workloads)
    for w in workloads:
        both = w.flops("both"), w.compulsory_bytes("both")
        assert all(math.isfinite(x) and x >= 0 for x in both), w.name
        assert w.compulsory_bytes("forward") > 0
        assert len(w.name) <= 28, "the table has 100 columns"


def test_costs_of_a_matmul():
    w = Workload("", "", "ij,jk->ik", ((2, 3), (3, 4)))
    assert [w.flops(p) for p in ("forward", "backward", "both")] == [48, 96, 144]
    assert w.compulsory_bytes("forward") == 4 * (6 + 12 + 8)
    assert w.compulsory_bytes("backward") == 4 * (8 + 6 + 12 + 6 + 12)


def test_of_a_diagonal_only_what_is_needed_is_counted():
    w = Workload("", "", "bii->bi", ((2, 5, 5),))
    assert w.flops("both") == 0
    assert w.compulsory_bytes("forward") == 4 * (10 + 10)
    assert w.compulsory_bytes("backward") == 4 * (10 + 50)


def test_complex_products_count_four_times():
    real, complex_ = (Workload("", "", "i,i->", ((8,), (8,)), d) for d in ("float32", "complex64"))
    assert complex_.flops("forward") == 4 * real.flops("forward")


def test_ellipses_and_broadcasting():
    w = Workload("", "", "...k,kn->...n", ((2, 1, 3), (3, 4)))
    assert w.output_shape == (2, 1, 4)
    assert Workload("", "", "ij,ij->ij", ((1, 3), (2, 3))).output_shape == (2, 3)


def test_inputs_are_random_and_come_back():
    w = load_workloads(["tiny_matmul"])[0]
    (a, b), g = w.make_inputs(1)
    again, _ = w.make_inputs(1)
    other, _ = w.make_inputs(2)
    assert np.count_nonzero(a) == a.size and np.count_nonzero(b) == b.size
    assert a.dtype == np.float32 and g.shape == w.output_shape
    assert np.array_equal(a, again[0]) and not np.array_equal(a, other[0])


def test_results_stay_near_one_however_long_the_chain():
    from tf_einsum_grad.benchmark.growth import chain_equation

    w = Workload("", "", str(chain_equation(32)), ((64, 64),) * 32)
    operands, _ = w.make_inputs()
    assert 0.1 < np.std(np.linalg.multi_dot(operands)) < 10


def test_picks_by_name_and_category():
    assert {w.category for w in load_workloads(["chain"])} == {"chain"}
    assert [w.name for w in load_workloads(["outer"]) if w.name == "outer"] == ["outer"]
    assert load_workloads(["matvec"], "float64")[0].dtype == "float64"
    with pytest.raises(ValueError, match="unknown workload or category 'nothing'"):
        load_workloads(["nothing"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ij,jk->ik", ((2, 3), (3, 4)), "int32"), "dtype with gradients"),
        (("ij,jk->ik", ((2, 3),)), "requires 2 shapes"),
        (("ij,jk->ik", ((2, 3), (4, 5))), "one size for label 'j'"),
        (("ij->", ((2, 0),)), "sizes from 1 on"),
        (("i1->i", ((2, 3),)), "letters"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises((ValueError, EinsumError), match=message):
        Workload("", "", *arguments)


def test_the_command_line_and_reports_need_no_tensorflow():
    code = (
        "import sys; import tf_einsum_grad.cli.main, tf_einsum_grad.benchmark.report; "
        "import tf_einsum_grad.benchmark.regression, tf_einsum_grad.benchmark.page; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
