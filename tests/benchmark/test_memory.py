import pytest

from tf_einsum_grad.benchmark.memory import measure_memory, start_memory_worker
from tf_einsum_grad.benchmark.workers import WorkerError
from tf_einsum_grad.benchmark.workloads import Workload

MB = 1 << 20


@pytest.fixture(scope="module", params=["TF_ENABLE_ONEDNN_OPTS", "TF_CPU_ALLOCATOR_USE_BFC"])
def worker(request):
    """Asked for by a process whose own allocator keeps pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(request.param, "1")
        with start_memory_worker() as worker:
            yield worker


def test_the_peak_holds_what_is_needed_and_shows_what_is_not(worker):
    # Native makes a [64, 64, 512, 4] tensor for the second gradient: 32 MB. Ours does not.
    w = Workload("", "", "...k,kn->...n", ((512, 4, 64), (64, 64)))
    (use,) = measure_memory(w, ("graph",), worker)
    assert use.needed == 2 * (w.input_bytes + w.output_bytes)
    assert 0.9 * use.needed < use.ours < use.needed + 8 * MB
    assert use.native > use.ours + 20 * MB


def test_results_of_earlier_calls_neither_count_nor_hide_what_does(worker):
    # A product makes its result and two gradients, and nothing else.
    w = Workload("", "", "bij,bij->bij", ((64, 256, 256), (64, 256, 256)))
    (use,) = measure_memory(w, ("eager",), worker)
    assert 0.95 * use.needed < use.ours < 1.1 * use.needed


@pytest.mark.parametrize("worker", ["TF_ENABLE_ONEDNN_OPTS"], indirect=True)
def test_a_job_that_fails_leaves_the_worker_alive(worker):
    with pytest.raises(WorkerError, match="ended with status"):
        worker.ask({"equation": "ij->", "shapes": [[2]], "dtype": "float32", "mode": "graph"})
    job = {"equation": "i->", "shapes": [[2]], "dtype": "float32", "mode": "eager"}
    assert worker.ask({**job, "who": "ours"})["bytes"] >= 0
