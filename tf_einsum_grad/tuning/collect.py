"""Which contractions a function runs, forward and for each gradient that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from tf_einsum_grad.benchmark.subjects import as_tensors, call, differentiable
from tf_einsum_grad.execution.call import Call
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.lower import candidates
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.lowering.machines import using
from tf_einsum_grad.lowering.watch import watching

__all__ = ["Seen", "collect"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a function runs.

    Attributes:
        contractions: of known sizes, each once, where there is something to choose.
        calls: einsums of known sizes, each once.
    """

    contractions: tuple[Contraction, ...]
    calls: tuple[Call, ...]


def collect(
    function: Callable[..., Any], inputs: Sequence[Any], machine: Machine, mode: Target
) -> Seen:
    """Traces a training step of a function, and sees which contractions it is made of.

    Nothing runs, so that no variable changes, but in eager mode.

    Args:
        function: of the inputs; a Keras model is called with `training=True`.
        inputs: tensors or arrays, or structures of them.
        machine: what decides, and what the contractions found are for.
        mode: how the function runs.

    Raises:
        OperandError: an input is no tensor.
    """
    tensors = as_tensors("tune", inputs)
    own = replace(machine)  # for which nothing was decided yet
    with using(own), watching() as seen:
        if mode == "eager":
            _step(function, tensors)
        else:
            step = tf.function(lambda *x: _step(function, x), jit_compile=mode == "xla")
            step.get_concrete_function(*tensors)
    found = (replace(c, machine=machine) for c in _kept(seen, Contraction) if c.target == mode)
    return Seen(
        tuple(c for c in found if c.signature is not None and len(set(candidates(c))) > 1),
        tuple(call for call in _kept(seen, Call) if _is_known(call)),
    )


def _kept(seen: Iterable[object], kind: type) -> list[Any]:
    return list(dict.fromkeys(thing for thing in seen if isinstance(thing, kind)))


def _is_known(call: Call) -> bool:
    return all(size is not None for shape in call.shapes for size in shape)


def _step(function: Callable[..., Any], inputs: Sequence[tf.Tensor]) -> list[Any]:
    """The gradients of all results: with respect to variables, if there are any, else to inputs."""
    leaves = differentiable(inputs)
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        results = tf.nest.flatten(call(function, inputs))
        sums = [tf.reduce_sum(tf.abs(y)) for y in results if y.dtype.is_floating]
        sums += [tf.reduce_sum(tf.abs(y)) for y in results if y.dtype.is_complex]
        loss = tf.add_n([tf.cast(y, tf.float32) for y in sums]) if sums else tf.constant(0.0)
    sources: list[Any] = list(tape.watched_variables()) or leaves
    gradients: list[Any] = tape.gradient(loss, sources)
    return [x for x in gradients if x is not None]
