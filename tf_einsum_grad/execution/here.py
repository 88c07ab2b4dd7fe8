"""What this machine is, as far as measurements hold for one machine and not for another."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path

import tensorflow as tf

from tf_einsum_grad._version import __version__
from tf_einsum_grad.execution import private
from tf_einsum_grad.lowering.machine_file import Circumstances

__all__ = ["circumstances", "count_threads", "processor"]


def circumstances() -> Circumstances:
    """What holds for a measurement that is made here and now."""
    gpus = tf.config.get_visible_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    names = [str(found.get("device_name", "GPU")) for found in details]
    return Circumstances(
        ", ".join(names) or processor(),
        count_threads(),
        private.onednn_is_on(),
        tf.__version__,
        _version("keras"),
        __version__,
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "none"


def count_threads() -> int:
    """The threads that TensorFlow runs a kernel on."""
    threads: int = tf.config.threading.get_intra_op_parallelism_threads()
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """What the CPU calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text("utf-8") if cpuinfo.exists() else ""
    named = re.search(r"^model name\s*:(.*)", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()
