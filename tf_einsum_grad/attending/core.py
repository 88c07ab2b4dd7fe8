"""Attention at once, and a block of rows and keys at a time, forward and backward.

With scores S = scale Q K' + bias, weights P = softmax(S) and O = P V, each an einsum:

    forward, over blocks of keys:  m' = max(m, max S)    l' = l exp(m - m') + sum exp(S - m')
                                   A' = A exp(m - m') + exp(S - m') V       O = A / l at the end
    kept:  O, and L = m + log l, one for each row
    backward:  P = exp(S - L)    dV = P' dO    dP = dO V'    dS = P (dP - rowsum(dO O))
               dQ = scale dS K    dK = dS' (scale Q)

The running maximum and sum are those of Rabe and Staats (2021, arXiv 2112.05682) and Milakov and
Gimelshein (2018); the backward pass from L alone is that of Dao et al. (2022, arXiv 2205.14135).
Each product is the equation with subscripts in each other's places, as in every einsum's gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_einsum_grad.attending.blocks import Blocks
from tf_einsum_grad.attending.equation import AttentionEquation
from tf_einsum_grad.attending.masks import Extra, Place, Rules, keep_factors, take
from tf_einsum_grad.execution.call import run_call

__all__ = ["Attention", "Operands"]


def einsum(equation: str, *operands: tf.Tensor) -> tf.Tensor:
    """An einsum with the gradients of this package."""
    return run_call(equation, operands)


@dataclass(frozen=True)
class Operands:
    """The tensors of one call; query, key and value in the dtype that all is computed in."""

    query: tf.Tensor
    key: tf.Tensor
    value: tf.Tensor
    mask: Any
    bias: Any
    seed: Any


@dataclass(frozen=True, slots=True)
class Attention:
    """All that is decided about a call.

    Attributes:
        equation: what it computes.
        scale: what scores are multiplied by.
        rules: which keys a row may see.
        mask, bias: subscripts of these; None where there is none.
        dropout: the share of weights that are dropped.
        blocks: how it runs.
    """

    equation: AttentionEquation
    scale: float
    rules: Rules
    mask: Extra | None
    bias: Extra | None
    dropout: float
    blocks: Blocks

    # At once -------------------------------------------------------------------------------------

    def dense(self, x: Operands) -> tf.Tensor:
        """With a tensor of all scores; TensorFlow differentiates it, to any order."""
        e = self.equation
        n_rows, n_keys = _size(x.query, e.query, e.rows), _size(x.key, e.key, e.keys)
        place = Place(0, 0, n_rows, n_keys)
        scores = self._scores(x, x.query * self.scale, x.key, place, None)
        valid = self._valid(x, place, n_keys, False, None)
        if self.bias is not None:  # one of -inf masks, and may mask a whole row
            seen = scores > scores.dtype.min
            valid = seen if valid is None else seen & valid
        # Of a row that sees no key the softmax is of equal numbers: nothing of it is left.
        weights = tf.nn.softmax(_where(valid, scores, scores.dtype.min))
        weights = _where(valid, weights, 0.0)
        weights = self._dropped(weights, x, place, n_rows)
        return einsum(f"{e.scores},{e.value}->{e.output}", weights, x.value)

    def _scores(
        self, x: Operands, query: tf.Tensor, key: tf.Tensor, place: Place, cut: Place | None
    ) -> tf.Tensor:
        e = self.equation
        scores = einsum(f"{e.query},{e.key}->{e.scores}", query, key)
        if self.bias is not None:
            scores += tf.cast(self.bias.block(x.bias, e, cut), scores.dtype)
        return scores

    def _valid(
        self, x: Operands, place: Place, n_keys: Any, padded: bool, cut: Place | None
    ) -> tf.Tensor | None:
        valid = self.rules.valid(place, n_keys, padded)
        if self.mask is not None:
            mask = self.mask.block(x.mask, self.equation, cut)
            valid = mask if valid is None else mask & valid
        return valid

    def _dropped(self, weights: tf.Tensor, x: Operands, place: Place, n_rows: Any) -> tf.Tensor:
        if not self.dropout:
            return weights
        return weights * keep_factors(weights, place, n_rows, self.dropout, x.seed)

    # A block at a time ---------------------------------------------------------------------------

    def forward(self, x: Operands) -> tuple[tf.Tensor, tf.Tensor]:
        """The result, and L of each row; memory grows with rows plus keys."""
        e, cuts = self.equation, _Cuts.of(self, x)
        x = cuts.pad(x)

        def rows(i: Any, outputs: Any, logs: Any) -> tuple[Any, ...]:
            query = take(x.query, e.query.index(e.rows), i * cuts.n_rows, cuts.n_rows) * self.scale

            def keys(j: Any, highest: Any, total: Any, result: Any) -> tuple[Any, ...]:
                place = cuts.place(i, j)
                key, value = self._keys(x, place)
                scores = self._scores(x, query, key, place, place)
                valid = self._valid(x, place, cuts.all_keys, cuts.pads_keys, place)
                scores = _where(valid, scores, scores.dtype.min)
                new = tf.maximum(highest, tf.reduce_max(scores, -1))
                weights = _where(valid, tf.exp(scores - _column(new, 1)), 0.0)
                old = tf.exp(highest - new)
                total = total * old + tf.reduce_sum(weights, -1)
                weights = self._dropped(weights, x, place, cuts.all_rows)
                part = einsum(f"{e.scores},{e.value}->{e.result}", weights, value)
                return j + 1, new, total, result * _column(old, e.n_values) + part

            first, last = self.rules.range(cuts.place(i, 0), cuts.key_blocks)
            start = cuts.start(x)
            _, highest, total, result = _loop(
                lambda j, *_: j < last, keys, (first, *start), maximum_iterations=cuts.key_blocks
            )
            result = tf.math.divide_no_nan(result, _column(total, e.n_values))
            log = tf.where(total > 0, highest + tf.math.log(tf.maximum(total, 1e-37)), 0.0)
            axis = len(e.normaliser) - 1
            return i + 1, outputs.write(i, _first(result, axis)), logs.write(i, _first(log, axis))

        arrays = [tf.TensorArray(x.query.dtype, cuts.row_blocks) for _ in range(2)]
        _, outputs, logs = _loop(lambda i, *_: i < cuts.row_blocks, rows, (0, *arrays))
        whole = self._whole(outputs.concat(), e.rows, e.result, cuts.all_rows, e.output)
        return whole, self._whole(logs.concat(), e.rows, e.normaliser, cuts.all_rows, e.normaliser)

    def _keys(self, x: Operands, place: Place) -> tuple[tf.Tensor, tf.Tensor]:
        e = self.equation
        key = take(x.key, e.key.index(e.keys), place.key, place.n_keys)
        return key, take(x.value, e.value.index(e.keys), place.key, place.n_keys)

    @staticmethod
    def _whole(x: tf.Tensor, label: str, subscripts: str, size: Any, wanted: str) -> tf.Tensor:
        """Blocks that were put together along a first axis, without what pads them, in order."""
        stacked = label + subscripts.replace(label, "")
        return tf.transpose(x[:size], [stacked.index(other) for other in wanted])

    def backward(
        self, x: Operands, result: tf.Tensor, log: tf.Tensor, cotangent: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The gradients of query, key and value; blocks of scores are computed again."""
        e, cuts = self.equation, _Cuts.of(self, x)
        x = cuts.pad(x)
        # rowsum(dO O), one for each row.
        delta = einsum(f"{e.output},{e.output}->{e.normaliser}", cotangent, result)
        aligned = einsum(f"{e.output}->{e.result}", cotangent)
        row = len(e.normaliser) - 1
        aligned, delta, log = (cuts.pad_rows(y, row) for y in (aligned, delta, log))

        def rows(i: Any, d_queries: Any, d_keys: Any, d_values: Any) -> tuple[Any, ...]:
            start = i * cuts.n_rows
            query = take(x.query, e.query.index(e.rows), start, cuts.n_rows) * self.scale
            d_out, delta_i, log_i = (
                take(y, row, start, cuts.n_rows) for y in (aligned, delta, log)
            )

            def keys(j: Any, d_query: Any, d_keys: Any, d_values: Any) -> tuple[Any, ...]:
                place = cuts.place(i, j)
                key, value = self._keys(x, place)
                scores = self._scores(x, query, key, place, place)
                valid = self._valid(x, place, cuts.all_keys, cuts.pads_keys, place)
                weights = _where(valid, tf.exp(scores - _column(log_i, 1)), 0.0)
                d_weights = einsum(f"{e.result},{e.value}->{e.scores}", d_out, value)
                kept = weights
                if self.dropout:
                    factors = keep_factors(weights, place, cuts.all_rows, self.dropout, x.seed)
                    kept, d_weights = weights * factors, d_weights * factors
                d_scores = weights * (d_weights - _column(delta_i, 1))
                d_query += einsum(f"{e.scores},{e.key}->{e.query}", d_scores, key)
                d_key = einsum(f"{e.query},{e.scores}->{cuts.key_first}", query, d_scores)
                d_value = einsum(f"{e.scores},{e.result}->{cuts.value_first}", kept, d_out)
                return (
                    j + 1,
                    d_query,
                    d_keys.write(j, d_keys.read(j) + d_key),
                    d_values.write(j, d_values.read(j) + d_value),
                )

            first, last = self.rules.range(cuts.place(i, 0), cuts.key_blocks)
            _, d_query, d_keys, d_values = _loop(
                lambda j, *_: j < last,
                keys,
                (first, tf.zeros_like(query), d_keys, d_values),
                maximum_iterations=cuts.key_blocks,
            )
            d_query = _first(d_query, e.query.index(e.rows)) * self.scale
            return i + 1, d_queries.write(i, d_query), d_keys, d_values

        d_queries = tf.TensorArray(x.query.dtype, cuts.row_blocks)
        d_keys = cuts.zeros(x.key, e.key)
        d_values = cuts.zeros(x.value, e.value)
        _, d_queries, d_keys, d_values = _loop(
            lambda i, *_: i < cuts.row_blocks, rows, (0, d_queries, d_keys, d_values)
        )
        return (
            self._whole(d_queries.concat(), e.rows, e.query, cuts.all_rows, e.query),
            self._whole(d_keys.concat(), e.keys, e.key, cuts.all_keys, e.key),
            self._whole(d_values.concat(), e.keys, e.value, cuts.all_keys, e.value),
        )


