import os
import sys

import pytest

from tf_einsum_grad.benchmark.memory import measure_memory, start_memory_worker
from tf_einsum_grad.benchmark.workers import Worker, WorkerError
from tf_einsum_grad.benchmark.workloads import Workload

MB = 1 << 20


@pytest.fixture(scope="module")
def worker():
    with start_memory_worker() as worker:
        yield worker


def test_the_peak_holds_what_is_needed_and_shows_what_is_not(worker):
    # Native makes a [64, 64, 512, 4] tensor for the second gradient: 32 MB. Ours does not.
    w = Workload("", "", "...k,kn->...n", ((512, 4, 64), (64, 64)))
    (use,) = measure_memory(w, ("graph",), worker)
    assert use.needed == 2 * (w.input_bytes + w.output_bytes)
    assert 0.9 * use.needed < use.ours < use.needed + 8 * MB
    assert use.native > use.ours + 20 * MB


def test_results_of_earlier_calls_are_not_counted(worker):
    # A product makes its result and two gradients, and nothing else.
    w = Workload("", "", "bij,bij->bij", ((64, 256, 256), (64, 256, 256)))
    (use,) = measure_memory(w, ("eager",), worker)
    assert use.ours < 1.1 * use.needed


def test_a_job_that_fails_leaves_the_worker_alive(worker):
    with pytest.raises(WorkerError, match="ended with status"):
        worker.ask({"equation": "ij->", "shapes": [[2]], "dtype": "float32", "mode": "graph"})
    job = {"equation": "i->", "shapes": [[2]], "dtype": "float32", "mode": "eager"}
    assert worker.ask({**job, "who": "ours"})["bytes"] >= 0


def _worker(code, timeout=60.0):
    return Worker([sys.executable, "-c", code], os.environ, timeout)


def test_a_worker_answers():
    echo = "import json, sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    with _worker(echo) as worker:
        assert worker.ask({"a": [1, 2]}) == {"a": [1, 2]}
        with pytest.raises(WorkerError, match="no such thing"):
            worker.ask({"error": "no such thing"})


def test_a_worker_that_ends_or_hangs_is_an_error():
    with (
        _worker("import sys; sys.stdin.readline(); sys.exit(3)") as worker,
        pytest.raises(WorkerError, match="status 3"),
    ):
        worker.ask({})
    with _worker("import time; time.sleep(60)", 0.2) as worker:
        with pytest.raises(WorkerError, match=r"no answer within 0 s"):
            worker.ask({})
        with pytest.raises(WorkerError):
            worker.ask({})
