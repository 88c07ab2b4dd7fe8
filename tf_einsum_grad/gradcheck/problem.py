"""What is checked: a function from flat tensors to flat tensors, its leaves, and how closely.

`inputs` makes everything that people may pass (nests, Keras models, tf.Modules, patterns of names)
uniform, so that the rest of the checker sees one `Problem`.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal, cast, get_args

import keras
import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.differences import Derivative
from tf_einsum_grad.gradcheck.joint import Group
from tf_einsum_grad.gradcheck.numeric import RTOL, Array, Arrays, wide
from tf_einsum_grad.gradcheck.promote import differentiable
from tf_einsum_grad.gradcheck.replay import Concrete

_NUMBERS: tuple[type[Any], ...] = (float, complex, np.ndarray, np.generic)
Tensors = Sequence[tf.Tensor]
Call = Callable[[Tensors], list[tf.Tensor]]
VariantName = Literal["eager", "graph", "xla", "forward"]
ReferenceKind = Literal["promote", "clone", "native"]
ReferenceChoice = Literal["auto", "promote", "clone", "native"]
Kinks = Literal["jitter", "report", "ignore"]
StopGradient = Literal["freeze", "differentiate"]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `check_gradients` that say how closely to look.

    Raises:
        ValueError: one of them is out of its range; the message names it.
    """

    order: int = 1
    variants: tuple[VariantName, ...] = ("eager",)
    by_default: tuple[VariantName, ...] = ()  # those of them that nobody asked for
    reference: ReferenceChoice = "auto"
    n_directions: int = 2
    rtol: float | None = None
    atol: float | None = None
    kinks: Kinks = "jitter"
    stop_gradient: StopGradient = "freeze"
    localize: bool = True
    max_evaluations: int | None = None
    seed: int = 0
    seconds: float | None = None
    until: float = field(init=False, default=math.inf)  # when they are over, by `perf_counter`

    def __post_init__(self) -> None:
        _require([self.order], (1, 2), "order")
        _require([self.reference], get_args(ReferenceChoice), "reference")
        _require([self.kinks], get_args(Kinks), "kinks")
        _require([self.stop_gradient], get_args(StopGradient), "stop_gradient")
        _require(self.variants, get_args(VariantName), "variants")
        if not self.variants:
            names = ", ".join(get_args(VariantName))
            raise ValueError(f"variants must name at least one of {names}")
        for name, least in (("n_directions", 1), ("seed", 0), ("max_evaluations", 1)):
            value = getattr(self, name)
            unlimited = name == "max_evaluations" and value is None
            if not unlimited and not (isinstance(value, (int, np.integer)) and value >= least):
                raise ValueError(f"{name} must be an integer, at least {least}, got {value!r}")
        for name in ("rtol", "atol", "seconds"):
            value = getattr(self, name)
            number = isinstance(value, Real) and 0 <= float(value) < math.inf
            if value is not None and not number:
                raise ValueError(f"{name} must be a finite number, at least 0, got {value!r}")
        if self.seconds is not None:  # they count from here on
            object.__setattr__(self, "until", time.perf_counter() + self.seconds)

    def used_up(self, evaluations: int) -> str:
        """Says which budget so many evaluations have used up by now; "" if none."""
        if self.max_evaluations is not None and evaluations >= self.max_evaluations:
            return f"max_evaluations={self.max_evaluations} was reached"
        over = time.perf_counter() >= self.until
        return f"seconds={self.seconds:g} were over" if over else ""

    def rtol_for(self, eps: float) -> float:
        """Returns the relative tolerance for a machine precision."""
        return RTOL[eps] if self.rtol is None else self.rtol

    def strictness(self, eps: float) -> float:
        """Returns what part of the usual allowance for rounding is left by an rtol asked for."""
        return 1.0 if self.rtol is None else min(1.0, self.rtol / RTOL[eps])


def _require(values: Sequence[object], allowed: Sequence[object], what: str) -> None:
    for value in values:
        if value not in allowed:
            raise ValueError(f"{what} must be one of {', '.join(map(str, allowed))}, got {value!r}")


