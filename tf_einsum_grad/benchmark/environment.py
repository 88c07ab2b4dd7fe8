"""The machine that is measured on."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_einsum_grad._version import __version__
from tf_einsum_grad.benchmark.results import Environment

__all__ = ["describe_environment"]


def describe_environment() -> Environment:
    """Describes this machine, and the versions of what is measured."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    threads = tf.config.threading.get_intra_op_parallelism_threads() or _cores()
    now = datetime.datetime.now(datetime.timezone.utc)
    return Environment(
        now.strftime("%Y-%m-%d %H:%M UTC"),
        _processor(),
        ", ".join(d.get("device_name", "GPU") for d in details) or _cpu(),
        threads,
        (
            ("tf_einsum_grad", __version__),
            ("tensorflow", tf.__version__),
            ("numpy", np.__version__),
            ("python", platform.python_version()),
        ),
    )


# What decides what large tensors and batches of matmuls cost (docs/performance.md).
_SETTINGS = ("TF_ENABLE_ONEDNN_OPTS", "TF_CPU_ALLOCATOR_USE_BFC")


def _cpu() -> str:
    found = [f"{name}={os.environ[name]}" for name in _SETTINGS if os.environ.get(name)]
    return ", ".join(["CPU", *found])


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text("utf-8") if cpuinfo.exists() else ""
    named = re.search(r"^model name\s*:(.*)", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()
