"""The public `per_example_gradients`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from tf_einsum_grad.algebra.errors import OperandError, SizeError
from tf_einsum_grad.execution.call import run_call
from tf_einsum_grad.per_example.batch_axis import BatchAxes, BatchAxis
from tf_einsum_grad.per_example.pulling import gradient_of_use, squares_of_use, sum_dtype
from tf_einsum_grad.per_example.uses import Unfit, Use, Uses

__all__ = ["per_example_gradients"]


def per_example_gradients(
    model_or_fn: Callable[[Any], Any],
    inputs: Any,
    loss: Callable[..., Any],
    reduce: Literal["norm"] | None = None,
    *,
    targets: Any = None,
    variables: Sequence[Any] | None = None,
) -> Any:
    """The gradient of each example's loss, or its norm, by one forward and one backward pass.

    The gradient of a kernel is a sum over the batch; with the batch label kept in the transposed
    equation it is the gradient of each example: `btx,xy->bty` has `btx,bty->bxy`. The sum of
    squares of that is `btx,bsx,bty,bsy->b`, which runs where it costs less (Goodfellow, "Efficient
    per-example gradient computations", arXiv:1510.01799, for a matrix).

    That is what runs for models whose variables meet the examples in einsums, matrix products (so
    in `Dense` and `EinsumDense`), sums, element by element (so in `LayerNormalization`) or as rows
    that are looked up, in any number of places. For others, convolutions among them,
    `tf.vectorized_map` computes each example's gradient by itself, and a warning says why.

    It is right where examples do not mix: all that comes of one example before the losses has to
    depend on that example alone. Statistics of a batch, such as `BatchNormalization` has in
    training, are found, and such a model is mapped: each example is a batch of its own.

    Each call traces the model; call it in a `tf.function` where that matters. Losses that layers
    add (`model.losses`) do not count.

    Args:
        model_or_fn: a Keras model, a `tf.Module` with a `__call__`, or any function of `inputs`.
        inputs: a tensor of shape `[batch, ...]`, or a nest of them.
        loss: of what `model_or_fn` returns, or, where there are targets, of these and that, as
            Keras' functions have it (`keras.losses.mse`); returns one loss for each example,
            `[batch]`.
        reduce: "norm" for the norm of each example's gradient, over all variables together.
        targets: a tensor of shape `[batch, ...]`, or a nest of them.
        variables: to differentiate with respect to; by default the trainable ones of the model, or
            those that the function reads, in the order in which they were made.

    Returns:
        A tensor `[batch, *variable.shape]` of the variable's dtype for each variable, in a list;
        for "norm" one tensor `[batch]`, float32 or wider.

    Raises:
        OperandError: `reduce` is something else, there is no variable, or losses are not one for
            each example.
        SizeError: inputs and targets have not one number of examples along their first axes.

    Example:
        >>> w = tf.Variable([[1.0], [2.0]])
        >>> x = tf.constant([[1.0, 0.0], [3.0, 4.0]])
        >>> norms = per_example_gradients(lambda x: x @ w, x, lambda y: y[:, 0], "norm")
        >>> norms.numpy()
        array([1., 5.], dtype=float32)
    """
    if reduce not in (None, "norm"):
        raise OperandError(f"per_example_gradients requires reduce None or 'norm', got {reduce!r}")
    examples = (inputs,) if targets is None else (inputs, targets)
    examples = tf.nest.map_structure(tf.convert_to_tensor, examples)
    n = _number_of_examples(tf.nest.flatten(examples))
    if variables is None:
        variables = getattr(model_or_fn, "trainable_variables", None)
    chosen = None if variables is None else [_tensorflow_variable(v) for v in variables]

    def losses_of(inputs: Any, *targets: Any) -> tf.Tensor:
        losses: tf.Tensor = loss(*targets, model_or_fn(inputs))
        return losses

    traced = _Traced.of(losses_of, examples, chosen)
    if traced.unfit:
        warnings.warn(f"per_example_gradients maps over examples: {traced.unfit}", stacklevel=2)
        return _mapped(losses_of, examples, traced.variables, reduce)
    return traced.run(examples, n, reduce)


def _number_of_examples(tensors: Sequence[tf.Tensor]) -> int | tf.Tensor:
    """How many examples there are, as a tensor where a graph does not know."""
    if any(x.shape.rank == 0 for x in tensors):
        raise SizeError("per_example_gradients requires a batch axis of each tensor, got a scalar")
    first = (x.shape[0] for x in tensors if x.shape.rank is not None)
    known = {size for size in first if size is not None}
    if len(known) > 1:
        raise SizeError(
            "per_example_gradients requires one number of examples in inputs and targets, got "
            f"{' and '.join(map(str, sorted(known)))}"
        )
    return known.pop() if known else tf.shape(tensors[0])[0]


def _tensorflow_variable(variable: Any) -> tf.Variable:
    """Of Keras' variables what TensorFlow has of them."""
    found: tf.Variable = variable if isinstance(variable, tf.Variable) else variable.value
    return found


def _check_losses(losses: Any) -> None:
    if isinstance(losses, tf.Tensor) and losses.shape.rank == 1 and losses.shape[0] is None:
        return
    got = losses.shape if isinstance(losses, tf.Tensor) else type(losses).__name__
    raise OperandError(
        "per_example_gradients requires losses of shape [batch], one for each example, got "
        f"{got}; they may not be reduced over the batch"
    )


@dataclass(frozen=True, slots=True)
class _Traced:
    """A model's losses in a graph of their own.

    Attributes:
        function: of the examples, flat: the cotangents of all uses, what these met, and what each
            of their steps takes besides.
        variables: in order.
        uses: of each variable.
        unfit: why the uses are not known; None where they are.
    """

    function: Any
    variables: tuple[tf.Variable, ...]
    uses: tuple[tuple[Use, ...], ...]
    unfit: str | None

    @classmethod
    def of(
        cls, losses_of: Any, examples: tuple[Any, ...], variables: list[tf.Variable] | None
    ) -> _Traced:
        """Traces the losses of a batch of unknown size, and finds the uses of variables."""
        found: dict[str, Any] = {}

        def losses_and_cotangents(*flat: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                losses = losses_of(*tf.nest.pack_sequence_as(examples, flat))
            graph: Any = tf.compat.v1.get_default_graph()
            own = tape.watched_variables() if variables is None else variables
            found.update(variables=tuple(own), uses=(), unfit=None)
            if not own:
                raise OperandError(
                    "per_example_gradients requires a variable that trains, got none"
                )
            _check_losses(losses)
            try:
                uses = Uses(graph, losses, BatchAxes(graph, flat))
                found["uses"] = tuple(tuple(uses.of(v)) for v in own)
            except Unfit as reason:
                found["unfit"] = str(reason)
                return losses
            return _exported(losses, [use for uses in found["uses"] for use in uses])

        specs = [tf.TensorSpec(_any_batch(x.shape), x.dtype) for x in tf.nest.flatten(examples)]
        function = tf.function(losses_and_cotangents, autograph=False)
        concrete = function.get_concrete_function(*specs)
        return cls(concrete, found["variables"], found["uses"], found["unfit"])

    def run(self, examples: tuple[Any, ...], n: int | tf.Tensor, reduce: str | None) -> Any:
        """Runs the passes, then each use's equation, where all sizes are known."""
        cotangents, met, beside = (iter(x) for x in self.function(*tf.nest.flatten(examples)))
        results = []
        for variable, uses in zip(self.variables, self.uses, strict=True):
            given = [
                _Given(
                    use,
                    _with_batch(next(cotangents), use.output_axis, n),
                    None if use.other_axis is None else _with_batch(next(met), use.other_axis, n),
                    [None if step.other is None else next(beside) for step in use.steps],
                )
                for use in uses
            ]
            results.append((_squares if reduce else _gradient)(variable, given, n))
        return _norm(results) if reduce else results


def _any_batch(shape: tf.TensorShape) -> tf.TensorShape:
    return shape if shape.rank is None else tf.TensorShape([None, *shape.as_list()[1:]])


def _exported(losses: tf.Tensor, uses: Sequence[Use]) -> tuple[list[tf.Tensor], ...]:
    """The cotangents of all uses, what these met, and what each of their steps takes besides."""
    outputs = [use.output for use in uses]
    zero = tf.UnconnectedGradients.ZERO
    cotangents = tf.gradients(losses, outputs, unconnected_gradients=zero) if uses else []
    met = [use.other for use in uses if use.other is not None]
    beside = [step.other for use in uses for step in use.steps if step.other is not None]
    return [tf.convert_to_tensor(x) for x in cotangents], met, beside


class _Given(NamedTuple):
    """A use with its tensors."""

    use: Use
    cotangent: tf.Tensor
    met: tf.Tensor | None
    beside: list[tf.Tensor | None]


def _with_batch(x: tf.Tensor, where: BatchAxis, n: int | tf.Tensor) -> tf.Tensor:
    """A tensor that is known to have the examples where it was found to have them."""
    shape: list[int | None] = list(where.shape)
    shape[where.axis] = n * where.inner if isinstance(n, int) else None
    known: tf.Tensor = tf.ensure_shape(x, shape)
    return known


def _gradient(variable: tf.Variable, given: Sequence[_Given], n: int | tf.Tensor) -> tf.Tensor:
    """The gradient of each example with respect to a variable: the sum over its uses."""
    if not given:
        nothing: tf.Tensor = tf.zeros([n, *variable.shape], variable.dtype)
        return nothing
    gradients = [gradient_of_use(*each) for each in given]
    total: tf.Tensor = tf.add_n(gradients)
    return total


def _squares(variable: tf.Variable, given: Sequence[_Given], n: int | tf.Tensor) -> tf.Tensor:
    """The sum of squares of each example's gradient with respect to a variable."""
    if len(given) == 1 and (found := squares_of_use(*given[0][:3])) is not None:
        return found
    return _sum_of_squares(_gradient(variable, given, n))


def _sum_of_squares(gradient: tf.Tensor) -> tf.Tensor:
    flat = tf.reshape(gradient, [tf.shape(gradient)[0], -1])
    if flat.dtype.is_complex:
        return tf.reduce_sum(tf.math.real(flat) ** 2 + tf.math.imag(flat) ** 2, axis=1)
    return run_call("bk,bk->b", [flat, flat], dtype=sum_dtype(flat.dtype))


def _norm(squares: Sequence[tf.Tensor]) -> tf.Tensor:
    """The norm of each example's gradient, of the sums of squares for each variable."""
    widest = max((x.dtype for x in squares), key=lambda dtype: dtype.size)
    norm: tf.Tensor = tf.sqrt(tf.add_n([tf.cast(x, widest) for x in squares]))
    return norm


def _mapped(
    losses_of: Any, examples: tuple[Any, ...], variables: Sequence[tf.Variable], reduce: str | None
) -> Any:
    """The same of each example by itself, as `tf.vectorized_map` does it."""

    def of_one(example: tuple[Any, ...]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(variables)
            one = tf.nest.map_structure(lambda x: x[None], example)
            losses = losses_of(*one)
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(losses, variables, unconnected_gradients=zero)
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    gradients = tf.vectorized_map(of_one, examples)
    return _norm([_sum_of_squares(gradient) for gradient in gradients]) if reduce else gradients
