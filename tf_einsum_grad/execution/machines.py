"""Which machine a call runs on: what decisions are priced for, and part of their key.

A fact that is looked up. Whether oneDNN's kernels are on, TensorFlow says. Whether a GPU runs an
einsum is the device of its operands in eager mode; in a graph the device scope, and where there is
none, whether a GPU is visible, which is where TensorFlow then places it. A user may say otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import tensorflow as tf

from tf_einsum_grad.algebra.errors import MachineError
from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.here import circumstances
from tf_einsum_grad.lowering.machine import CPU, Machine, Target
from tf_einsum_grad.lowering.machine_file import read_machine
from tf_einsum_grad.lowering.machines import CPU_ONEDNN, GPU, MACHINES, ask, chosen, using

__all__ = ["current_target", "find_machine", "machine", "machine_of"]

VARIABLE = "TF_EINSUM_GRAD_MACHINE"


@contextmanager
def machine(name_or_path: str | os.PathLike[str]) -> Iterator[Machine]:
    """Decides for a machine, whatever runs, in this thread until the context is left.

    It changes which kernels run, and so the speed; never a result beyond rounding. What was traced
    before stays as it is. `TF_EINSUM_GRAD_MACHINE=file.json python train.py` does it for all of a
    program.

    Args:
        name_or_path: a machine that comes with the package, "cpu", "cpu-onednn" or "gpu"; or a
            file that `tune` wrote on this machine.

    Raises:
        MachineError: there is no such machine; or the file cannot be read, or was made elsewhere
            or with other versions.

    Example:
        >>> from tf_einsum_grad.ops import einsum
        >>> with machine("cpu"):
        ...     print(einsum("ij,jk->ik", [[1.0, 2.0]], [[3.0], [4.0]]).numpy())
        [[11.]]
    """
    with using(find_machine(name_or_path)) as found:
        yield found


def find_machine(name_or_path: str | os.PathLike[str]) -> Machine:
    """The machine of that name, or of that file, if it holds here.

    Raises:
        MachineError: as `machine` does.
    """
    if isinstance(name_or_path, str) and name_or_path in MACHINES:
        return MACHINES[name_or_path]
    source = os.fspath(name_or_path)
    try:
        text = Path(source).read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MachineError(
            f"requires a machine among {', '.join(MACHINES)}, or a file that `tune` wrote, got "
            f"{source!r}: {reason}"
        ) from error
    found, made = read_machine(text, source)
    differences = made.differences(circumstances())
    if differences:
        raise MachineError(
            f"machine file {source!r} requires the machine that it was made on, got another: "
            f"{'; '.join(differences)}; `tf-einsum-grad tune` makes one for this"
        )
    return found


def current_target() -> Target:
    """Where what is called now runs: at once, in the graph being traced, or as XLA compiles it."""
    if tf.executing_eagerly():
        return "eager"
    return "xla" if private.in_xla_context() else "graph"


def machine_of(operands: Sequence[tf.Tensor], target: Target) -> Machine:
    """The machine that runs an einsum of these operands.

    On the path of every eager call, so it is written for speed.
    """
    machine = chosen() or _from_environment()
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
def _from_environment() -> Machine | None:
    asked = os.environ.get(VARIABLE)
    return find_machine(asked) if asked else None


@lru_cache(maxsize=1)
def _has_gpu() -> bool:
    """Asked where tensors are there already, so that the devices are settled."""
    return bool(tf.config.list_logical_devices("GPU"))


@lru_cache(maxsize=1)
def _cpu() -> Machine:
    return CPU_ONEDNN if private.onednn_is_on() else CPU


ask(lambda: machine_of((), "graph"))
