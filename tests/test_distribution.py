"""TensorFlow's own engines carry the op: strategies on devices, two real processes, DTensor."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = str(Path(__file__).parents[1])
LIMIT_S = 150


def _start(mode, out, **environment):
    path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path, **environment}
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # _finish closes it
    process = subprocess.Popen(
        # As a module: a script would find tests/keras where it imports keras.
        [sys.executable, "-m", "tests.distribution_program", mode, str(out)],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return process, log


def _finish(started):
    """Waits for all within the limit, and ends those that are left, with their children."""
    deadline = time.monotonic() + LIMIT_S
    try:
        for process, log in started:
            code = process.wait(timeout=max(0.1, deadline - time.monotonic()))
            log.seek(0)
            assert code == 0, log.read()[-3000:]
    finally:
        for process, log in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.close()
    for process, _ in started:
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    out = tmp_path_factory.mktemp("devices") / "out"
    _finish([_start("mirrored", out), _start("dtensor", out)])
    weights = np.load(f"{out}.npz")
    return {k: weights[k] for k in weights}, json.loads(Path(f"{out}.json").read_text())


@pytest.mark.parametrize("run", ["", "fit_"])
def test_mirrored_strategy_trains_the_same_weights(devices, run):
    weights, _ = devices
    names = sorted(k for k in weights if k.startswith(f"{run}single"))
    assert len(names) == (4 if run else 2)
    for name in names:
        mirrored = weights[name.replace("single", "mirrored")]
        np.testing.assert_allclose(mirrored, weights[name], rtol=1e-5, atol=1e-6)


def test_dtensor_values_and_layouts(devices):
    _, cases = devices
    assert len(cases) == 10
    for case in cases:
        assert case["error"] < 1e-5, case
        assert case["found"] == case["wanted"], case["equation"]


def _free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def test_two_processes_train_the_same_weights(devices, tmp_path):
    workers = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    started = []
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        started.append(_start("worker", tmp_path / "weights", TF_CONFIG=json.dumps(config)))
    _finish(started)
    single, _ = devices
    for index in range(2):
        trained = np.load(f"{tmp_path}/weights_{index}.npz")
        assert trained["replicas"] == 2
        for n in range(2):
            np.testing.assert_allclose(
                trained[f"arr_{n}"], single[f"single_{n}"], rtol=1e-5, atol=1e-6
            )