@dataclass(frozen=True)
class Leaf:
    """A tensor to differentiate with respect to: an argument (by position) or a variable."""

    name: str
    shape: tuple[int, ...]
    dtype: tf.DType
    source: int | tf.Variable = -1  # the argument's position, or the variable

    def narrow(self, value: Array) -> Array:
        """Rounds a wide value to this leaf's own dtype."""
        return np.asarray(value).astype(self.dtype.as_numpy_dtype)

    def rounded(self, value: Array) -> Array:
        """Returns the nearest value that this leaf's dtype holds, wide."""
        return wide(self.narrow(value))


@dataclass
class Problem:
    """A function of flat tensors, where to evaluate it, and its leaves.

    `call` takes all of `args` and returns the differentiable outputs as a flat list; `traced` does
    the same inside a tf.function (they differ where autograph has to convert Python control flow).
    """

    call: Call
    args: list[tf.Tensor]
    leaves: list[Leaf]
    skipped: list[Leaf] = field(default_factory=list)  # not differentiated; for the report
    variables: list[tf.Variable] = field(default_factory=list)  # whose state a call may change
    traced: Call | None = None
    model: keras.layers.Layer | None = None  # the function itself, if it is one
    # Calls another model in the same way.
    call_with: Callable[[Callable[..., Any], Tensors], list[tf.Tensor]] | None = None
    concrete: Concrete | None = None  # the forward pass, or why
    untraceable: str = ""  # ... there is none
    output_dtypes: list[tf.DType] = field(default_factory=list)
    # Second order: the leaf whose gradient each output is, and the traced nodes whose
    # stop_gradients mean "a constant".
    output_leaves: list[int] = field(default_factory=list)
    primal: frozenset[str] | None = None

    def base(self) -> list[Array]:
        """Returns the leaves' values, in float64 or complex128."""
        return [wide(source) for source in self.sources(self.args)]

    def native_args(self, values: Arrays) -> list[tf.Tensor]:
        """Returns the arguments, with the leaves among them at the values given."""
        args = list(self.args)
        for leaf, value in zip(self.leaves, values, strict=True):
            if isinstance(leaf.source, int):
                args[leaf.source] = tf.constant(leaf.narrow(value), leaf.dtype)
        return args

    def native_cotangents(self, cotangents: Arrays) -> list[tf.Tensor]:
        """Returns cotangents as tensors of the outputs' own dtypes."""
        return [
            tf.constant(v.astype(d.as_numpy_dtype), d)
            for v, d in zip(cotangents, self.output_dtypes, strict=True)
        ]

    def assign(self, values: Arrays) -> None:
        """Gives the leaves that are variables the values given."""
        for leaf, value in zip(self.leaves, values, strict=True):
            if not isinstance(leaf.source, int):
                leaf.source.assign(leaf.narrow(value))

    def sources(self, args: Tensors) -> list[tf.Tensor | tf.Variable]:
        """Returns the leaves as a tape wants them."""
        sources = [leaf.source for leaf in self.leaves]
        return [args[source] if isinstance(source, int) else source for source in sources]

    def specs(self) -> list[tf.TensorSpec]:
        """Returns the specs of all arguments, for tracing."""
        return [tf.TensorSpec(arg.shape, arg.dtype) for arg in self.args]


@dataclass
class Point:
    """Values of all leaves, with cotangents and directions there, and what was found there.

    What was found is kept by the name of a reference or variant, the direction and the leaves.
    """

    values: list[Array]
    cotangents: list[list[Array]] = field(default_factory=list)  # [direction][output]
    directions: list[list[Array]] = field(default_factory=list)  # [direction][leaf]
    relative: set[tuple[int, int]] = field(default_factory=set)  # directions made so (evidence.py)
    sizes: list[float] = field(default_factory=list)  # of the terms that each output sums
    outputs: dict[str, list[Array]] = field(default_factory=dict)
    derivatives: dict[tuple[str, int, tuple[int, ...]], Derivative] = field(default_factory=dict)
    groups: dict[int, list[Group]] = field(default_factory=dict)  # [direction]: tested together
    passes: dict[tuple[str, str, int], Any] = field(default_factory=dict)  # gradients kept
    repeats: dict[str, bool] = field(default_factory=dict)  # whether it gives the same twice
    first: tuple[VariantName, list[Array]] | None = None  # the outputs of the first variant


