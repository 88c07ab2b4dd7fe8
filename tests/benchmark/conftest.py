import pytest

from tf_einsum_grad.benchmark import load_workloads, run_suite
from tf_einsum_grad.benchmark.limits import measure_limit
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