def _loop(goes_on: Any, body: Any, start: Any, maximum_iterations: Any = None) -> Any:
    """A loop, one block after another: TensorFlow would start ten at once, and hold them all."""
    return tf.while_loop(
        goes_on, body, start, parallel_iterations=1, maximum_iterations=maximum_iterations
    )


@dataclass(frozen=True)
class _Cuts:
    """Where blocks begin and end; numbers where sizes are known, else tensors."""

    attention: Attention
    all_rows: Any
    all_keys: Any

    @classmethod
    def of(cls, attention: Attention, x: Operands) -> _Cuts:
        e = attention.equation
        rows, keys = _size(x.query, e.query, e.rows), _size(x.key, e.key, e.keys)
        return cls(attention, rows, keys)

    @property
    def n_rows(self) -> int:
        return self.attention.blocks.rows

    @property
    def n_keys(self) -> int:
        return self.attention.blocks.keys

    @property
    def row_blocks(self) -> Any:
        return _n_blocks(self.all_rows, self.n_rows)

    @property
    def key_blocks(self) -> Any:
        return _n_blocks(self.all_keys, self.n_keys)

    @property
    def pads_keys(self) -> bool:
        return not isinstance(self.all_keys, int) or self.all_keys % self.n_keys != 0

    @property
    def key_first(self) -> str:
        return self.attention.equation.keys + self._without(self.attention.equation.key)

    @property
    def value_first(self) -> str:
        return self.attention.equation.keys + self._without(self.attention.equation.value)

    def _without(self, subscripts: str) -> str:
        return subscripts.replace(self.attention.equation.keys, "")

    def place(self, i: Any, j: Any) -> Place:
        return Place(i * self.n_rows, j * self.n_keys, self.n_rows, self.n_keys)

    def pad_rows(self, x: tf.Tensor, axis: int) -> tf.Tensor:
        return _pad(x, axis, self.row_blocks * self.n_rows - self.all_rows)

    def pad_keys(self, x: tf.Tensor, axis: int) -> tf.Tensor:
        return _pad(x, axis, self.key_blocks * self.n_keys - self.all_keys)

    def pad(self, x: Operands) -> Operands:
        """Operands of whole blocks."""
        e, attention = self.attention.equation, self.attention

        def extra(y: tf.Tensor | None, which: Extra | None) -> tf.Tensor | None:
            if y is None or which is None:
                return None
            for label, pad in ((e.rows, self.pad_rows), (e.keys, self.pad_keys)):
                axis = which.subscripts.find(label)
                if axis >= 0 and y.shape[axis] != 1:
                    y = pad(y, axis)
            return y

        return Operands(
            self.pad_rows(x.query, e.query.index(e.rows)),
            self.pad_keys(x.key, e.key.index(e.keys)),
            self.pad_keys(x.value, e.value.index(e.keys)),
            extra(x.mask, attention.mask),
            extra(x.bias, attention.bias),
            x.seed,
        )

    def start(self, x: Operands) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The maximum, the sum and the result before any key."""
        e = self.attention.equation
        sizes = dict(zip(e.key, _dims(x.key), strict=True))
        sizes |= dict(zip(e.value, _dims(x.value), strict=True))
        sizes |= dict(zip(e.query, _dims(x.query), strict=True)) | {e.rows: self.n_rows}
        dtype = x.query.dtype
        rows = _full([sizes[label] for label in e.normaliser], dtype.min / 2, dtype)
        return (
            rows,
            _full([sizes[label] for label in e.normaliser], 0.0, dtype),
            _full([sizes[label] for label in e.result], 0.0, dtype),
        )

    def zeros(self, x: tf.Tensor, subscripts: str) -> Any:
        """An array of a gradient of zeros for each block of keys, keys first."""
        axis = subscripts.index(self.attention.equation.keys)
        dims = _dims(x)
        dims = [self.key_blocks, self.n_keys, *dims[:axis], *dims[axis + 1 :]]
        array = tf.TensorArray(x.dtype, self.key_blocks, clear_after_read=False)
        return array.unstack(_full(dims, 0.0, x.dtype))


def _n_blocks(size: Any, block: int) -> Any:
    n = -(-size // block)
    # Loops and arrays need one block, of padding alone, where a size turns out to be 0.
    return n if isinstance(n, int) else tf.maximum(n, 1)


def _full(dims: Sequence[Any], value: float, dtype: tf.DType) -> tf.Tensor:
    filled = tf.fill(tf.stack(dims), tf.constant(value, dtype))
    known: tf.Tensor = tf.ensure_shape(filled, [n if isinstance(n, int) else None for n in dims])
    return known


def _dims(x: tf.Tensor) -> list[Any]:
    sizes = tf.shape(x)
    return [sizes[axis] if n is None else n for axis, n in enumerate(x.shape.as_list())]


def _size(x: tf.Tensor, subscripts: str, label: str) -> Any:
    return _dims(x)[subscripts.index(label)]


def _pad(x: tf.Tensor, axis: int, more: Any) -> tf.Tensor:
    if isinstance(more, int) and not more:
        return x
    return tf.pad(x, [[0, more if k == axis else 0] for k in range(x.shape.rank)])


def _first(x: tf.Tensor, axis: int) -> tf.Tensor:
    """The same with that axis first."""
    return tf.transpose(x, [axis, *(k for k in range(x.shape.rank) if k != axis)])


def _column(x: tf.Tensor, n: int) -> tf.Tensor:
    for _ in range(n):
        x = tf.expand_dims(x, -1)
    return x


def _where(valid: tf.Tensor | None, x: tf.Tensor, other: float) -> tf.Tensor:
    if valid is None:
        return x
    chosen: tf.Tensor = tf.where(valid, x, tf.constant(other, x.dtype))
    return chosen
