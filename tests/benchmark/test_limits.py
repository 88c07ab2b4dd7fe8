import pytest

from tests.benchmark.conftest import FAST
from tf_einsum_grad.benchmark.growth import measure_growth
from tf_einsum_grad.benchmark.limits import measure_limit
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_measured_rates_are_plausible(dtype):
    limit = measure_limit(dtype, FAST, sides=(64,), lengths=(1 << 16,))
    assert 1e6 < limit.flops_per_second < 1e15
    assert 1e6 < limit.bytes_per_second < 1e14


def test_growth_curves():
    chain, batch, planning = measure_growth(FAST, (2, 60), (1, 2), (5, 20), side=4)
    lines = {line.name: dict(line.points) for line in chain.lines}
    assert set(lines["ours, forward"]) == {2, 60} == set(lines["ours, both"])
    assert set(lines["native, both"]) == {2}, "native einsum has no labels for 60 operands"
    assert {line.name for line in batch.lines} == {"ours, both", "native, both"}
    assert [n for n, _ in planning.lines[0].points] == [5, 20]
    assert all(s > 0 for c in (chain, batch, planning) for x in c.lines for _, s in x.points)
