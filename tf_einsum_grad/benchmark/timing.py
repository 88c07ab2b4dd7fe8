"""Times several things in turn, so that what slows the machine slows them all."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import tensorflow as tf

from tf_einsum_grad.benchmark.variants import Preparation

__all__ = ["Effort", "interleave", "synchronize"]

_Name = TypeVar("_Name", bound=str)

# A sample lasts at least this long, so that reading the clock does not count; nor, where there is a
# GPU, waiting for it, which takes a quarter of a millisecond.
_SAMPLE_SECONDS, _GPU_SAMPLE_SECONDS = 0.5e-3, 10e-3


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes:
        repeats: samples of each thing at least; 3 do where they take ten times `seconds`.
        seconds: how long to go on after that.
        most: samples at most.
    """

    repeats: int = 7
    seconds: float = 1.0
    most: int = 300

    @classmethod
    def quick(cls) -> Effort:
        """Enough to see what is going on, not enough to decide between close things."""
        return cls(repeats=3, seconds=0.2, most=50)


def synchronize() -> None:
    """Waits for what was sent to an accelerator; on CPU every call is finished when it returns."""
    if _has_gpu():
        tf.test.experimental.sync_devices()


@lru_cache(maxsize=1)
def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


def interleave(passes: Mapping[_Name, Preparation], effort: Effort) -> dict[_Name, list[float]]:
    """Seconds of each call, sample by sample; the i-th samples were taken one after the other.

    Each is called twice before, which traces, compiles and fills caches. Which one goes first
    alternates, so that none always finds the caches as another one left them.
    """
    calls = {name: _calls_per_sample(prepare) for name, prepare in passes.items()}
    samples: dict[_Name, list[float]] = {name: [] for name in passes}
    names = list(passes)
    least = min(effort.repeats, 3)
    start = time.perf_counter()
    with _no_garbage_collection():
        for done in range(effort.most):
            passed = time.perf_counter() - start
            if passed > effort.seconds * (1 if done >= effort.repeats else 10) and done >= least:
                break
            for name in names:
                samples[name].append(_sample(passes[name], calls[name]))
            names.reverse()
    return samples


def _calls_per_sample(prepare: Preparation) -> int:
    _sample(prepare, 1)
    least = _GPU_SAMPLE_SECONDS if _has_gpu() else _SAMPLE_SECONDS
    return max(1, round(least / max(_sample(prepare, 1), 1e-6)))


def _sample(prepare: Preparation, n_calls: int) -> float:
    calls = [prepare() for _ in range(n_calls)]
    synchronize()
    start = time.perf_counter()
    for call in calls:
        call()
    synchronize()
    return (time.perf_counter() - start) / n_calls


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # Without collecting first: that takes a second in a process with large models.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
