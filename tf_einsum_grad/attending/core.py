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

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tf_einsum_grad.attending.blocks import Blocks
from tf_einsum_grad.attending.cuts import Cuts, Operands, dims_of, size_of
from tf_einsum_grad.attending.equation import AttentionEquation
from tf_einsum_grad.attending.masks import Extra, Place, Rules, keep_factors, take
from tf_einsum_grad.attending.pieces import Pieces
from tf_einsum_grad.execution.call import run_call

__all__ = ["Attention", "Operands"]


def einsum(equation: str, *operands: tf.Tensor) -> tf.Tensor:
    """An einsum with the gradients of this package."""
    return run_call(equation, operands)


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
        n_rows, n_keys = size_of(x.query, e.query, e.rows), size_of(x.key, e.key, e.keys)
        place = Place(0, 0, n_rows, n_keys)
        scores = self._scores(x, x.query * self.scale, x.key, None)
        valid = self._valid(x, place, n_keys, False, None)
        weights = self._softmax(scores, valid)
        weights = self._dropped(weights, x, place, n_rows)
        return einsum(f"{e.scores},{e.value}->{e.output}", weights, x.value)

    def _softmax(self, scores: tf.Tensor, valid: tf.Tensor | None) -> tf.Tensor:
        """The weights of all keys; zeros of a row that sees none."""
        if self.bias is not None:  # one of -inf masks, and may mask a whole row
            seen = scores > scores.dtype.min
            valid = seen if valid is None else seen & valid
        # Of a row that sees no key the softmax is of equal numbers: nothing of it is left.
        weights = tf.nn.softmax(_where(valid, scores, scores.dtype.min))
        return _where(valid, weights, 0.0)

    def _scores(
        self, x: Operands, query: tf.Tensor, key: tf.Tensor, cut: Place | None
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
        if not self.blocks.pieces:
            return self._forward(x, 0)
        e, pieces = self.equation, self._pieces(x)

        def one(i: Any, outputs: Any, logs: Any) -> tuple[Any, ...]:
            output, log = self._forward(self._piece(x, pieces, i), i)
            return i + 1, outputs.write(i, output), logs.write(i, log)

        arrays = [tf.TensorArray(x.query.dtype, pieces.count) for _ in range(2)]
        _, outputs, logs = _loop(lambda i, *_: i < pieces.count, one, (0, *arrays))
        return pieces.joined(outputs, e.output), pieces.joined(logs, e.normaliser)

    def _pieces(self, x: Operands) -> Pieces:
        e = self.equation
        sizes = dict(zip(e.key, dims_of(x.key), strict=True))
        sizes |= dict(zip(e.query, dims_of(x.query), strict=True))
        return Pieces({label: sizes[label] for label in e.normaliser if label != e.rows})

    def _piece(self, x: Operands, pieces: Pieces, i: Any) -> Operands:
        e = self.equation
        return Operands(
            pieces.cut(x.query, e.query, i),
            pieces.cut(x.key, e.key, i),
            pieces.cut(x.value, e.value, i),
            pieces.cut(x.mask, self.mask.subscripts if self.mask else "", i),
            pieces.cut(x.bias, self.bias.subscripts if self.bias else "", i),
            x.seed,
        )

    def _forward(self, x: Operands, piece: Any) -> tuple[tf.Tensor, tf.Tensor]:
        e, cuts = self.equation, self._cuts(x, piece)
        x = cuts.pad(x)

        def rows(i: Any, outputs: Any, logs: Any) -> tuple[Any, ...]:
            query = take(x.query, e.query.index(e.rows), i * cuts.n_rows, cuts.n_rows) * self.scale

            def block(j: Any) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor, Place]:
                place = cuts.place(i, j)
                key, value = self._keys(x, place)
                valid = self._valid(x, place, cuts.all_keys, cuts.pads_keys, place)
                return self._scores(x, query, key, place), valid, value, place

            def written(result: tf.Tensor, log: tf.Tensor) -> tuple[Any, ...]:
                axis = len(e.normaliser) - 1
                return (
                    i + 1,
                    outputs.write(i, _first(result, axis)),
                    logs.write(i, _first(log, axis)),
                )

            if cuts.one_block:
                scores, valid, value, place = block(0)
                weights = self._dropped(self._softmax(scores, valid), x, place, cuts.all_rows)
                result = einsum(f"{e.scores},{e.value}->{e.result}", weights, value)
                _, log, _ = cuts.start(x)
                return written(result, log)  # which is not needed

            def keys(j: Any, highest: Any, total: Any, result: Any) -> tuple[Any, ...]:
                scores, valid, value, place = block(j)
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
            return written(result, log)

        arrays = [tf.TensorArray(x.query.dtype, cuts.row_blocks) for _ in range(2)]
        _, outputs, logs = _loop(lambda i, *_: i < cuts.row_blocks, rows, (0, *arrays))
        whole = self._whole(outputs.concat(), e.rows, e.result, cuts.all_rows, e.output)
        return whole, self._whole(logs.concat(), e.rows, e.normaliser, cuts.all_rows, e.normaliser)

    def _cuts(self, x: Operands, piece: Any) -> Cuts:
        e = self.equation
        n_rows, n_keys = size_of(x.query, e.query, e.rows), size_of(x.key, e.key, e.keys)
        return Cuts(e, self.blocks, (self.mask, self.bias), n_rows, n_keys, piece)

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
        if not self.blocks.pieces:
            return self._backward(x, result, log, cotangent, 0)
        e, pieces = self.equation, self._pieces(x)
        terms = (e.query, e.key, e.value)

        def one(i: Any, *arrays: Any) -> tuple[Any, ...]:
            own_result, own_cotangent = (pieces.cut(y, e.output, i) for y in (result, cotangent))
            own_log = pieces.cut(log, e.normaliser, i)
            own = self._piece(x, pieces, i)
            found = self._backward(own, own_result, own_log, own_cotangent, i)
            added = zip(arrays, found, terms, strict=True)
            return i + 1, *(pieces.add(array, i, dx, term) for array, dx, term in added)

        like = zip((x.query, x.key, x.value), terms, strict=True)
        arrays = [pieces.array(y, term) for y, term in like]
        _, *arrays = _loop(lambda i, *_: i < pieces.count, one, (0, *arrays))
        found = (pieces.joined(array, term) for array, term in zip(arrays, terms, strict=True))
        d_query, d_key, d_value = found
        return d_query, d_key, d_value

    def _backward(
        self, x: Operands, result: tf.Tensor, log: tf.Tensor, cotangent: tf.Tensor, piece: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        e, cuts = self.equation, self._cuts(x, piece)
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

            block = _RowBlock.of(e, query, d_out, delta_i, log_i)

            def keys(j: Any, d_query: Any, d_keys: Any, d_values: Any) -> tuple[Any, ...]:
                found = self._pull_block(x, cuts, block, cuts.place(i, j))
                return (
                    j + 1,
                    d_query + found[0],
                    d_keys.write(j, d_keys.read(j) + found[1]),
                    d_values.write(j, d_values.read(j) + found[2]),
                )

            if cuts.one_block:
                _, d_query, d_keys, d_values = keys(0, tf.zeros_like(query), d_keys, d_values)
            else:
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
            self._whole(_by_key(d_keys), e.keys, e.key, cuts.all_keys, e.key),
            self._whole(_by_key(d_values), e.keys, e.value, cuts.all_keys, e.value),
        )

    def _pull_block(
        self, x: Operands, cuts: Cuts, rows: _RowBlock, place: Place
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What a block of scores adds to the gradients; those of key and value have keys last."""
        e = self.equation
        key, value = self._keys(x, place)
        scores = self._scores(x, rows.query, key, place)
        valid = self._valid(x, place, cuts.all_keys, cuts.pads_keys, place)
        if cuts.one_block:
            weights = self._softmax(scores, valid)
        else:
            weights = _where(valid, tf.exp(scores - _column(rows.log, 1)), 0.0)
        d_weights = einsum(f"{e.result},{e.value}->{e.scores}", rows.d_out, value)
        kept = weights
        if self.dropout:
            factors = keep_factors(weights, place, cuts.all_rows, self.dropout, x.seed)
            kept, d_weights = weights * factors, d_weights * factors
        d_scores = weights * (d_weights - _column(rows.delta, 1))
        query_t, result_t = (_turned(term, e.rows) for term in (e.query, e.result))
        return (
            einsum(f"{e.scores},{e.key}->{e.query}", d_scores, key),
            einsum(f"{query_t},{e.scores}->{_turned(e.key, e.keys)}", rows.query_t, d_scores),
            einsum(f"{result_t},{e.scores}->{_turned(e.value, e.keys)}", rows.d_out_t, kept),
        )


@dataclass(frozen=True, slots=True)
class _RowBlock:
    """What the backward pass has of a block of rows.

    Query and cotangent are here a second time, rows last: products that read them across their rows
    take longer, once for each block of keys.
    """

    query: tf.Tensor
    query_t: tf.Tensor
    d_out: tf.Tensor
    d_out_t: tf.Tensor
    delta: tf.Tensor
    log: tf.Tensor

    @classmethod
    def of(
        cls, e: AttentionEquation, query: tf.Tensor, d_out: tf.Tensor, delta: Any, log: Any
    ) -> _RowBlock:
        """Turns what is turned."""
        query_t = einsum(f"{e.query}->{_turned(e.query, e.rows)}", query)
        d_out_t = einsum(f"{e.result}->{_turned(e.result, e.rows)}", d_out)
        return cls(query, query_t, d_out, d_out_t, delta, log)


def _loop(goes_on: Any, body: Any, start: Any, maximum_iterations: Any = None) -> Any:
    """A loop, one block after another: TensorFlow would start ten at once, and hold them all."""
    return tf.while_loop(
        goes_on, body, start, parallel_iterations=1, maximum_iterations=maximum_iterations
    )


def _turned(subscripts: str, last: str) -> str:
    """The same labels, with that one last."""
    return subscripts.replace(last, "") + last


def _by_key(blocks: tf.TensorArray) -> tf.Tensor:
    """Blocks whose last axis is keys, put together along a first axis of all keys."""
    stacked = blocks.stack()
    n = stacked.shape.rank
    moved = tf.transpose(stacked, [0, n - 1, *range(1, n - 1)])
    count, block, *rest = dims_of(moved)
    whole: tf.Tensor = tf.reshape(moved, tf.stack([count * block, *rest]))
    return whole


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
