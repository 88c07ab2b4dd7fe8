"""Which machine a call runs on: what decisions are priced for, and part of their key.

A fact that is looked up. Whether oneDNN's kernels are on, TensorFlow says. Whether a GPU runs an
einsum is the device of its operands in eager mode; in a graph the device scope, and where there is
none, whether a GPU is visible, which is where TensorFlow then places it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import tensorflow as tf

from tf_einsum_grad.execution import private
from tf_einsum_grad.lowering.machine import CPU, Machine, Target
from tf_einsum_grad.lowering.machines import CPU_ONEDNN, GPU, ask, chosen

__all__ = ["machine_of"]


def machine_of(operands: Sequence[tf.Tensor], target: Target) -> Machine:
    """The machine that runs an einsum of these operands.

    On the path of every eager call, so it is written for speed.
    """
    machine = chosen()
    if machine is not None:
        return machine
    if target != "eager":
        return _in_graph(private.device_scope())
    if _has_gpu() and any("GPU" in x.device for x in operands):
        return GPU
    return _cpu()


def _in_graph(device: str) -> Machine:
    if "GPU" in device or ("CPU" not in device and tf.config.get_visible_devices("GPU")):
        return GPU
    return _cpu()


@lru_cache(maxsize=1)
def _has_gpu() -> bool:
    """Asked where tensors are there already, so that the devices are settled."""
    return bool(tf.config.list_logical_devices("GPU"))


@lru_cache(maxsize=1)
def _cpu() -> Machine:
    return CPU_ONEDNN if private.onednn_is_on() else CPU


ask(lambda: machine_of((), "graph"))
