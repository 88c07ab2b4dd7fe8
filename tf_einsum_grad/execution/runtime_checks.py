"""What the boundary does at run time, where shapes were unknown when the graph was traced.

Known shapes are checked by `sizes` and cost nothing here. For unknown ones, a label that stands in
several places is compared when the tensors are there: in eager mode and in graphs by an assertion
whose message names label, operands and sizes; under XLA, which drops assertions, by ops that XLA
cannot compile for unequal sizes and whose names say which label it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tf_einsum_grad.algebra.equation import ELLIPSIS, Equation, fresh_labels
from tf_einsum_grad.algebra.sizes import Binding, Check
from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.kernels import Dim

Guard = tf.Tensor | tf.Operation
# The dimensions before an ellipsis, of it, and after it; vectors.
Split = tuple[tf.Tensor, tf.Tensor, tf.Tensor]

__all__ = ["align", "give_ranks", "split_ellipsis"]


def align(text: str, binding: Binding, operands: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Compares what could not be compared before, and broadcasts what turns out to be 1.

    Returns operands whose sizes agree with each other on every label. Where they did already, the
    broadcast passes its input on without a copy.
    """
    shapes = [tf.shape(x) for x in operands]
    dims: list[list[Dim]] = [
        [shape[axis] if size is None else size for axis, size in enumerate(x.shape.as_list())]
        for x, shape in zip(operands, shapes, strict=True)
    ]
    targets = [list(row) for row in dims]
    guards: list[list[Guard]] = [[] for _ in operands]
    for check in binding.checks:
        _align_label(text, check, dims, targets, guards)
    aligned = []
    for x, own, target, guard in zip(operands, dims, targets, guards, strict=True):
        static = x.shape
        with tf.control_dependencies(guard):
            x = tf.identity(x) if guard else x
        if any(_differ(t, d) for t, d in zip(target, own, strict=True)):
            x = tf.broadcast_to(x, target)
            known = [t if isinstance(t, int) else None for t in target]
            x.set_shape([k if s is None else s for k, s in zip(known, static, strict=True)])
        aligned.append(x)
    return aligned


def _align_label(
    text: str,
    check: Check,
    dims: list[list[Dim]],
    targets: list[list[Dim]],
    guards: list[list[Guard]],
) -> None:
    places: dict[int, list[int]] = {}
    for occurrence in check.occurrences:
        places.setdefault(occurrence.operand, []).append(occurrence.axis)
    first, *others = [dims[k][axes[0]] for k, axes in places.items()]
    size = first if check.size is None else check.size
    if check.size is None:
        for own in others:
            size = tf.where(tf.equal(size, 1), own, size)
    for k, axes in places.items():
        own = dims[k][axes[0]]
        for axis in axes[1:]:
            guards[k] += _require(text, check.label, k, dims[k][axis], own, equal=True)
        if len(places) > 1 or check.size is not None:
            guards[k] += _require(text, check.label, k, own, size, equal=False)
            for axis in axes:
                if _differ(dims[k][axis], size):
                    targets[k][axis] = size


def _differ(a: Dim, b: Dim) -> bool:
    """Whether two sizes may differ: integers by value, tensors by identity."""
    return a != b if isinstance(a, int) and isinstance(b, int) else a is not b


def _require(text: str, label: str, k: int, got: Dim, size: Dim, equal: bool) -> list[Guard]:
    """Ops that fail unless `got` is `size`, or 1 where it may broadcast."""
    if isinstance(got, int) and isinstance(size, int):
        return []  # compared when the equation was bound
    fits = tf.equal(got, size)
    if not equal:
        fits = tf.logical_or(fits, tf.equal(got, 1))
    # Without quotation marks, which the op would print with backslashes.
    message = (
        f"einsum {text} requires one size for label {label}; operand {k} and what it is contracted "
        "with have sizes"
    )
    # XLA evaluates both shapes when it compiles, and refuses to reshape where they differ.
    name = f"einsum_requires_one_size_for_label_{_ascii(label)}_in_operand_{k}"
    wanted = size if equal else tf.where(tf.equal(got, 1), 1, size)
    shaped = tf.reshape(tf.zeros([got], tf.bool), [wanted], name=name)
    return [tf.debugging.Assert(fits, [message, got, size]), shaped]


def _ascii(label: str) -> str:
    return label if label.isascii() else f"U{ord(label):04X}"


