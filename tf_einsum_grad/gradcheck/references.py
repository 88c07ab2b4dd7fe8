"""Where the numeric side is evaluated: the promoted graph, a float64 clone, or the native function.

A reference maps the values of the leaves (float64) to the outputs (float64), from the same state
every time.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck import private
from tf_einsum_grad.gradcheck.analytic import Backward, BackwardError, vjp
from tf_einsum_grad.gradcheck.numeric import EPS, Array, wide
from tf_einsum_grad.gradcheck.problem import Call, Problem, ReferenceKind, brief
from tf_einsum_grad.gradcheck.promote import PYTHON_OPS, PromotionError, rewrite, wider
from tf_einsum_grad.gradcheck.replay import Concrete, Drawn, Recorder, seed_as_eager
from tf_einsum_grad.gradcheck.state import StateGuard

_WRITES = re.compile("Assign|ResourceApply|ResourceSparseApply|ResourceScatter|Rng|Stateful(U|S)")
_BRANCHES = frozenset({"While", "If", "Case", "StatelessWhile", "StatelessIf", "StatelessCase"})
_FLOATS = ("float16", "bfloat16", "float32", "mixed_float16", "mixed_bfloat16")


class Reference(ABC):
    """What the numeric side needs.

    Attributes:
        kind, name: references of the same kind differ in how they draw random numbers.
        eps: the precision that it really has.
        evaluations: so far.
    """

    kind: ReferenceKind
    eps: float

    def __init__(self, problem: Problem, guard: StateGuard, name: str) -> None:
        self.problem, self.guard, self.name, self.evaluations = problem, guard, name, 0

    def rebase(self, values: Sequence[Array]) -> list[Array]:
        """Moves to a point: records what has to be, returns the outputs there."""
        return self.outputs(values)

    @abstractmethod
    def outputs(self, values: Sequence[Array]) -> list[Array]:
        """Returns the outputs with the leaves at these values."""


class PromotedFunction:
    """A concrete function, rewritten to float64, over shadows of its variables.

    Raises:
        PromotionError: where that is impossible; the message says why.
    """

    def __init__(
        self,
        problem: Problem,
        concrete: Concrete,
        *,
        freeze: bool = False,
        eager_seed: int | None = None,
        drawn: Drawn | None = None,
    ) -> None:
        self.recorder = Recorder() if freeze else None
        try:
            token = self.recorder.token if self.recorder else None
            graph_def = concrete.graph.as_graph_def()
            if eager_seed is not None:
                seed_as_eager(graph_def, eager_seed)
            self.rewritten = rewrite(graph_def, token, problem.primal if freeze else None)
            self._names = [f.signature.name for f in self.rewritten.functions]
            private.register_functions(self.rewritten.functions)
            # By the variables' `ref()`: their shadows, and the names of their handles in the graph.
            self.shadows: dict[Any, tf.Variable] = {}
            self.resources: dict[Any, str] = {}
            self._captured = self._shadow_captures(concrete, problem.variables)
            self._drawn = drawn.replacements(concrete) if drawn else {}
            self._function = self._import(concrete, len(problem.args))
        except PromotionError:
            raise
        except (private.Unavailable, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            raise PromotionError(brief(error)) from error

    def close(self) -> None:
        """Lets TensorFlow forget the rewritten functions."""
        private.unregister_functions(reversed(self._names))

    def __call__(self, args: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Runs it once, with promoted arguments."""
        if self.recorder:
            self.recorder.rewind()
        outputs = self._function(*args)
        return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]

    def _shadow_captures(
        self, concrete: Concrete, known: Sequence[tf.Variable]
    ) -> dict[str, tf.Tensor]:
        by_handle = {v.handle.ref(): v for v in [*concrete.graph.variables, *known]}
        captured = {}
        for external, internal in concrete.graph.captures:
            variable = by_handle.get(external.ref())
            if variable is not None:
                value = tf.cast(tf.convert_to_tensor(variable), wider(variable.dtype))
                shadow = tf.Variable(value, trainable=False, shape=variable.shape)
                external, key = shadow.handle, variable.ref()
                self.shadows[key], self.resources[key] = shadow, internal.op.name
            elif external.dtype != wider(external.dtype):
                external = tf.cast(external, wider(external.dtype))
            captured[internal.name] = external
        return captured

    def _import(self, concrete: Concrete, arity: int) -> Concrete:
        inputs = [t for t in concrete.inputs if t.name not in self._captured][:arity]
        specs = [tf.TensorSpec(t.shape, wider(t.dtype)) for t in inputs]

        def run(*args: tf.Tensor) -> list[tf.Tensor]:
            # tf.identity makes this graph capture the eager tensor.
            eager = {**self._captured, **self._drawn}
            mapped = {name: tf.identity(value) for name, value in eager.items()}
            mapped.update((t.name, arg) for t, arg in zip(inputs, args, strict=True))
            names = [t.name for t in concrete.outputs]
            found: list[tf.Tensor] = tf.graph_util.import_graph_def(
                self.rewritten.graph_def, input_map=mapped, return_elements=names, name=""
            )
            return found

        return tf.function(run, autograph=False).get_concrete_function(*specs)


