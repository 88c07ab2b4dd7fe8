"""Where the numeric side is evaluated: the promoted graph, a float64 clone, or the native function.

A reference maps the values of the leaves (float64) to the outputs (float64), from the same state
every time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck import private
from tf_einsum_grad.gradcheck.directions import Array, wide
from tf_einsum_grad.gradcheck.freeze import Recorder
from tf_einsum_grad.gradcheck.precision import EPS
from tf_einsum_grad.gradcheck.problem import Problem, brief
from tf_einsum_grad.gradcheck.promote import (
    PYTHON_OPS,
    PromotionError,
    rewrite,
    wider,
)
from tf_einsum_grad.gradcheck.randomness import Drawn, seed_as_eager
from tf_einsum_grad.gradcheck.state import StateGuard

_WRITES = re.compile("Assign|ResourceApply|ResourceSparseApply|ResourceScatter|Rng|Stateful(U|S)")
_BRANCHES = frozenset({"While", "If", "Case", "StatelessWhile", "StatelessIf", "StatelessCase"})


class Reference(Protocol):
    """What the numeric side needs; `eps` is the precision that it really has."""

    name: str
    eps: float
    evaluations: int

    def rebase(self, values: Sequence[Array]) -> list[Array]:
        """Move to a point: record what stop_gradient holds there, return the outputs."""
        ...

    def outputs(self, values: Sequence[Array]) -> list[Array]:
        """Return the outputs with the leaves at these values."""
        ...


class PromotedFunction:
    """A concrete function, rewritten to float64, over shadows of its variables.

    Raises:
        PromotionError: where that is impossible; the message says why.
    """

    def __init__(
        self,
        concrete: Any,
        arity: int,
        known: Sequence[tf.Variable],
        *,
        freeze: bool = False,
        primal: frozenset[str] | None = None,
        eager_seed: int | None = None,
        drawn: Drawn | None = None,
    ) -> None:
        self.recorder = Recorder() if freeze else None
        try:
            token = self.recorder.token if self.recorder else None
            graph_def = concrete.graph.as_graph_def()
            if eager_seed is not None:
                seed_as_eager(graph_def, eager_seed)
            self.rewritten = rewrite(graph_def, token, primal)
            self._names = [f.signature.name for f in self.rewritten.functions]
            private.register_functions(self.rewritten.functions)
            self.shadows: dict[int, tf.Variable] = {}
            self.resources: dict[int, str] = {}  # the names of their handles in the graph
            self._captured = self._shadow_captures(concrete, known)
            self._drawn = drawn.replacements(concrete) if drawn else {}
            self._function = self._import(concrete, arity)
        except PromotionError:
            raise
        except (private.Unavailable, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            raise PromotionError(brief(error)) from error

    def close(self) -> None:
        """Let TensorFlow forget the rewritten functions."""
        private.unregister_functions(reversed(self._names))

    def __call__(self, args: Sequence[Any]) -> list[tf.Tensor]:
        """Run it once, with promoted arguments."""
        if self.recorder:
            self.recorder.rewind()
        outputs = self._function(*args)
        return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]

    @property
    def python(self) -> bool:
        """Whether Python code runs in it, which sees the real variables and not the shadows."""
        return bool(self.rewritten.ops & PYTHON_OPS)

    def _shadow_captures(self, concrete: Any, known: Sequence[tf.Variable]) -> dict[str, Any]:
        by_handle = {id(v.handle): v for v in [*concrete.graph.variables, *known]}
        captured = {}
        for external, internal in concrete.graph.captures:
            if external.dtype == tf.resource:
                variable = by_handle.get(id(external))
                if variable is not None:
                    external = self._shadow(variable).handle
                    self.resources[id(variable)] = internal.op.name
            elif external.dtype != wider(external.dtype):
                external = tf.cast(external, wider(external.dtype))
            captured[internal.name] = external
        return captured

    def _shadow(self, variable: tf.Variable) -> tf.Variable:
        if id(variable) not in self.shadows:
            value = tf.cast(tf.convert_to_tensor(variable), wider(variable.dtype))
            self.shadows[id(variable)] = tf.Variable(value, trainable=False, shape=variable.shape)
        return self.shadows[id(variable)]

    def _import(self, concrete: Any, arity: int) -> Any:
        inputs = [t for t in concrete.inputs if t.name not in self._captured][:arity]
        specs = [tf.TensorSpec(t.shape, wider(t.dtype)) for t in inputs]

        def run(*args: tf.Tensor) -> list[tf.Tensor]:
            # tf.identity makes this graph capture the eager tensor.
            eager = {**self._captured, **self._drawn}
            mapped = {name: tf.identity(value) for name, value in eager.items()}
            mapped.update((t.name, arg) for t, arg in zip(inputs, args, strict=True))
            return tf.graph_util.import_graph_def(
                self.rewritten.graph_def,
                input_map=mapped,
                return_elements=[t.name for t in concrete.outputs],
                name="",
            )

        return tf.function(run, autograph=False).get_concrete_function(*specs)


class Promoted:
    """The reference by promotion of a traced problem."""

    name = "promote"

    def __init__(
        self,
        problem: Problem,
        guard: StateGuard,
        concrete: Any,
        *,
        freeze: bool,
        primal: frozenset[str] | None = None,
        eager: bool = False,
        drawn: Drawn | None = None,
    ) -> None:
        self.problem, self.guard, self.evaluations = problem, guard, 0
        self.function = PromotedFunction(
            concrete,
            len(problem.args),
            problem.variables,
            freeze=freeze,
            primal=primal,
            eager_seed=guard.seed if eager else None,
            drawn=drawn,
        )
        found = self.function.rewritten
        self.native_ops = frozenset(found.native_ops)
        low = [EPS[tf.as_dtype(t).name] for t in found.low_dtypes]
        self.eps = max(low, default=EPS["float32"]) if found.lossy else EPS["float64"]
        writes = any(map(_WRITES.search, found.ops))
        self._rewritten_always = writes and bool(found.ops & _BRANCHES)
        self._written = set(self.function.shadows) if writes else set()
        self._variables = {id(v): v for v in problem.variables}
        self._current: dict[int, Any] = {}
        self._args = [tf.cast(a, wider(a.dtype)) for a in problem.args]

    def set_tail(self, values: Sequence[Array]) -> None:
        """Replace the last arguments, which are no leaves."""
        self._args[len(self._args) - len(values) :] = [tf.constant(v) for v in values]

    def rebase(self, values: Sequence[Array]) -> list[Array]:
        """Record what stop_gradient holds at a point; return the outputs there."""
        recorder = self.function.recorder
        self._base = list(values)
        if recorder:
            recorder.record()
        outputs = self.outputs(values)
        if recorder:
            recorder.replay()
        if self._written and not self._rewritten_always:
            self._written = {
                key
                for key in self._written
                if not np.array_equal(self.function.shadows[key].numpy(), self._current[key])
            }
        return outputs

    def outputs(self, values: Sequence[Array]) -> list[Array]:
        """Return the outputs with the leaves at these values."""
        self.evaluations += 1
        args = list(self._args)
        wanted = {key: self.guard.base(self._variables[key]) for key in self.function.shadows}
        offsets = {}
        for leaf, value, base in zip(self.problem.leaves, values, self._base, strict=True):
            if leaf.position is not None:
                args[leaf.position] = tf.constant(value)
                continue
            wanted[id(leaf.variable)] = value
            if value is not base and id(leaf.variable) in self.function.resources:
                offsets[self.function.resources[id(leaf.variable)]] = value - base
        if self.function.recorder:
            self.function.recorder.offsets = offsets
        for key, shadow in self.function.shadows.items():
            if key in self._written or self._current.get(key) is not wanted[key]:
                shadow.assign(tf.cast(wanted[key], shadow.dtype))
                self._current[key] = wanted[key]
        if self.guard.reseed or self.function.python:
            self.guard.reset()
        if self.function.python:
            self.problem.assign(values)
        return [wide(y) for y in self.function(args)]


class Native:
    """The reference of last resort: the function itself, in its own dtype."""

    name = "native"

    def __init__(
        self,
        problem: Problem,
        guard: StateGuard,
        eps: float,
        forward: Callable[[Sequence[tf.Tensor]], list[tf.Tensor]],
    ) -> None:
        self.problem, self.guard, self.eps, self.forward = problem, guard, eps, forward
        self.evaluations = 0

    def rebase(self, values: Sequence[Array]) -> list[Array]:
        """Return the outputs; there is nothing to record."""
        return self.outputs(values)

    def outputs(self, values: Sequence[Array]) -> list[Array]:
        """Return the outputs with the leaves at these values, as the variant computes them."""
        self.evaluations += 1
        self.guard.reset()
        self.problem.assign(values)
        return [wide(y) for y in self.forward(self.problem.native_args(values))]
