"""What is timed: a forward pass, a backward pass and both, in eager, graph and XLA mode.

Every pass is a *preparation*: a callable that does what is not timed and returns the callable that
is. Only the eager backward pass has something to prepare, the tape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import tensorflow as tf

from tf_einsum_grad.benchmark.workloads import Mode, Pass, Workload
from tf_einsum_grad.ops import einsum

__all__ = [
    "VARIANTS",
    "Preparation",
    "Variant",
    "as_arrays",
    "build_passes",
    "build_variants",
    "make_tensors",
    "native_einsum",
    "native_values",
]

Variant = Literal["ours", "native"]
Call = Callable[[], Any]
Preparation = Callable[[], Call]
EinsumFunction = Callable[..., tf.Tensor]


def native_einsum() -> EinsumFunction:
    """TensorFlow's own einsum, also where somebody has put another in the place of `tf.einsum`.

    Raises:
        RuntimeError: every public name of it has been replaced.
    """
    for candidate in (tf.einsum, tf.linalg.einsum, tf.compat.v2.einsum, tf.compat.v1.einsum):
        if candidate.__module__.split(".")[0] == "tensorflow":
            return candidate  # type: ignore[no-any-return]
    raise RuntimeError(
        "the benchmark requires TensorFlow's own einsum, but tf.einsum has been replaced by "
        f"{tf.einsum.__module__}.{tf.einsum.__qualname__}; import tf_einsum_grad.benchmark first, "
        "or undo the replacement"
    )


# Taken when this module is imported, and never looked up again.
VARIANTS: Mapping[Variant, EinsumFunction] = {"ours": einsum, "native": native_einsum()}


def make_tensors(workload: Workload, seed: int = 0) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The operands and the incoming gradient as tensors of the workload's dtype."""
    operands, cotangent = workload.make_inputs(seed)
    return [_tensor(x, workload.dtype) for x in operands], _tensor(cotangent, workload.dtype)


def _tensor(x: np.ndarray, dtype: str) -> tf.Tensor:
    # tf.constant can share the array's memory; a copy is aligned as TensorFlow's own tensors are.
    copy: tf.Tensor = tf.identity(tf.cast(tf.constant(x), dtype))
    return copy


def build_passes(
    variant: EinsumFunction,
    equation: str,
    mode: Mode,
    operands: Sequence[tf.Tensor],
    cotangent: tf.Tensor,
) -> dict[Pass, Preparation]:
    """The three passes of one einsum as preparations.

    In graph and XLA mode the backward pass is a function that returns the gradients alone: what
    they need of the forward pass (intermediates of three or more operands) is computed in it, the
    rest is not. In eager mode it is the tape's gradient, the forward pass done before.

    Args:
        variant: called as `variant(equation, *operands)`.
        equation: as `tf.einsum` takes it.
        mode: how it runs.
        operands: what it is called with.
        cotangent: the incoming gradient, of the result's shape.

    Returns:
        `forward` returns the result, `backward` the gradients, `both` the result and then the
        gradients.
    """
    operands = tuple(operands)

    def forward(*operands: tf.Tensor) -> tf.Tensor:
        return variant(equation, *operands)

    def backward(cotangent: tf.Tensor, *operands: tf.Tensor) -> list[tf.Tensor]:
        return _vjp(forward, operands)[1](cotangent)

    def both(cotangent: tf.Tensor, *operands: tf.Tensor) -> list[tf.Tensor]:
        result, pull = _vjp(forward, operands)
        return [result, *pull(cotangent)]

    if mode == "eager":
        return {
            "forward": lambda: lambda: forward(*operands),
            "backward": lambda: partial(_vjp(forward, operands)[1], cotangent),
            "both": lambda: lambda: both(cotangent, *operands),
        }
    # There is no control flow for AutoGraph to convert, and looking for it takes long.
    compiled = partial(tf.function, jit_compile=mode == "xla", autograph=False)
    run_forward, run_backward, run_both = map(compiled, (forward, backward, both))
    return {
        "forward": lambda: lambda: run_forward(*operands),
        "backward": lambda: lambda: run_backward(cotangent, *operands),
        "both": lambda: lambda: run_both(cotangent, *operands),
    }


def _vjp(
    function: Callable[..., tf.Tensor], operands: tuple[tf.Tensor, ...]
) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
    """The result, and what gives the gradients for an incoming one."""
    with tf.GradientTape() as tape:
        tape.watch(operands)
        result = function(*operands)
    # None of the gradients is sparse: no operand is gathered from.
    return result, lambda g: cast(list[tf.Tensor], tape.gradient(result, operands, [g]))


def build_variants(
    equation: str, mode: Mode, operands: Sequence[tf.Tensor], cotangent: tf.Tensor
) -> dict[Variant, dict[Pass, Preparation]]:
    """What `build_passes` gives, of each variant."""
    return {
        who: build_passes(variant, equation, mode, operands, cotangent)
        for who, variant in VARIANTS.items()
    }


def native_values(
    equation: str, operands: Sequence[tf.Tensor], cotangent: tf.Tensor
) -> list[np.ndarray]:
    """TensorFlow's result and gradients; in float32 for half precision, which it sums badly.

    Raises:
        OpError, ValueError: it does not take the equation, or cannot differentiate it.
    """
    operands, cotangent = [_widened(x) for x in operands], _widened(cotangent)
    native = build_passes(VARIANTS["native"], equation, "graph", operands, cotangent)
    return as_arrays(native["both"]()())


def as_arrays(tensors: Sequence[tf.Tensor]) -> list[np.ndarray]:
    """Tensors as arrays, half-precision ones widened to float32."""
    return [_widened(x).numpy() for x in tensors]


def _widened(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x
