"""Peak memory of each variant: a process each on CPU, the allocator's own figures on GPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from tf_einsum_grad.benchmark.results import Memory
from tf_einsum_grad.benchmark.variants import VARIANTS, Variant, build_passes, make_tensors
from tf_einsum_grad.benchmark.workers import Worker
from tf_einsum_grad.benchmark.workloads import Mode, Workload

__all__ = ["PLAIN_ALLOCATOR", "measure_memory", "measure_peak", "start_memory_worker"]


# The allocator whose memory shows in the pages of a process, since it gives back what is freed.
# oneDNN's and the BFC one keep pages, so that a process shows nothing of what they hand out again.
PLAIN_ALLOCATOR = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPU_ALLOCATOR_USE_BFC": "0"}


def start_memory_worker() -> Worker:
    """Starts the process that `measure_memory` asks on CPU, with TensorFlow's plain allocator."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, **PLAIN_ALLOCATOR, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return Worker([sys.executable, "-m", "tf_einsum_grad.benchmark.memory_worker"], env)


def measure_memory(workload: Workload, modes: Sequence[Mode], worker: Worker) -> tuple[Memory, ...]:
    """Measures the peak of each variant in each mode, forward and backward.

    Raises:
        WorkerError: a process was ended, by the system for want of memory, say.
    """
    needed = 2 * (workload.input_bytes + workload.output_bytes)
    measure = partial(measure_peak, workload, worker=worker)
    return tuple(
        Memory(mode, measure(mode, "ours"), measure(mode, "native"), needed) for mode in modes
    )


def measure_peak(workload: Workload, mode: Mode, who: Variant, worker: Worker) -> int:
    """Measures the peak of one variant in one mode, forward and backward, in bytes.

    Raises:
        WorkerError: as `measure_memory` does.
    """
    held = workload.input_bytes + workload.output_bytes
    if tf.config.list_logical_devices("GPU"):
        return held + _peak_on_gpu(workload, mode, who)
    job = {"equation": workload.equation, "shapes": workload.shapes, "dtype": workload.dtype}
    return held + int(worker.ask({**job, "mode": mode, "who": who})["bytes"])


def _peak_on_gpu(workload: Workload, mode: Mode, who: Variant) -> int:
    operands, cotangent = make_tensors(workload)
    call = build_passes(VARIANTS[who], workload.equation, mode, operands, cotangent)["both"]()
    call()
    before = tf.config.experimental.get_memory_info("GPU:0")["current"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    call()
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"] - before)
