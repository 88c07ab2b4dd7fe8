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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow  # noqa: F401

from tf_einsum_grad.benchmark.workloads import Mode, Workload

if TYPE_CHECKING:
    from tf_einsum_grad.benchmark.variants import Variant

__all__ = ["peak_bytes", "peak_of"]

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def peak_bytes(workload: Workload, mode: Mode, who: Variant) -> int:
    """Peak bytes of both passes, above what the process held with its inputs made.

    The first calls trace, compile and load kernels; the peak is the highest of those after them,
    each by itself. Where the system cannot reset a process's peak (it can on Linux), it is that of
    all calls.
    """
    from tf_einsum_grad.benchmark.variants import VARIANTS, build_passes, make_tensors

    operands, cotangent = make_tensors(workload)
    call = build_passes(VARIANTS[who], workload.equation, mode, operands, cotangent)["both"]()
    before = _ru_maxrss()
    for _ in range(2):
        call()
    if os.access(_CLEAR_REFS, os.W_OK):
        return max(peak_of(call) for _ in range(3))
    return max(0, _ru_maxrss() - before)


def peak_of(call: Callable[[], Any]) -> int:
    """The peak of one call, from a heap that holds what is alive and nothing else.

    Freed memory that the process kept would be reused unseen. And glibc often fails to reuse an
    aligned block for one of the same size, so that over several calls the heap grows by results
    that are long gone: two calls of a (64, 256, 256) product seem to need twice what one does.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR_REFS.write_text("5")
    baseline = _status_bytes("VmRSS")
    call()
    return max(0, _status_bytes("VmHWM") - baseline)


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
