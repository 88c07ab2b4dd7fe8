"""A process that measures peak memory, in a fork of itself for each job.

It imports TensorFlow once and calls nothing of it, so that none of its threads run and a fork is a
fresh process that need not import it again; what calls TensorFlow, the forks import. Reads a job a
line from stdin, and writes its result, or an error, to stdout.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
from pathlib import Path

import tensorflow  # noqa: F401

from tf_einsum_grad.benchmark.workloads import Workload

__all__ = ["peak_bytes"]

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def peak_bytes(workload: Workload, mode: str, who: str) -> int:
    """Peak bytes of both passes, above what the process held with its inputs made.

    The first calls trace, compile and load kernels; the peak is taken of those after them. Where
    the system cannot reset a process's peak (it can on Linux), it is that of all calls.
    """
    from tf_einsum_grad.benchmark.variants import VARIANTS, build_passes, make_tensors

    operands, cotangent = make_tensors(workload)
    call = build_passes(VARIANTS[who], workload.equation, mode, operands, cotangent)["both"]()
    resettable = _CLEAR_REFS.exists() and os.access(_CLEAR_REFS, os.W_OK)
    if resettable:
        call()
        call()
        gc.collect()
        # What was freed but not given back would be reused, and not be seen in the peak.
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR_REFS.write_text("5")
    baseline = _status_bytes("VmRSS") if resettable else _ru_maxrss()
    for _ in range(3):
        call()
    peak = _status_bytes("VmHWM") if resettable else _ru_maxrss()
    return max(0, peak - baseline)


def _status_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"{_STATUS} has no {field}")


def _ru_maxrss() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Serves jobs until stdin ends."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            job = json.loads(line)
            shapes = tuple(map(tuple, job["shapes"]))
            workload = Workload("", "", job["equation"], shapes, job["dtype"])
            print(json.dumps({"bytes": peak_bytes(workload, job["mode"], job["who"])}), flush=True)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            print(json.dumps({"error": f"the process ended with status {status}"}), flush=True)


if __name__ == "__main__":
    main()
