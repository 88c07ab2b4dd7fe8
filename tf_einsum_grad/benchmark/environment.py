"""The machine that is measured on."""

from __future__ import annotations

import datetime
import os
import platform

import numpy as np
import tensorflow as tf

from tf_einsum_grad._version import __version__
from tf_einsum_grad.benchmark.results import Environment
from tf_einsum_grad.execution.here import count_threads, processor

__all__ = ["describe_environment"]


def describe_environment() -> Environment:
    """Describes this machine, and the versions of what is measured."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    now = datetime.datetime.now(datetime.timezone.utc)
    return Environment(
        now.strftime("%Y-%m-%d %H:%M UTC"),
        processor(),
        ", ".join(d.get("device_name", "GPU") for d in details) or _cpu(),
        count_threads(),
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
