"""The traced gradient, run in float64: its formulas without its rounding errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.analytic import Backward, BackwardError, vjp
from tf_einsum_grad.gradcheck.directions import Array, wide
from tf_einsum_grad.gradcheck.problem import Problem
from tf_einsum_grad.gradcheck.promote import PromotionError
from tf_einsum_grad.gradcheck.randomness import Drawn
from tf_einsum_grad.gradcheck.reference import Promoted
from tf_einsum_grad.gradcheck.state import StateGuard


class Exact:
    """Built when first needed; where it cannot be built, `backward` returns None."""

    def __init__(
        self, problem: Problem, guard: StateGuard, *, eager: bool, drawn: Drawn | None
    ) -> None:
        self.problem, self.guard, self.eager, self.drawn = problem, guard, eager, drawn
        self._connected: list[bool] = []
        self._promoted: Promoted | None = None
        self._tried = False

    @property
    def evaluations(self) -> int:
        """Runs so far."""
        return self._promoted.evaluations if self._promoted else 0

    def close(self) -> None:
        """Release the rewritten graph."""
        if self._promoted:
            self._promoted.function.close()

    def backward(
        self, values: Sequence[Array], cotangents: Sequence[Array], outputs: Sequence[Array]
    ) -> Backward | None:
        """Gradients in float64; None if unavailable, or if it computes other outputs."""
        if not self._tried:
            self._tried = True
            self._build(outputs)
        if self._promoted is None:
            return None
        self._promoted.set_tail(cotangents)
        found = self._promoted.outputs(values)
        own, flat = found[: len(outputs)], iter(found[len(outputs) :])
        for y, expected in zip(own, outputs, strict=True):
            if y.shape != expected.shape or not np.allclose(y, expected, 1e-9, 0, equal_nan=True):
                return None
        gradients = [next(flat) if there else None for there in self._connected]
        return Backward(own, gradients, eps=self._promoted.eps)

    def native(self, args: Sequence[tf.Tensor]) -> Backward:
        """The same trace in its own dtypes, with arguments and cotangents given."""
        found = self._concrete(*args)
        count = len(self.problem.output_dtypes)
        flat = iter([wide(t) for t in found[count:]])
        gradients = [next(flat) if there else None for there in self._connected]
        return Backward([wide(t) for t in found[:count]], gradients)

    def _build(self, outputs: Sequence[Array]) -> None:
        problem = self.problem
        run = vjp(problem, traced=True)
        count = len(problem.args)

        def flat(*args: tf.Tensor) -> list[tf.Tensor]:
            y, gradients = run(args[:count], args[count:])
            self._connected = [g is not None for g in gradients]
            # Converting makes IndexedSlices dense; the identity keeps an argument from being an
            # output, which cannot be imported.
            present = [t for t in [*y, *gradients] if t is not None]
            return [tf.identity(tf.convert_to_tensor(t)) for t in present]

        dtypes = problem.output_dtypes
        tail = [tf.zeros(y.shape, d) for y, d in zip(outputs, dtypes, strict=True)]
        extended = dataclasses.replace(problem, args=[*problem.args, *tail])
        try:
            concrete: Any = tf.function(flat, autograph=False).get_concrete_function(
                *extended.specs()
            )
            self._promoted = Promoted(
                extended,
                self.guard,
                concrete,
                freeze=False,
                eager=self.eager,
                drawn=self.drawn,
            )
            self.guard.watch(concrete.graph.variables)
            self._promoted.rebase(problem.base())
        except (PromotionError, BackwardError, tf.errors.OpError):
            self._promoted = None
            return
        self._concrete = concrete
