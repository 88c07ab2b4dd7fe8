"""Where the numeric side is evaluated: the promoted graph, a float64 clone, or the native function.

A reference maps the values of the leaves (float64) to the outputs (float64), from the same state
every time.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck import private
from tf_einsum_grad.gradcheck.analytic import Backward, vjp
from tf_einsum_grad.gradcheck.numeric import EPS, Array, Arrays, wide
from tf_einsum_grad.gradcheck.problem import Call, Problem, ReferenceKind, brief
from tf_einsum_grad.gradcheck.promote import PYTHON_OPS, PromotionError, low_dtypes, rewrite, wider
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

    def rebase(self, values: Arrays) -> list[Array]:
        """Moves to a point: records what has to be, returns the outputs there."""
        return self.outputs(values)

    def outputs(self, values: Arrays) -> list[Array]:
        """Returns the outputs with the leaves at these values."""
        self.evaluations += 1
        return [wide(y) for y in self._run(values)]

    @abstractmethod
    def _run(self, values: Arrays) -> Sequence[tf.Tensor]: ...

    def close(self) -> None:  # noqa: B027
        """Releases what it registered, if anything."""


class _Wide(Reference):
    """A reference in float64, over copies of the arguments and the variables."""

    def __init__(self, problem: Problem, guard: StateGuard, name: str) -> None:
        super().__init__(problem, guard, name)
        self._args = [tf.cast(a, wider(a.dtype)) for a in problem.args]
        self._copies: dict[Any, Any] = {}  # by the variables' `ref()`

    def _placed(self, values: Arrays) -> tuple[list[tf.Tensor], dict[Any, Array]]:
        """Returns the arguments, and the value of each variable, with the leaves at these."""
        args, wanted = list(self._args), {key: self.guard.base(key.deref()) for key in self._copies}
        for leaf, value in zip(self.problem.leaves, values, strict=True):
            if isinstance(leaf.source, int):
                args[leaf.source] = tf.constant(value)
            else:
                wanted[leaf.source.ref()] = value
        return args, wanted


class Promoted(_Wide):
    """The reference of first choice: a traced function in float64, over shadows of its variables.

    Args:
        concrete: the function, of the problem's arguments.
        freeze: whether stop_gradients are constants.
        eager: whether random ops get the seeds of eager mode.
        drawn: what they drew, if it is to be repeated.

    Raises:
        PromotionError: where the function cannot be rewritten; the message says why.
    """

    kind: ReferenceKind = "promote"

    def __init__(
        self,
        problem: Problem,
        guard: StateGuard,
        concrete: Concrete,
        name: str,
        freeze: bool,
        eager: bool,
        drawn: Drawn | None,
    ) -> None:
        super().__init__(problem, guard, name)
        self._recorder = Recorder()
        self._resources: dict[Any, str] = {}  # names of the variables' handles in the graph
        try:
            graph_def = concrete.graph.as_graph_def()
            if eager:
                seed_as_eager(graph_def, guard.seed)
            primal = problem.primal if freeze else frozenset()
            self._rewritten = found = rewrite(graph_def, self._recorder, primal)
            private.register_functions(found.functions)
            given: dict[str, Any] = self._captured(concrete)
            given |= drawn.replacements(concrete) if drawn else {}
            self._function = self._import(concrete, given)
        except PromotionError:
            raise
        except (private.Unavailable, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            raise PromotionError(brief(error)) from error
        self.native_ops = frozenset(found.native_ops)
        low = [EPS[tf.as_dtype(t).name] for t in found.low_dtypes]
        self.eps = max(low, default=EPS["float32"]) if found.lossy else EPS["float64"]
        # Python code sees the real variables and not the shadows.
        self._python = bool(found.ops & PYTHON_OPS)
        writes = any(map(_WRITES.search, found.ops))
        self._rewritten_always = writes and bool(found.ops & _BRANCHES)
        self._written = set(self._copies) if writes else set()
        self._current: dict[Any, Array] = {}

    def close(self) -> None:
        """Lets TensorFlow forget the rewritten functions."""
        private.unregister_functions(f.signature.name for f in reversed(self._rewritten.functions))

    def _captured(self, concrete: Concrete) -> dict[str, tf.Tensor]:
        by_handle = {
            v.handle.ref(): v for v in [*concrete.graph.variables, *self.problem.variables]
        }
        captured = {}
        for external, internal in concrete.graph.captures:
            variable = by_handle.get(external.ref())
            if variable is not None:
                value = tf.cast(tf.convert_to_tensor(variable), wider(variable.dtype))
                shadow = tf.Variable(value, trainable=False, shape=variable.shape)
                external, key = shadow.handle, variable.ref()
                self._copies[key], self._resources[key] = shadow, internal.op.name
            elif external.dtype != wider(external.dtype):
                external = tf.cast(external, wider(external.dtype))
            captured[internal.name] = external
        return captured

    def _import(self, concrete: Concrete, given: Mapping[str, Any]) -> Concrete:
        inputs = concrete.inputs[: len(self.problem.args)]
        specs = [tf.TensorSpec(t.shape, wider(t.dtype)) for t in inputs]

        def run(*args: tf.Tensor) -> list[tf.Tensor]:
            # tf.identity makes this graph capture the eager tensor.
            mapped = {name: tf.identity(value) for name, value in given.items()}
            mapped.update((t.name, arg) for t, arg in zip(inputs, args, strict=True))
            names = [t.name for t in concrete.outputs]
            found: list[tf.Tensor] = tf.graph_util.import_graph_def(
                self._rewritten.graph_def, input_map=mapped, return_elements=names, name=""
            )
            return found

        return tf.function(run, autograph=False).get_concrete_function(*specs)

    def rebase(self, values: Arrays) -> list[Array]:
        """Records what stop_gradient holds at a point; returns the outputs there."""
        self._base = list(values)
        self._recorder.record()
        outputs = self.outputs(values)
        self._recorder.replay()
        if self._written and not self._rewritten_always:
            self._written = {
                key
                for key in self._written
                if not np.array_equal(self._copies[key].numpy(), self._current[key])
            }
        return outputs

    def _run(self, values: Arrays) -> Sequence[tf.Tensor]:
        args, wanted = self._placed(values)
        moved = {
            leaf.source.ref(): value - base
            for leaf, value, base in zip(self.problem.leaves, values, self._base, strict=True)
            if value is not base and not isinstance(leaf.source, int)
        }
        names = self._resources
        self._recorder.offsets = {names[key]: d for key, d in moved.items() if key in names}
        for key, shadow in self._copies.items():
            if key in self._written or self._current.get(key) is not wanted[key]:
                shadow.assign(tf.cast(wanted[key], shadow.dtype))
                self._current[key] = wanted[key]
        if self.guard.reseed or self._python:
            self.guard.reset()
        if self._python:
            self.problem.assign(values)
        self._recorder.rewind()
        found: list[tf.Tensor] = self._function(*args)
        return found


class Clone(_Wide):
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
        model = problem.model
        try:
            copy = type(model).from_config(_widened(model.get_config()))
            self._call = functools.partial(problem.call_with, copy)
            self._call(self._args)  # builds it
        except Exception as error:  # any model may refuse to be copied, in its own way
            raise PromotionError(f"cloning failed: {brief(error)}") from error
        theirs, ours = model.variables, copy.variables
        if [tuple(v.shape) for v in theirs] != [tuple(v.shape) for v in ours]:
            raise PromotionError("the clone has other variables than the model")
        self._copies = {a.value.ref(): b for a, b in zip(theirs, ours, strict=True)}

    def _run(self, values: Arrays) -> Sequence[tf.Tensor]:
        self.guard.reset()
        args, wanted = self._placed(values)
        for key, copy in self._copies.items():
            copy.assign(wanted[key])
        return self._call(args)


def _widened(config: Any) -> Any:
    """Replaces every floating dtype or policy in a Keras config, at any depth."""

    def widen(value: Any) -> Any:
        if isinstance(value, keras.DTypePolicy) and value.name in _FLOATS:
            return keras.DTypePolicy("float64")
        return "float64" if isinstance(value, str) and value in _FLOATS else value

    return keras.tree.map_structure(widen, config)


class Native(Reference):
    """The reference of last resort: the function itself, in its own dtype."""

    kind: ReferenceKind = "native"

    def __init__(
        self, problem: Problem, guard: StateGuard, name: str, eps: float, forward: Call
    ) -> None:
        super().__init__(problem, guard, name)
        self.eps, self.forward = eps, forward

    def _run(self, values: Arrays) -> Sequence[tf.Tensor]:
        self.guard.reset()
        self.problem.assign(values)
        return self.forward(self.problem.native_args(values))


class ExactGradient(Promoted):
    """The traced gradient, run in float64: its formulas without its rounding errors.

    Args:
        outputs: of the function, for the shapes of cotangents.

    Raises:
        PromotionError, BackwardError, tf.errors.OpError: it cannot be traced, rewritten, or run.
    """

    def __init__(
        self, problem: Problem, guard: StateGuard, outputs: Arrays, eager: bool, drawn: Drawn | None
    ) -> None:
        run, count = vjp(problem, traced=True), len(problem.args)

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
        traced = tf.function(flat, autograph=False).get_concrete_function(*extended.specs())
        super().__init__(extended, guard, traced, "exact", False, eager, drawn)
        self._concrete = traced
        guard.watch(traced.graph.variables)
        self.rebase(problem.base())

    def backward(self, values: Arrays, cotangents: Arrays, outputs: Arrays) -> Backward | None:
        """Returns gradients in float64; None if it computes other outputs."""
        self._args[len(self._args) - len(cotangents) :] = [tf.constant(v) for v in cotangents]
        found = self._unpacked(self.outputs(values))
        found.eps = self.eps
        found.coarsest = max((EPS[name] for name in low_dtypes(self._concrete)), default=0.0)
        for y, expected in zip(found.outputs, outputs, strict=True):
            if y.shape != expected.shape or not np.allclose(y, expected, 1e-9, 0, equal_nan=True):
                return None
        return found

    def native(self, args: Sequence[tf.Tensor]) -> Backward:
        """Runs the same trace in its own dtypes, with arguments and cotangents given."""
        return self._unpacked([wide(t) for t in self._concrete(*args)])

    def _unpacked(self, found: Arrays) -> Backward:
        flat = iter(found)
        outputs = [next(flat) for _ in self.problem.output_dtypes]
        return Backward(outputs, [next(flat) if there else None for there in self._connected])
