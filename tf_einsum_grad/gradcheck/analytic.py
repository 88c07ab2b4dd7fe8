"""The analytic side: TensorFlow's own gradient, in the user's dtype, in each variant.

- eager: a tape around the function as it is called;
- graph: the tape and the function inside one `tf.function`, as in a training step;
- xla: the same with `jit_compile=True`;
- forward: `tf.autodiff.ForwardAccumulator`, one leaf at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck import private
from tf_einsum_grad.gradcheck.numeric import Array, Arrays, inner, wide
from tf_einsum_grad.gradcheck.problem import Leaf, Problem, Tensors, VariantName, brief
from tf_einsum_grad.gradcheck.replay import Concrete
from tf_einsum_grad.gradcheck.state import StateGuard

Gradients = Sequence[tf.Tensor | tf.IndexedSlices | None]


class BackwardError(RuntimeError):
    """The backward pass raised, where the forward pass did not."""


class NoGradientError(BackwardError):
    """TensorFlow has no gradient for an op on the way.

    Attributes:
        op: its kind; "" where only the message says.
    """

    def __init__(self, op: str, message: str) -> None:
        super().__init__(f"for {op} here" if op else f"here: {message}")
        self.op = op


class VariantError(RuntimeError):
    """A variant cannot run this function at all (XLA has no kernel; it cannot be traced)."""


@dataclass
class Backward:
    """What one backward pass gave: outputs, and for each leaf a gradient, None, or a defect.

    `eps` is the precision that it was computed in, where that is not the leaf's own, and `coarsest`
    that of the narrowest dtype that its trace computes in, where it was traced.
    """

    outputs: list[Array]
    gradients: list[Array | None]
    defects: dict[int, str] = field(default_factory=dict)
    eps: float = 0.0
    coarsest: float = 0.0

    def terms(self, leaf: int, u: Array) -> Array | None:
        """Returns g * u, of the leaf's shape: what the directional derivative sums."""
        g = self.gradients[leaf]
        return None if g is None else g * u

    def norm(self, leaf: int, u: Array) -> float:
        """Returns ||g * u||, which tolerances are relative to; it does not grow with zeros."""
        terms = self.terms(leaf, u)
        return 0.0 if terms is None else float(np.linalg.norm(np.ravel(terms)))

    def directional(self, leaf: int, u: Array) -> float:
        """Returns Re <g, u>; 0 for a gradient that is None."""
        g = self.gradients[leaf]
        return 0.0 if g is None else inner(g, u)

    def nonfinite(self, leaf: int, u: Array) -> str:
        """Says how many entries are not finite, and where the first is; "" if all are."""
        g = self.gradients[leaf]
        if g is None or np.isfinite(g).all():
            return ""
        bad = np.argwhere(~np.isfinite(g))
        first = ", ".join(map(str, bad[0].tolist()))
        return f"{len(bad)} of {np.size(g)} entries are NaN or infinite, the first at [{first}]"


def vjp(
    problem: Problem, traced: bool = False
) -> Callable[[Tensors, Tensors], tuple[list[tf.Tensor], Gradients]]:
    """Returns a function of (args, cotangents) to (outputs, gradients of all leaves)."""
    call = problem.traced if traced and problem.traced else problem.call

    def run(args: Tensors, cotangents: Tensors) -> tuple[list[tf.Tensor], Gradients]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            sources = problem.sources(args)
            tape.watch(sources)
            try:
                outputs = call(args)
            except Exception as error:  # a tf.function makes its gradient when it is called
                if op := private.without_gradient(error):
                    raise NoGradientError(op, brief(error)) from error
                raise
        try:
            gradients = tape.gradient(outputs, sources, output_gradients=list(cotangents))
        except Exception as error:  # whatever a custom gradient raises is a finding, not a crash
            op = private.without_gradient(error)
            if op is not None:
                raise NoGradientError(op, brief(error)) from error
            raise BackwardError(brief(error)) from error
        return outputs, gradients

    return run


def traced_once(function: Callable[..., Any], *, xla: bool) -> Callable[..., Any]:
    """Returns a tf.function for arguments of the same shapes, traced when it is first called.

    Unlike a tf.function itself, it does not add to what TensorFlow warns of as frequent tracing.
    """
    polymorphic = tf.function(function, autograph=False, jit_compile=True if xla else None)
    concrete: list[Concrete] = []

    def run(*args: Any) -> Any:
        if not concrete:
            concrete.append(polymorphic.get_concrete_function(*args))
        return concrete[0](*args)

    return run


