import dataclasses
import math

import pytest

from tf_einsum_grad.benchmark.results import MachineLimit
from tf_einsum_grad.benchmark.workloads import Workload

MATMUL = Workload("", "", "ij,jk->ik", ((100, 100), (100, 100)))


def test_the_larger_of_arithmetic_and_memory_counts():
    slow_memory = MachineLimit("float32", 1e12, 1e3)
    slow_matmul = MachineLimit("float32", 1e3, 1e12)
    assert slow_memory.seconds(MATMUL, "forward") == pytest.approx(3 * 40_000 / 1e3)
    assert slow_matmul.seconds(MATMUL, "forward") == pytest.approx(2e6 / 1e3)
    assert slow_matmul.seconds(MATMUL, "both") == pytest.approx(6e6 / 1e3)


def test_the_best_of_two_measurements_stands():
    best = MachineLimit("float32", 1.0, 4.0).best(MachineLimit("float32", 2.0, 3.0))
    assert best == MachineLimit("float32", 2.0, 4.0)


def test_a_limit_is_of_one_dtype(report):
    limits = (MachineLimit("float64", 1.0, 1.0), MachineLimit("float32", 1e3, 1e12))
    results = dataclasses.replace(report, limits=limits)
    assert results.limit_seconds(MATMUL, "forward") == pytest.approx(2e6 / 1e3)
    assert results.bound_by(MATMUL) == "matmul"
    assert math.isnan(dataclasses.replace(report, limits=()).limit_seconds(MATMUL))


def test_the_main_mode_is_graph_where_it_was_measured(report):
    assert report.modes == ("eager", "graph", "xla") and report.main_mode == "graph"
    (c, *_) = report.comparisons
    eager = tuple(m for m in c.measurements if m.mode == "eager")
    only = dataclasses.replace(report, comparisons=(dataclasses.replace(c, measurements=eager),))
    assert only.main_mode == "eager"
    assert only.geometric_mean("eager") == pytest.approx(c.find("eager").ratio.value)
    assert math.isnan(only.geometric_mean("xla"))
