"""Sizes of labels and shapes of tensors, where some are only known when the tensors are there.

A size is a Python integer where it is known; else it is read off an operand, in the graph that runs
the kernel and only when a kernel asks for it. Nothing is kept from one graph for another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import tensorflow as tf

from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.raw import ops
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.instructions import Groups

__all__ = ["Dim", "Place", "Sizes", "int_constant", "leave_one", "product", "shape_of"]


class Place(NamedTuple):
    """A dimension of a tensor, for its size."""

    x: tf.Tensor
    axis: int


Dim = int | tf.Tensor  # a tensor of the graph being traced: scalar, int32
Entry = int | tf.Tensor | Place  # what a shape is put together from


class Sizes:
    """The sizes of a contraction's labels.

    Args:
        contraction: whose labels; sizes that it knows are used as they are.
        operands: where the others are read, if need be.
        given: sizes of labels that no operand has.
        shares: whether another view of a tensor may be one that was made before.
        like: a tensor that has the result's shape, if there is one.
    """

    __slots__ = (
        "_elastic",
        "_given",
        "_known",
        "_like",
        "_operands",
        "_output",
        "_shapes",
        "_shares",
        "_terms",
    )

    def __init__(
        self,
        contraction: Contraction,
        operands: Sequence[tf.Tensor] = (),
        given: Mapping[str, Dim] | None = None,
        shares: bool = False,
        like: tf.Tensor | None = None,
    ) -> None:
        self._known = {label: size for label, size in contraction.sizes if size is not None}
        self._elastic = contraction.elastic
        self._terms = contraction.equation.inputs
        self._operands = operands
        self._given = given or {}
        self._shares = shares
        self._like = like
        self._output = tuple(contraction.equation.output)
        self._shapes: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def known(self, group: str) -> int | None:
        """The size of a group of labels; None where one is unknown."""
        try:
            return math.prod([self._known[label] for label in group])
        except KeyError:
            return None

    def known_shape(self, groups: Groups) -> tf.Tensor | None:
        """The shape that these groups make; None where a size is unknown."""
        try:
            return int_constant([math.prod([self._known[x] for x in group]) for group in groups])
        except KeyError:
            return None

    def read(self, group: str) -> Dim:
        """The size of a group of labels, as a tensor where one is unknown."""
        return product([self._read_label(label) for label in group])

    def entries(self, groups: Groups, source: Groups, x: tf.Tensor) -> list[Entry]:
        """A size for each group; what `x`, of the groups `source`, has itself is read off it."""
        if self._like is not None and groups == self._output:
            return [_settled(Place(self._like, axis)) for axis in range(len(groups))]
        entries: list[Entry] = []
        for group in groups:
            known = self.known(group)
            if known is not None:
                entries.append(known)
            elif group in source:
                entries.append(_settled(Place(x, source.index(group))))
            elif group in self._elastic or group in self._given or len(group) > 1:
                entries.append(self.read(group))
            else:  # neighbors are one slice of a shape
                entries.append(self._places(group)[0])
        return entries

    def shape_but_one(self, groups: Groups) -> tf.Tensor | None:
        """The shape for a reshape that finds out its only unknown size, without reading that.

        None where more sizes are unknown, or one beside it is 0.
        """
        known = [self.known(group) for group in groups]
        if known.count(None) != 1 or 0 in known:
            return None
        return int_constant([-1 if size is None else size for size in known])

    def stretched_shape(self, k: int, labels: str) -> tf.Tensor:
        """The shape of operand `k` where `labels` have the size that the other operand has."""
        if self._terms[0] == self._terms[1]:
            other = self.shape(self._operands[1 - k])
        else:
            other = self.join(self._other_entries(k, labels))
        shape: tf.Tensor = ops.BroadcastArgs(s0=self.shape(self._operands[k]), s1=other)
        return shape

    def join(self, entries: Sequence[Entry]) -> tf.Tensor:
        """A shape, in as few ops as that takes; a function's graph has each once."""
        if all(isinstance(entry, int) for entry in entries):
            return int_constant(entries)  # type: ignore[arg-type]
        key = tuple([(id(e.x), e.axis) if isinstance(e, Place) else e for e in entries])
        if any(isinstance(entry, tf.Tensor) for entry in entries):
            return self._concatenate(entries)
        kept = [entry.x for entry in entries if isinstance(entry, Place)]
        return _once(("shape", key), kept, lambda: self._concatenate(entries))

    def _concatenate(self, entries: Sequence[Entry]) -> tf.Tensor:
        parts = [self._part(run) for run in _runs(entries)]
        if len(parts) == 1:
            return parts[0]
        joined: tf.Tensor = ops.ConcatV2(values=parts, axis=int_constant(0))
        return joined

    def shape(self, x: tf.Tensor) -> tf.Tensor:
        """The shape of a tensor as a vector, taken once."""
        if id(x) not in self._shapes:
            self._shapes[id(x)] = x, shape_of(x)
        return self._shapes[id(x)][1]

    def reshape(self, x: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """A tensor of another shape."""
        key = "reshape", id(x), id(shape)
        return _once(key, [x, shape], lambda: ops.Reshape(tensor=x, shape=shape), self._shares)

    def _other_entries(self, k: int, labels: str) -> list[Entry]:
        """What the other operand than `k` has where operand `k` has `labels`, 1 elsewhere.

        Leading ones are left out, since shapes broadcast from the right.
        """
        own, other = self._terms[k], 1 - k
        start = min(own.index(label) for label in labels)
        return [
            _settled(Place(self._operands[other], self._terms[other].index(label)))
            if label in labels
            else 1
            for label in own[start:]
        ]

    def _part(self, run: Sequence[Entry]) -> tf.Tensor:
        first = run[0]
        if isinstance(first, Place):
            shape, start = self.shape(first.x), first.axis
            if len(run) == first.x.shape.rank:
                return shape
            begin, end, step = (int_constant([n]) for n in (start, start + len(run), 1))
            part: tf.Tensor = ops.StridedSlice(input=shape, begin=begin, end=end, strides=step)
            return part
        if isinstance(first, int):
            return int_constant([entry for entry in run if isinstance(entry, int)])
        return tf.stack(run)

    def _read_label(self, label: str) -> Dim:
        if label in self._known:
            return self._known[label]
        if label in self._given:
            return self._given[label]
        places = self._places(label)
        if label not in self._elastic:
            return places[0] if isinstance(places[0], int) else self.join(places[:1])[0]
        lhs, rhs = (self.join([place]) for place in places)
        size: tf.Tensor = ops.BroadcastArgs(s0=lhs, s1=rhs)[0]
        return size

    def _places(self, label: str) -> list[int | Place]:
        """The dimension of each operand that has a label."""
        return [
            _settled(Place(self._operands[k], term.index(label)))
            for k, term in enumerate(self._terms)
            if label in term
        ]


def product(factors: Sequence[Dim]) -> Dim:
    """The product of sizes; an integer if all are."""
    known = math.prod(f for f in factors if isinstance(f, int))
    unknown = [f for f in factors if not isinstance(f, int)]
    if not unknown:
        return known
    rest = reduce(tf.multiply, unknown)
    return rest if known == 1 else rest * known


def leave_one(entries: Sequence[Entry]) -> list[Entry]:
    """The shape for a reshape, which finds out one unknown size by itself.

    But not beside a 0, where any would do.
    """
    unknown = [axis for axis, entry in enumerate(entries) if not isinstance(entry, int)]
    if len(unknown) != 1 or 0 in [entry for entry in entries if isinstance(entry, int)]:
        return list(entries)
    return [-1 if axis in unknown else entry for axis, entry in enumerate(entries)]


def _settled(place: Place) -> int | Place:
    """A dimension that the graph knows, as an integer."""
    static = place.x.shape[place.axis]
    return place if static is None else int(static)


def _runs(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Splits entries into runs that are one vector each: integers, or neighbors in one tensor."""
    run: list[Entry] = []
    for entry in entries:
        if run and not _continues(run[-1], entry):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _continues(last: Entry, entry: Entry) -> bool:
    if isinstance(last, Place):
        return isinstance(entry, Place) and (entry.x is last.x and entry.axis == last.axis + 1)
    return isinstance(last, int) == isinstance(entry, int) and not isinstance(entry, Place)


def shape_of(x: tf.Tensor) -> tf.Tensor:
    """The shape of a tensor as a vector, once in each function's graph."""
    return _once(("shape", id(x)), [x], lambda: ops.Shape(input=x))


def _once(
    key: object, kept: Sequence[tf.Tensor], make: Callable[[], tf.Tensor], again: bool = True
) -> tf.Tensor:
    """What `make` makes, once in each function's graph.

    Args:
        key: what it is, with the ids of tensors.
        kept: those tensors, so that no other gets their ids.
        make: makes it.
        again: whether one that was made before serves this time.
    """
    graph: Any = tf.compat.v1.get_default_graph()
    if tf.executing_eagerly() or not private.is_plain_function(graph):
        return make()
    known = private.belongings(graph)
    if key not in known or not again:
        known[key] = make(), kept
    tensor: tf.Tensor = known[key][0]
    return tensor


def int_constant(numbers: int | Sequence[int]) -> tf.Tensor:
    """Shapes, axes and the like: made once in eager mode, and once in each graph."""
    key = numbers if isinstance(numbers, int) else tuple(numbers)
    if tf.executing_eagerly():
        return _eager_constant(key)
    known = private.belongings(tf.compat.v1.get_default_graph())
    if key not in known:
        # Outside of branches and loops of TensorFlow 1, and before whatever waits for a check.
        with tf.control_dependencies(None):
            known[key] = _constant(key)
    constant: tf.Tensor = known[key]
    return constant


@lru_cache(maxsize=4096)
def _eager_constant(numbers: int | tuple[int, ...]) -> tf.Tensor:
    with tf.device("CPU:0"):
        return _constant(numbers)


def _constant(numbers: int | tuple[int, ...]) -> tf.Tensor:
    largest = numbers if isinstance(numbers, int) else max(numbers, default=0)
    return tf.constant(numbers, tf.int64 if largest >= 2**31 else tf.int32)
