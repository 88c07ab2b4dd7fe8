"""Other libraries on the same inputs, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_einsum_grad.benchmark.checks import check_results
from tf_einsum_grad.benchmark.results import Peer
from tf_einsum_grad.benchmark.statistics import summarize
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.variants import Preparation
from tf_einsum_grad.benchmark.workers import Worker
from tf_einsum_grad.benchmark.workloads import PEERS, PeerName, Workload

__all__ = ["find_peers", "race", "start_peer"]

_ROUNDS = 3


def find_peers(python: str | None = None) -> tuple[PeerName, ...]:
    """Which peers a Python has installed.

    Args:
        python: its path; by default `TF_EINSUM_GRAD_PEER_PYTHON`, else the one that runs.

    Raises:
        ValueError: it does not run.
    """
    python = _python(python)
    code = "import sys, importlib.util as u; print(*[p for p in sys.argv[1:] if u.find_spec(p)])"
    try:
        found = subprocess.run([python, "-c", code, *PEERS], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"the peers' Python {python!r} does not run: {error}") from error
    present = found.stdout.decode().split()
    return tuple(name for name in PEERS if name in present)


def _python(python: str | None) -> str:
    return python or os.environ.get("TF_EINSUM_GRAD_PEER_PYTHON") or sys.executable


def start_peer(name: PeerName, threads: int, python: str | None = None) -> tuple[Worker, str]:
    """The process of a peer, limited to `threads` threads, and the peer's version.

    Raises:
        WorkerError: it does not start.
    """
    # NPROC is what XLA's CPU client reads; the others are OpenMP's and MKL's.
    limits = dict.fromkeys(("NPROC", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    script = str(Path(__file__).with_name("peer_worker.py"))
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    worker = Worker([_python(python), script, name, str(threads)], {**env, **limits})
    return worker, worker.read()["version"]


def race(
    workload: Workload,
    name: PeerName,
    worker: Worker,
    reference: Sequence[np.ndarray],
    ours: Preparation,
    effort: Effort,
    seed: int = 0,
) -> Peer:
    """Ours and a peer in turn, forward and backward, in several rounds; results are checked before.

    Args:
        workload: what to run.
        name: the peer's.
        worker: its process.
        reference: the result and the gradients.
        ours: both passes.
        effort: how long to measure each.
        seed: of the inputs.

    Raises:
        ResultMismatch: the peer computes something else.
        WorkerError: the peer cannot run the workload.
    """
    operands, cotangent = workload.make_inputs(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "inputs.npz"))
        np.savez(path, *operands, cotangent)
        request = {"load": path, "equation": workload.equation, "dtype": workload.dtype}
        with np.load(worker.ask(request)["values"]) as file:
            check_results(workload, name, [file[key] for key in file.files], reference)
    share = Effort(-(-effort.repeats // _ROUNDS), effort.seconds / _ROUNDS, effort.most)
    theirs: list[float] = []
    own: list[float] = []
    for _ in range(_ROUNDS):
        theirs += worker.ask({"repeats": share.repeats, "seconds": share.seconds})["samples"]
        # Idle threads of the peer's spin for a while before they sleep.
        time.sleep(0.05)
        own += interleave({"ours": ours}, share)["ours"]
    return Peer(name, summarize(theirs), summarize(own))