class Variant:
    """Runs the function and its gradient one way."""

    def __init__(self, name: VariantName, problem: Problem, guard: StateGuard) -> None:
        self.name, self.problem, self.guard = name, problem, guard
        self.passes = 0
        self._forward: Callable[[Tensors], list[tf.Tensor]] = problem.call
        self._vjp = vjp(problem, traced=name in ("graph", "xla"))
        if name in ("graph", "xla"):
            self._forward = traced_once(problem.traced or problem.call, xla=name == "xla")
            self._vjp = traced_once(self._vjp, xla=name == "xla")

    def forward(self, args: Tensors) -> list[tf.Tensor]:
        """Computes the outputs alone."""
        return list(self._attempt(self._forward, args))

    def backward(self, values: Arrays, cotangents: Arrays) -> Backward:
        """Runs one pass for all leaves, at these values.

        Raises:
            BackwardError: if the gradient raised.
            VariantError: if this variant cannot run the function.
        """
        self.passes += 1
        args, narrow = self.prepare(values), self.problem.native_cotangents(cotangents)
        if self.name == "forward":
            return ForwardMode(self, args, [wide(v) for v in narrow])
        outputs, gradients = self._attempt(self._vjp, args, narrow)
        checked = [_checked(*pair) for pair in zip(self.problem.leaves, gradients, strict=True)]
        defects = {i: defect for i, (_, defect) in enumerate(checked) if defect}
        return Backward([wide(y) for y in outputs], [array for array, _ in checked], defects)

    def prepare(self, values: Arrays) -> list[tf.Tensor]:
        """Resets all state, gives the variables their values, returns the arguments."""
        self.guard.reset()
        self.problem.assign(values)
        return self.problem.native_args(values)

    def _attempt(self, function: Callable[..., Any], *args: Tensors) -> Any:
        try:
            return function(*args)
        except Exception as error:
            if self.name == "eager" or isinstance(error, BackwardError):
                raise
            raise VariantError(brief(error)) from error


class ForwardMode(Backward):
    """Jacobian-vector products instead of gradients, computed when a direction asks for one."""

    def __init__(self, variant: Variant, args: list[tf.Tensor], cotangents: list[Array]) -> None:
        problem = variant.problem
        self.variant, self.cotangents = variant, cotangents
        self.values = [wide(source) for source in problem.sources(args)]
        super().__init__([wide(y) for y in problem.call(args)], [None] * len(problem.leaves))
        self._products: dict[tuple[int, bytes], Array | None] = {}

    def directional(self, leaf: int, u: Array) -> float:
        """Returns Re <v, J u>."""
        terms = self.terms(leaf, u)
        return 0.0 if terms is None else float(np.sum(terms))

    def nonfinite(self, leaf: int, u: Array) -> str:
        """Says so; tangents belong to outputs, so there is no element of the leaf to name."""
        terms = self.terms(leaf, u)
        finite = terms is None or np.isfinite(terms).all()
        return "" if finite else "the Jacobian-vector product holds NaN or infinity"

    def terms(self, index: int, u: Array) -> Array | None:
        """Returns Re(conj(v) J u), the same sum from the other side: a term for each output."""
        key = index, u.tobytes()
        if key not in self._products:
            self._products[key] = self._compute(index, u)
        return self._products[key]

    def _compute(self, index: int, u: Array) -> Array | None:
        variant, problem = self.variant, self.variant.problem
        leaf, args = problem.leaves[index], variant.prepare(self.values)
        variant.passes += 1
        tangent = tf.constant(leaf.narrow(u), leaf.dtype)
        try:
            with tf.autodiff.ForwardAccumulator(problem.sources(args)[index], tangent) as acc:
                outputs = problem.call(args)
            tangents = [acc.jvp(y) for y in outputs]
        except Exception as error:
            raise VariantError(brief(error)) from error
        parts = [
            np.ravel(np.real(np.conj(v) * _dense(t, v.shape)))
            for v, t in zip(self.cotangents, tangents, strict=True)
            if t is not None
        ]
        return np.concatenate(parts) if parts else None


def _checked(leaf: Leaf, gradient: tf.Tensor | tf.IndexedSlices | None) -> tuple[Array | None, str]:
    """Densifies a gradient and checks its shape and dtype."""
    if gradient is None:
        return None, ""
    other = f"its dtype is {gradient.dtype.name}, the leaf's is {leaf.dtype.name}"
    dense = _dense(gradient, leaf.shape)
    if dense.shape != leaf.shape:
        return None, f"its shape is {dense.shape}, the leaf's is {leaf.shape}"
    return dense, "" if gradient.dtype == leaf.dtype else other


def _dense(gradient: tf.Tensor | tf.IndexedSlices, shape: tuple[int, ...]) -> Array:
    """Returns a gradient or tangent as an array; slices with the same index are summed."""
    if not isinstance(gradient, tf.IndexedSlices):
        return wide(gradient)
    dense = np.zeros(shape, wide(gradient.values).dtype)
    np.add.at(dense, gradient.indices.numpy(), wide(gradient.values))
    return dense
