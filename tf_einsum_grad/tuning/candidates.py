"""How long each lowering of a contraction takes: all that the lowering room lists, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.variants import Call, Preparation
from tf_einsum_grad.execution import kernels
from tf_einsum_grad.execution.shapes import Sizes
from tf_einsum_grad.lowering.contraction import Contraction, Lowering
from tf_einsum_grad.lowering.lower import candidates

__all__ = ["time_candidates"]

# Of a first look, those that take longer than this many times the fastest are not looked at again.
_HOPELESS = 1.5
_LOOK = Effort(repeats=2, seconds=0.0, most=3)


def time_candidates(
    contraction: Contraction, effort: Effort, chosen: Lowering | None = None
) -> dict[Lowering, Sequence[float]]:
    """Seconds of each candidate, sample by sample, interleaved.

    Args:
        contraction: whose sizes are known.
        effort: how long to measure those that come near the fastest, all together.
        chosen: one that is measured however long it takes.
    """
    tensors = _operands(contraction)
    distinct = list(dict.fromkeys(candidates(contraction)))
    passes = {
        str(n): _prepare(lowering, contraction, tensors) for n, lowering in enumerate(distinct)
    }
    looks = {name: min(seconds) for name, seconds in interleave(passes, _LOOK).items()}
    worth = _HOPELESS * min(looks.values())
    near = {
        name: prepare
        for name, prepare in passes.items()
        if looks[name] <= worth or distinct[int(name)] == chosen
    }
    return {distinct[int(name)]: seconds for name, seconds in interleave(near, effort).items()}


def _operands(contraction: Contraction) -> list[tf.Tensor]:
    rng, sizes = np.random.default_rng(0), contraction.likely_sizes
    shapes = [[sizes[label] or 1 for label in term] for term in contraction.equation.inputs]
    return [tf.cast(rng.standard_normal(shape), contraction.dtype) for shape in shapes]


def _prepare(
    lowering: Lowering, contraction: Contraction, tensors: Sequence[tf.Tensor]
) -> Preparation:
    run = kernels.assemble(lowering, Sizes(contraction))
    if contraction.target != "eager":
        run = tf.function(run, autograph=False, jit_compile=contraction.target == "xla")
    call: Call = partial(run, *tensors)
    return lambda: call