class Promoted(Reference):
    """The reference of first choice: the traced problem in float64."""

    kind: ReferenceKind = "promote"

    def __init__(
        self, problem: Problem, guard: StateGuard, function: PromotedFunction, name: str = "promote"
    ) -> None:
        super().__init__(problem, guard, name)
        self.function, found = function, function.rewritten
        self.native_ops = frozenset(found.native_ops)
        low = [EPS[tf.as_dtype(t).name] for t in found.low_dtypes]
        self.eps = max(low, default=EPS["float32"]) if found.lossy else EPS["float64"]
        # Python code sees the real variables and not the shadows.
        self._python = bool(found.ops & PYTHON_OPS)
        writes = any(map(_WRITES.search, found.ops))
        self._rewritten_always = writes and bool(found.ops & _BRANCHES)
        self._written = set(self.function.shadows) if writes else set()
        self._current: dict[Any, Array] = {}
        self._args = [tf.cast(a, wider(a.dtype)) for a in problem.args]

    def set_tail(self, values: Sequence[Array]) -> None:
        """Replaces the last arguments, which are no leaves."""
        self._args[len(self._args) - len(values) :] = [tf.constant(v) for v in values]

    def rebase(self, values: Sequence[Array]) -> list[Array]:
        """Records what stop_gradient holds at a point; returns the outputs there."""
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
        """Returns the outputs with the leaves at these values."""
        self.evaluations += 1
        args = list(self._args)
        wanted = {key: self.guard.base(key.deref()) for key in self.function.shadows}
        offsets = {}
        for leaf, value, base in zip(self.problem.leaves, values, self._base, strict=True):
            if isinstance(leaf.source, int):
                args[leaf.source] = tf.constant(value)
            else:
                key = leaf.source.ref()
                wanted[key] = value
                if value is not base and key in self.function.resources:
                    offsets[self.function.resources[key]] = value - base
        if self.function.recorder:
            self.function.recorder.offsets = offsets
        for key, shadow in self.function.shadows.items():
            if key in self._written or self._current.get(key) is not wanted[key]:
                shadow.assign(tf.cast(wanted[key], shadow.dtype))
                self._current[key] = wanted[key]
        if self.guard.reseed or self._python:
            self.guard.reset()
        if self._python:
            self.problem.assign(values)
        return [wide(y) for y in self.function(args)]


class Clone(Reference):
    """A copy of a Keras model, for what cannot be promoted.

    It is made from the model's config, with float64 policies and the model's own weights.

    Raises:
        PromotionError: not a Keras model, or one that cannot be copied.
    """

    kind: ReferenceKind = "clone"
    eps = EPS["float64"]

    def __init__(self, problem: Problem, guard: StateGuard) -> None:
        if problem.model is None or problem.call_with is None:
            raise PromotionError("only a Keras layer or model can be cloned")
        super().__init__(problem, guard, "clone")
        self._call = problem.call_with
        model = problem.model
        try:
            self.model = type(model).from_config(_widened(model.get_config()))
            self._args = [tf.cast(a, wider(a.dtype)) for a in problem.args]
            self._call(self.model, self._args)  # builds it
        except Exception as error:  # any model may refuse to be copied, in its own way
            raise PromotionError(f"cloning failed: {brief(error)}") from error
        theirs, ours = model.variables, self.model.variables
        if [tuple(v.shape) for v in theirs] != [tuple(v.shape) for v in ours]:
            raise PromotionError("the clone has other variables than the model")
        self._copies = {a.value.ref(): b for a, b in zip(theirs, ours, strict=True)}

    def outputs(self, values: Sequence[Array]) -> list[Array]:
        """Returns the clone's outputs with the leaves at these values."""
        self.evaluations += 1
        self.guard.reset()
        args = list(self._args)
        for key, copy in self._copies.items():
            copy.assign(self.guard.base(key.deref()))
        for leaf, value in zip(self.problem.leaves, values, strict=True):
            if isinstance(leaf.source, int):
                args[leaf.source] = tf.constant(value)
            elif leaf.source.ref() in self._copies:
                self._copies[leaf.source.ref()].assign(value)
        return [wide(y) for y in self._call(self.model, args)]