def trace(problem: Problem, converted: Call | None = None) -> None:
    """Traces the function, with autograph (`converted`) only where that is needed."""
    problem.traced = problem.traced or problem.call
    for call in filter(None, (problem.traced, converted)):
        try:
            problem.concrete = tf.function(
                lambda *args, call=call: [tf.identity(y) for y in call(args)], autograph=False
            ).get_concrete_function(*problem.specs())
        except Exception as error:  # not traceable is a fact about the function, not a crash
            problem.untraceable = brief(error)
            if not isinstance(error, tf.errors.OperatorNotAllowedInGraphError):
                return
        else:
            problem.traced = call
            problem.output_dtypes = [t.dtype for t in problem.concrete.outputs]
            return


def gradient_problem(problem: Problem, cotangents: Arrays) -> Problem | None:
    """Returns the problem whose outputs are the gradients of another: x, v -> VJP(x, v).

    None where it has no outputs, since no leaf has a gradient.

    By reverse over reverse: TensorFlow's forward mode transposes registered gradients, and
    forward over forward is wrong by itself (tensorflow issue 127753). The leaves are the same, and
    the cotangents in addition: the derivative of a gradient with respect to the gradient above it
    is what a network's second order is made of.
    """
    count = len(problem.args)
    extra = problem.native_cotangents(cotangents)
    leaves = [
        Leaf(
            f"cotangent[{i}]" if len(extra) > 1 else "cotangent",
            static_shape(v),
            v.dtype,
            count + i,
        )
        for i, v in enumerate(extra)
    ]
    result = dataclasses.replace(
        problem,
        args=[*problem.args, *extra],
        leaves=[*problem.leaves, *leaves],
        skipped=[],
        output_dtypes=[],
        model=None,
        concrete=None,
    )

    def gradient(call: Call, args: Tensors) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            sources = problem.sources(args)
            tape.watch(sources)
            outputs = call(args[:count])
        if outputs and not hasattr(outputs[0], "numpy") and result.primal is None:
            result.primal = frozenset(op.name for op in outputs[0].graph.get_operations())
        gradients = tape.gradient(outputs, sources, output_gradients=list(args[count:]))
        result.output_leaves = [i for i, g in enumerate(gradients) if g is not None]
        return [tf.convert_to_tensor(g) for g in gradients if g is not None]

    result.call = lambda args: gradient(problem.call, args)
    result.traced = lambda args: gradient(problem.traced or problem.call, args)
    trace(result)
    if result.concrete is None:
        result.call(result.args)  # which says whether there are any
    return result if result.output_leaves else None


def static_shape(tensor: tf.Tensor | tf.Variable) -> tuple[int, ...]:
    """Returns the shape of an eager tensor, or of a variable, as a tuple."""
    return cast("tuple[int, ...]", tuple(tensor.shape))


def flattened(outputs: Any) -> list[tf.Tensor]:
    """Flattens any nest of outputs and keeps what can be differentiated."""
    tensors = []
    for output in tf.nest.flatten(outputs, expand_composites=True):
        if isinstance(output, _NUMBERS):
            output = tf.convert_to_tensor(output)
        elif not tf.is_tensor(output):
            output = getattr(output, "value", output)  # a Keras variable
        if tf.is_tensor(output) and differentiable(output.dtype):
            tensors.append(tf.convert_to_tensor(output))
    return tensors


def brief(error: BaseException) -> str:
    """Returns the kind of an error and the line of its message that says most, without colors."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines()]
    empty = re.compile('$|in user code:|.*File "|Exception encountered when calling')
    telling = [line for line in lines if not empty.match(line)]
    return f"{type(error).__name__}: {telling[0][:200] if telling else ''}".rstrip(": ")
