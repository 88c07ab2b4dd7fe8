import dataclasses

import pytest

from tf_einsum_grad.benchmark import load_workloads, run_suite
from tf_einsum_grad.benchmark.limits import measure_limit
from tf_einsum_grad.benchmark.results import Curve, Failure, Line, Memory, Peer
from tf_einsum_grad.benchmark.timing import Effort

FAST = Effort(repeats=2, seconds=0.0)


def _small_limit(dtype, effort):
    return measure_limit(dtype, FAST, sides=(64,), lengths=(1 << 16,))


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    monkeypatch.setattr("tf_einsum_grad.benchmark.runner.measure_limit", _small_limit)


@pytest.fixture(scope="session")
def report():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tf_einsum_grad.benchmark.runner.measure_limit", _small_limit)
        return run_suite(load_workloads(["tiny"]), effort=FAST, memory=False)


@pytest.fixture
def full(report):
    """A report with everything that one can hold."""
    first, *rest = report.comparisons
    timing = first.measurements[0].ours
    first = dataclasses.replace(
        first,
        memory=(Memory("graph", 3 << 20, 6 << 20, 2 << 20),),
        peers=(Peer("torch", timing, timing), Peer("jax", timing, timing)),
    )
    points = ((2, 1e-3), (4, 2e-3), (64, 1e-1))
    curves = (Curve("chain <&>", "operands", (Line("ours, forward", points), Line("b", points))),)
    failures = (Failure("bad", "the <result> differs"),)
    return dataclasses.replace(report, comparisons=(first, *rest), curves=curves, failures=failures)
