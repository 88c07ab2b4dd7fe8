import os
import sys
import textwrap

import numpy as np
import pytest

from tests.benchmark.conftest import FAST
from tf_einsum_grad.benchmark import ResultMismatch, Workload
from tf_einsum_grad.benchmark.peer_worker import sample
from tf_einsum_grad.benchmark.peers import find_peers, race, start_peer
from tf_einsum_grad.benchmark.workers import Worker

MATMUL = Workload("", "", "ij,jk->ik", ((4, 5), (5, 3)))

# A library that speaks the peers' protocol, and multiplies matrices.
FAKE = textwrap.dedent(
    """
    import json, sys
    import numpy as np
    for line in sys.stdin:
        request = json.loads(line)
        if "load" in request:
            a, b, g = np.load(request["load"]).values()
            path = request["load"] + ".out.npz"
            np.savez(path, a @ b, g @ b.T, a.T @ g * float(sys.argv[1]))
            print(json.dumps({"values": path}), flush=True)
        else:
            print(json.dumps({"samples": [1.0] * request["repeats"]}), flush=True)
    """
)


def _race(factor):
    (a, b), g = MATMUL.make_inputs()
    reference = [a @ b, g @ b.T, a.T @ g]
    with Worker([sys.executable, "-c", FAKE, str(factor)], os.environ) as worker:
        return race(MATMUL, "fake", worker, reference, lambda: lambda: None, FAST)


def test_a_peer_is_raced_on_the_same_inputs():
    peer = _race(1.0)
    assert peer.name == "fake" and peer.timing.median == 1.0 and peer.timing.repeats == 3
    assert peer.ratio == 1.0 / peer.ours.median > 1


def test_a_peer_with_other_results_is_refused():
    with pytest.raises(ResultMismatch, match=r"fake computed .* gradient of operand 1"):
        _race(1.001)


def test_finding_peers_needs_a_python_that_runs():
    assert set(find_peers(sys.executable)) <= {"torch", "jax"}
    with pytest.raises(ValueError, match="does not run"):
        find_peers("/no/such/python")


def test_samples_are_times_of_calls():
    calls = []
    times = sample(lambda: calls.append(1) or [], repeats=3, seconds=0.0)
    assert len(times) == 3 and all(0 < t < 0.1 for t in times) and len(calls) > 3


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bfloat16"])
def test_real_peers_agree(name, dtype):
    if name not in find_peers():
        pytest.skip(f"{name} is not installed")
    w = Workload("", "", "bij,bjk->ik", ((2, 4, 5), (2, 5, 3)), dtype)
    (a, b), g = w.make_inputs()
    a, b = (np.asarray(x, dtype if dtype != "bfloat16" else "float32") for x in (a, b))
    reference = [
        np.einsum("bij,bjk->ik", a, b),
        np.einsum("ik,bjk->bij", g, b.conj()),
        np.einsum("bij,ik->bjk", a.conj(), g),
    ]
    worker, version = start_peer(name, 1)
    with worker:
        assert version
        assert race(w, name, worker, reference, lambda: lambda: None, FAST).timing.median > 0
