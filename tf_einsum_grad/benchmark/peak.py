"""Peak memory of a call: as the device's allocator counts it, or by the pages of the process.

TensorFlow's plain allocator on CPU keeps no count, but gives pages back to the system, so that the
process shows what is alive. The others (on GPU, with oneDNN, with TF_CPU_ALLOCATOR_USE_BFC) keep
the pages of what is long gone, so that the process shows nothing, but count what is alive.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

__all__ = ["peak_bytes"]

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_CALLS = 3


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """Peak bytes of a call, above what is alive before it.

    The first calls trace, compile and load kernels; the peak is the highest of those after them,
    each by itself. Where the allocator does not count and the system cannot reset a process's peak
    (it can on Linux), it is that of all calls.

    Args:
        call: what it returns is dropped.
        device: where it allocates, as in "CPU:0".
    """
    before = _highest_since_start()
    call()
    call()
    if _is_counted(device):
        return max(_counted_peak(call, device) for _ in range(_CALLS))
    if os.access(_CLEAR_REFS, os.W_OK):
        return max(_resident_peak(call) for _ in range(_CALLS))
    return max(0, _highest_since_start() - before)


def _is_counted(device: str) -> bool:
    try:
        tf.config.experimental.get_memory_info(device)
    except ValueError:
        return False
    return True


def _counted_peak(call: Callable[[], object], device: str) -> int:
    gc.collect()
    baseline = tf.config.experimental.get_memory_info(device)["current"]
    tf.config.experimental.reset_memory_stats(device)
    call()
    return int(tf.config.experimental.get_memory_info(device)["peak"] - baseline)


def _resident_peak(call: Callable[[], object]) -> int:
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


def _highest_since_start() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