def _widened(config: Any) -> Any:
    """Replaces every floating dtype or policy in a Keras config, at any depth."""
    if isinstance(config, str):
        return "float64" if config in _FLOATS else config
    if isinstance(config, dict):
        return {key: _widened(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_widened(value) for value in config)
    if isinstance(config, keras.DTypePolicy) and config.name in _FLOATS:
        return keras.DTypePolicy("float64")
    return config


class Native(Reference):
    """The reference of last resort: the function itself, in its own dtype."""

    kind: ReferenceKind = "native"

    def __init__(
        self, problem: Problem, guard: StateGuard, name: str, eps: float, forward: Call
    ) -> None:
        super().__init__(problem, guard, name)
        self.eps, self.forward = eps, forward

    def outputs(self, values: Sequence[Array]) -> list[Array]:
        """Returns the outputs with the leaves at these values, as the variant computes them."""
        self.evaluations += 1
        self.guard.reset()
        self.problem.assign(values)
        return [wide(y) for y in self.forward(self.problem.native_args(values))]


class ExactGradient:
    """The traced gradient, run in float64: its formulas without its rounding errors.

    Built when first needed; where it cannot be built, `backward` returns None.
    """

    def __init__(
        self, problem: Problem, guard: StateGuard, eager_seed: int | None, drawn: Drawn | None
    ) -> None:
        self.problem, self.guard, self.eager_seed, self.drawn = problem, guard, eager_seed, drawn
        self._connected: list[bool] = []
        self._promoted: Promoted | None = None
        self._tried = False

    @property
    def evaluations(self) -> int:
        """Runs so far."""
        return self._promoted.evaluations if self._promoted else 0

    def close(self) -> None:
        """Releases the rewritten graph."""
        if self._promoted:
            self._promoted.function.close()

    def backward(
        self, values: Sequence[Array], cotangents: Sequence[Array], outputs: Sequence[Array]
    ) -> Backward | None:
        """Returns gradients in float64; None if unavailable, or if it computes other outputs."""
        if not self._tried:
            self._tried = True
            self._build(outputs)
        if self._promoted is None:
            return None
        self._promoted.set_tail(cotangents)
        found = self._unpacked(self._promoted.outputs(values))
        found.eps = self._promoted.eps
        for y, expected in zip(found.outputs, outputs, strict=True):
            if y.shape != expected.shape or not np.allclose(y, expected, 1e-9, 0, equal_nan=True):
                return None
        return found

    def native(self, args: Sequence[tf.Tensor]) -> Backward:
        """Runs the same trace in its own dtypes, with arguments and cotangents given."""
        return self._unpacked([wide(t) for t in self._concrete(*args)])

    def _unpacked(self, found: Sequence[Array]) -> Backward:
        flat = iter(found)
        outputs = [next(flat) for _ in self.problem.output_dtypes]
        return Backward(outputs, [next(flat) if there else None for there in self._connected])

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
            traced = tf.function(flat, autograph=False)
            concrete = traced.get_concrete_function(*extended.specs())
            function = PromotedFunction(
                extended, concrete, eager_seed=self.eager_seed, drawn=self.drawn
            )
            self._promoted = Promoted(extended, self.guard, function)
            self.guard.watch(concrete.graph.variables)
            self._promoted.rebase(problem.base())
        except (PromotionError, BackwardError, tf.errors.OpError):
            self._promoted = None
            return
        self._concrete = concrete