def give_ranks(
    equation: Equation, operands: Sequence[tf.Tensor]
) -> tuple[Equation | None, list[tf.Tensor], tf.Tensor | None]:
    """Gives operands of unknown rank the rank that their subscripts say.

    Where an ellipsis hides it, all ellipses are broadcast to each other and flattened into one
    label.

    Returns:
        The equation with a label in the place of `...` or None where nothing was flattened, the
        operands, and the dimensions that were, as an int32 vector for `split_ellipsis`.
    """
    if all(private.shape_tuple(x) is not None for x in operands):
        return None, list(operands), None
    ranked = [
        _ensure_rank(x, len(subscripts), k)
        if x.shape.rank is None and ELLIPSIS not in subscripts
        else x
        for k, (x, subscripts) in enumerate(zip(operands, equation.inputs, strict=True))
    ]
    if all(x.shape.rank is not None for x in ranked):
        return None, ranked, None
    return _merge_ellipses(equation, ranked)


def _ensure_rank(x: tf.Tensor, rank: int, k: int) -> tf.Tensor:
    # The shape is checked, not the tensor: forward mode cannot follow tf.ensure_shape of a tensor.
    name = f"einsum_requires_rank_{rank}_for_operand_{k}"
    return tf.reshape(x, tf.ensure_shape(tf.shape(x), [rank], name=name))


def _merge_ellipses(
    equation: Equation, operands: Sequence[tf.Tensor]
) -> tuple[Equation, list[tf.Tensor], tf.Tensor]:
    """The work of `give_ranks` where some operand with an ellipsis has no known rank."""
    label = next(fresh_labels("".join((*equation.inputs, equation.output))))
    parts = [_split(x, subscripts) for x, subscripts in zip(operands, equation.inputs, strict=True)]
    vectors = [part[1] for part in parts if part is not None]
    dims = vectors[0]
    for vector in vectors[1:]:
        dims = tf.broadcast_dynamic_shape(dims, vector)
    merged = [
        x if part is None else _flatten_ellipsis(x, part, dims, len(vectors) > 1, subscripts)
        for x, part, subscripts in zip(operands, parts, equation.inputs, strict=True)
    ]
    inputs = tuple(subscripts.replace(ELLIPSIS, label) for subscripts in equation.inputs)
    return Equation(inputs, equation.output.replace(ELLIPSIS, label)), merged, dims


def _flatten_ellipsis(
    x: tf.Tensor,
    part: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    dims: tf.Tensor,
    broadcast: bool,
    subscripts: str,
) -> tf.Tensor:
    """Broadcasts the dimensions of an ellipsis to `dims`, and makes one dimension of them."""
    before, middle, after = part
    flat = x
    if broadcast:
        ones = tf.ones([tf.size(dims) - tf.size(middle)], tf.int32)
        flat = tf.broadcast_to(
            tf.reshape(x, tf.concat([before, ones, middle, after], 0)),
            tf.concat([before, dims, after], 0),
        )
    flat = tf.reshape(flat, tf.concat([before, [tf.reduce_prod(dims)], after], 0))
    n_before, n_after = (len(side) for side in subscripts.split(ELLIPSIS))
    if x.shape.rank is None:
        flat.set_shape([None] * (n_before + 1 + n_after))
    else:
        known = x.shape.as_list()
        flat.set_shape([*known[:n_before], None, *known[len(known) - n_after :]])
    return flat


def split_ellipsis(result: tf.Tensor, output: str, dims: tf.Tensor) -> tf.Tensor:
    """Undoes `give_ranks` on the result; `output` is the output with its `...`."""
    if ELLIPSIS not in output:
        return result
    axis = output.index(ELLIPSIS)
    shape = tf.shape(result)
    return tf.reshape(result, tf.concat([shape[:axis], dims, shape[axis + 1 :]], 0))


def _split(x: tf.Tensor, subscripts: str) -> Split | None:
    """The shape of an operand before, of and after its ellipsis; None for one without."""
    if ELLIPSIS not in subscripts:
        return None
    before, after = (len(part) for part in subscripts.split(ELLIPSIS))
    message = f"einsum requires rank {before + after} or more for operand {subscripts!r}"
    with tf.control_dependencies([tf.debugging.assert_rank_at_least(x, before + after, message)]):
        shape = tf.identity(tf.shape(x))
    end = tf.size(shape) - after
    return shape[:before], shape[before:end], shape[end:]
