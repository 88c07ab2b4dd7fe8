import os
import sys

import pytest

from tf_einsum_grad.benchmark.workers import Worker, WorkerError


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
