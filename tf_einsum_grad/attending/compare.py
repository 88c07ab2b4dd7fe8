"""What sizes of attention are compared with at run time, where they were unknown when traced."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tf_einsum_grad.attending.core import Attention
from tf_einsum_grad.execution.runtime_checks import Guard, op_name, require_size

__all__ = ["compare"]

_NAMES = ("operand 0", "operand 1", "operand 2", "mask", "bias")
# A tensor and one of its axes.
Place = tuple[tf.Tensor, int]


def compare(decided: Attention, tensors: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Compares what was unknown: a label has one size in all operands, that or 1 in mask and bias.

    Blocks are cut out of each tensor by itself, so no kernel would see that two of them differ.

    Args:
        decided: the call.
        tensors: query, key, value, mask and bias.

    Returns:
        The tensors, which wait for the comparisons; mask and bias as long as scores where they
        are cut and may turn out to have size 1.
    """
    e = decided.equation
    compared, guards = list(tensors), list[Guard]()
    first: dict[str, Place] = {}
    for k, term in enumerate((e.query, e.key, e.value)):
        x = tensors[k]
        assert x is not None
        for axis, label in enumerate(term):
            other = first.setdefault(label, (x, axis))
            if None in (x.shape[axis], _known(other)) and other[0] is not x:
                words = "label", label, _NAMES[k]
                guards += require_size(f"attention {e.text}", words, _size((x, axis)), _size(other))
    for k, extra in ((3, decided.mask), (4, decided.bias)):
        x = tensors[k]
        if x is None or extra is None:
            continue
        unknown = {
            label: axis
            for axis, label in enumerate(extra.subscripts)
            if x.shape[axis] != 1 and None in (x.shape[axis], _known(first[label]))
        }
        for label in sorted(unknown.keys() & {e.rows, e.keys}):
            x = _stretch(x, unknown.pop(label), first[label], label, _NAMES[k])
        for label, axis in sorted(unknown.items()):
            got, size = _size((x, axis)), _size(first[label])
            size = tf.where(tf.equal(got, 1), 1, size)
            guards += require_size(f"attention {e.text}", ("label", label, _NAMES[k]), got, size)
        compared[k] = x
    if not guards:
        return compared
    with tf.control_dependencies(guards):
        return [x if x is None else tf.identity(x) for x in compared]


def _known(place: Place) -> int | None:
    size: int | None = place[0].shape[place[1]]
    return size


def _size(place: Place) -> tf.Tensor:
    return tf.shape(place[0])[place[1]]


def _stretch(x: tf.Tensor, axis: int, wanted: Place, label: str, whose: str) -> tf.Tensor:
    """Repeats a dimension that turns out to be 1; TensorFlow copies nothing where it is not."""
    known = x.shape.as_list()
    shape = [tf.shape(x)[k] if size is None else size for k, size in enumerate(known)]
    shape[axis] = _size(wanted)
    name = op_name("requires one size for label", label, "of", whose)
    stretched: tf.Tensor = tf.broadcast_to(x, shape, name=name)
    known[axis] = _known(wanted) if known[axis] is None else known[axis]
    stretched.set_shape(known)
    return stretched
