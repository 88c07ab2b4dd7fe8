"""Peak memory of a step: in a process of its own on CPU, the allocator's own figures on GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_einsum_grad.benchmark.memory import PLAIN_ALLOCATOR
from tf_einsum_grad.profiling.steps import Traced

__all__ = ["MemoryUnknown", "measure_peak"]

_TIMEOUT = 600.0  # seconds


class MemoryUnknown(RuntimeError):
    """A step cannot be saved for a process of its own, or does not run there."""


def measure_peak(step: Traced) -> int:
    """Measures the peak of a step beyond what its variables and inputs take, in bytes.

    On CPU the step is saved and runs in another process, with TensorFlow's plain allocator: the one
    of oneDNN keeps pages, so that this process shows nothing of what it hands out again.

    Raises:
        MemoryUnknown: see there.
    """
    if tf.config.list_logical_devices("GPU"):
        step()
        before = tf.config.experimental.get_memory_info("GPU:0")["current"]
        tf.config.experimental.reset_memory_stats("GPU:0")
        step()
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"] - before)
    with tempfile.TemporaryDirectory() as folder:
        _save(step, Path(folder))
        package = Path(__file__).parents[2]
        path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, **PLAIN_ALLOCATOR, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "tf_einsum_grad.profiling.memory_worker", folder]
        try:
            run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise MemoryUnknown(f"no answer within {_TIMEOUT:.0f} s") from error
    if run.returncode:
        last = run.stderr.strip().splitlines()[-1:] or [f"status {run.returncode}"]
        raise MemoryUnknown(last[0])
    return int(run.stdout.split()[-1])


def _save(step: Traced, folder: Path) -> None:
    module: Any = tf.Module()
    module.step, module.kept = step.function, list(step.function.graph.variables)
    module.leaves = [tf.Variable(x, trainable=False) for x in step.leaves]
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # that it wrote, and what it thinks of functions without names
    try:
        tf.saved_model.save(module, str(folder / "step"))
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise MemoryUnknown(str(error).splitlines()[0]) from error
    finally:
        logger.setLevel(level)
