"""`compare` and `run_suite`: check, then measure."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

import tf_einsum_grad
from tf_einsum_grad.benchmark.checks import ResultMismatch, check_results
from tf_einsum_grad.benchmark.limits import MachineLimit, measure_limit
from tf_einsum_grad.benchmark.report import (
    Comparison,
    Environment,
    Failure,
    Limit,
    Measurement,
    Report,
)
from tf_einsum_grad.benchmark.statistics import paired_ratio, summarise
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.variants import MODES, VARIANTS, build_passes, make_tensors
from tf_einsum_grad.benchmark.workloads import PASSES, Workload, load_workloads

__all__ = ["ResultMismatch", "compare", "run_suite"]

Progress = Callable[[str, int, int], None]


def compare(
    equation: str,
    *shapes: Sequence[int],
    dtype: str = "float32",
    modes: Sequence[str] = MODES,
    passes: Sequence[str] = PASSES,
    quick: bool = False,
    effort: Effort | None = None,
) -> Report:
    """Measures one einsum."""
    workload = Workload("einsum", "yours", equation, tuple(map(tuple, shapes)), dtype)
    report = _run([workload], modes, passes, effort or _effort(quick))
    if report.failures:
        raise ResultMismatch(report.failures[0].message)
    return report


def run_suite(
    workloads: Sequence[Workload] = (),
    *,
    modes: Sequence[str] = MODES,
    passes: Sequence[str] = PASSES,
    quick: bool = False,
    effort: Effort | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measures many einsums, by default those that the package ships."""
    return _run(workloads or load_workloads(), modes, passes, effort or _effort(quick), progress)


def _effort(quick: bool) -> Effort:
    return Effort.quick() if quick else Effort()


def _run(
    workloads: Sequence[Workload],
    modes: Sequence[str],
    passes: Sequence[str],
    effort: Effort,
    progress: Progress | None = None,
) -> Report:
    limits = {d: measure_limit(d, effort) for d in dict.fromkeys(w.dtype for w in workloads)}
    comparisons, failures = [], []
    for done, workload in enumerate(workloads):
        if progress:
            progress(workload.name, done, len(workloads))
        try:
            comparisons.append(_measure(workload, limits[workload.dtype], modes, passes, effort))
        except (ResultMismatch, tf.errors.OpError, ValueError) as error:
            failures.append(Failure(workload.name, str(error)))
    rates = tuple(Limit(x.dtype, x.flops_per_second, x.bytes_per_second) for x in limits.values())
    return Report(environment(), rates, tuple(comparisons), tuple(failures))


def _measure(
    workload: Workload,
    limit: MachineLimit,
    modes: Sequence[str],
    passes: Sequence[str],
    effort: Effort,
) -> Comparison:
    operands, cotangent = make_tensors(workload)
    reference = None
    measurements = []
    for mode in modes:
        built = {
            who: build_passes(variant, workload.equation, mode, operands, cotangent)
            for who, variant in VARIANTS.items()
        }
        if reference is None:
            reference = _values(built["native"]["both"]()())
        check_results(
            workload, f"ours in {mode} mode", _values(built["ours"]["both"]()()), reference
        )
        for which in passes:
            pair = {who: passes_of[which] for who, passes_of in built.items()}
            measurements.append(_measurement(workload, limit, mode, which, pair, effort))
    return Comparison(
        workload.name,
        workload.category,
        workload.equation,
        workload.shapes,
        workload.dtype,
        limit.bound_by(workload),
        tuple(measurements),
    )


def _measurement(
    workload: Workload,
    limit: MachineLimit,
    mode: str,
    which: str,
    pair: Mapping[str, Callable],
    effort: Effort,
) -> Measurement:
    samples = interleave(pair, effort)
    return Measurement(
        mode,
        which,
        summarise(samples["ours"]),
        summarise(samples["native"]),
        paired_ratio(samples["native"], samples["ours"]),
        limit.seconds(workload, which),
    )


def _values(tensors: Sequence[tf.Tensor]) -> list[np.ndarray]:
    """Tensors as arrays, half-precision ones widened."""
    return [
        (tf.cast(x, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x).numpy()
        for x in tensors
    ]


def environment() -> Environment:
    """This machine, and the versions of what is measured."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    threads = tf.config.threading.get_intra_op_parallelism_threads() or _cores()
    return Environment(
        datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        _processor(),
        ", ".join(d.get("device_name", "GPU") for d in details) or "CPU",
        threads,
        (
            ("tf_einsum_grad", tf_einsum_grad.__version__),
            ("tensorflow", tf.__version__),
            ("numpy", np.__version__),
            ("python", platform.python_version()),
        ),
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
