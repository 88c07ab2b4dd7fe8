"""What the boundary does at run time, where shapes were unknown when the graph was traced.

Known shapes are checked by `sizes` and cost nothing here. Of unknown ones, a label that several
operands have is left to the kernels: those that run refuse what does not broadcast, in graphs and
under XLA, and their names say which label it was. What no kernel compares is compared here: a label
that one operand repeats, and a size that the caller gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.equation import ELLIPSIS, Equation, fresh_labels
from tf_einsum_grad.algebra.names import show_names
from tf_einsum_grad.algebra.sizes import Binding
from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.vjp import with_rule

__all__ = [
    "Guard",
    "compare_sizes",
    "ensure_rank",
    "give_ranks",
    "op_name",
    "require_size",
    "split_ellipsis",
]

Guard = tf.Tensor | tf.Operation
# The dimensions before an ellipsis, of it, and after it; vectors.
Split = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
# Which label, such as "label" or "the repeated label"; its name; and whose it is, "operand 0".
Words = tuple[str, str, str]


def compare_sizes(
    text: str, binding: Binding, operands: Sequence[tf.Tensor]
) -> tuple[list[tf.Tensor], list[Guard]]:
    """Compares the sizes that no kernel compares.

    Returns:
        The operands, stretched where the caller gave a size and they turn out to have 1; and ops
        that fail unless sizes fit: whatever computes with the operands has to wait for them.
    """
    compared, guards = list(operands), []
    sizes = dict(binding.sizes)
    for check in binding.checks:
        label = show_names(text, check.label)
        places: dict[int, list[int]] = {}
        for occurrence in check.occurrences:
            places.setdefault(occurrence.operand, []).append(occurrence.axis)
        for k, axes in places.items():
            shape = operands[k].shape
            for axis in axes[1:]:
                if shape[axis] is None or shape[axes[0]] is None:
                    words = "the repeated label", label, f"operand {k}"
                    guards += _require(text, words, operands[k], axis, axes[0])
            if sizes[check.label] == 0 and shape[axes[0]] is None:
                # No kernel runs where a label has size 0.
                words = "label", label, f"operand {k}"
                guards += _require(text, words, operands[k], axes[0], None)
            if check.size is not None:
                name = op_name("requires size", check.size, "for label", label, "of operand", k)
                compared[k] = _stretch(compared[k], check.size, axes, name)
    return compared, guards


def _require(text: str, words: Words, x: tf.Tensor, axis: int, other: int | None) -> list[Guard]:
    """Ops that fail unless a dimension is that of another axis; or where that is None, 0 or 1."""
    call, shape = f"einsum {text}", tf.shape(x)
    if other is not None:
        return require_size(call, words, shape[axis], shape[other])
    return require_size(call, words, shape[axis], tf.minimum(shape[axis], 1), 0)


def require_size(call: str, words: Words, got: Any, size: Any, wanted: Any = None) -> list[Guard]:
    """Ops that fail unless two sizes are equal; `call` is what requires it."""
    what, label, whose = words
    # Without quotation marks, which the op would print with backslashes.
    message = f"{call} requires one size for {what} {label} of {whose}, got"
    # XLA drops assertions; but it evaluates both shapes when it compiles, and refuses to reshape
    # where they differ.
    name = op_name("requires one size for", what, label, "of", whose)
    shaped = tf.reshape(tf.zeros([got], tf.bool), [size], name=name)
    wanted = size if wanted is None else wanted
    return [tf.debugging.Assert(tf.equal(got, size), [message, wanted, got]), shaped]


def _stretch(x: tf.Tensor, size: int, axes: Sequence[int], name: str) -> tf.Tensor:
    """Repeats dimensions that turn out to be 1 to the size that the caller gave."""
    static = x.shape.as_list()
    if all(static[axis] == size for axis in axes):
        return x
    shape = [size if axis in axes else own for axis, own in enumerate(static)]
    target = [tf.shape(x)[axis] if own is None else own for axis, own in enumerate(shape)]
    stretched: tf.Tensor = tf.broadcast_to(x, target, name=name)
    stretched.set_shape(shape)
    return stretched


def op_name(*words: object) -> str:
    """What is required, as the name of an op, which TensorFlow and XLA show where it fails."""
    letters = "_".join(map(str, words)).replace(",", "_").replace("->", "_to_")
    return "".join(
        x if x == "_" or (x.isascii() and x.isalnum()) else "_" if x.isascii() else f"U{ord(x):04X}"
        for x in letters
    )


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
        ensure_rank(x, len(subscripts), f"operand {k}")
        if x.shape.rank is None and ELLIPSIS not in subscripts
        else x
        for k, (x, subscripts) in enumerate(zip(operands, equation.inputs, strict=True))
    ]
    if all(x.shape.rank is not None for x in ranked):
        return None, ranked, None
    return _merge_ellipses(equation, ranked)


def ensure_rank(x: tf.Tensor, rank: int, whose: str) -> tf.Tensor:
    """Gives a tensor a rank; where it has another, an op whose name says `whose` fails."""
    # The shape is checked, not the tensor: forward mode cannot follow tf.ensure_shape of a tensor.
    # Not by a reshape: of two in a row, TensorFlow drops the first. And the gradient is what comes
    # in: a broadcast's asks for shapes, which XLA does not know in a branch.
    name = op_name("requires rank", rank, "for", whose)

    def check(x: tf.Tensor) -> tf.Tensor:
        checked: tf.Tensor = tf.broadcast_to(x, tf.ensure_shape(tf.shape(x), [rank], name=name))
        return checked

    return with_rule(check, lambda operands, cotangent, needed: [cotangent], [x])


def _merge_ellipses(
    equation: Equation, operands: Sequence[tf.Tensor]
) -> tuple[Equation, list[tf.Tensor], tf.Tensor]:
    """The work of `give_ranks` where some operand with an ellipsis has no known rank."""
    label = next(fresh_labels("".join((*equation.inputs, equation.output))))
    terms = zip(operands, equation.inputs, strict=True)
    parts = [_split(x, subscripts, k) for k, (x, subscripts) in enumerate(terms)]
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


def _split(x: tf.Tensor, subscripts: str, k: int) -> Split | None:
    """The shape of an operand before, of and after its ellipsis; None for one without."""
    if ELLIPSIS not in subscripts:
        return None
    before, after = (len(part) for part in subscripts.split(ELLIPSIS))
    message = f"einsum requires rank {before + after} or more for operand {k}"
    with tf.control_dependencies([tf.debugging.assert_rank_at_least(x, before + after, message)]):
        shape = tf.identity(tf.shape(x))
    end = tf.size(shape) - after
    return shape[:before], shape[before:end], shape[end:]
