"""The public `attention`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.equation import fresh_labels, parse_call
from tf_einsum_grad.algebra.errors import EinsumError, EquationError, OperandError, SizeError
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.attending.blocks import choose_blocks
from tf_einsum_grad.attending.compare import compare
from tf_einsum_grad.attending.core import Attention, Operands
from tf_einsum_grad.attending.equation import AttentionEquation, read_attention
from tf_einsum_grad.attending.masks import Extra, Rules
from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.machines import machine_of
from tf_einsum_grad.execution.operands import convert_operands
from tf_einsum_grad.execution.runtime_checks import ensure_rank, give_ranks
from tf_einsum_grad.execution.vjp import Gradients, with_rule
from tf_einsum_grad.planning.limit import MemoryLimit, read_limit

__all__ = ["attention"]

_WIDE = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
_UNKNOWN = 64  # what batch and heads are taken for where they are unknown


@private.leave_unconverted
def attention(
    equation: str,
    query: Any,
    key: Any,
    value: Any,
    *,
    scale: float | None = None,
    causal: bool | str = False,
    mask: tuple[str, Any] | None = None,
    bias: tuple[str, Any] | None = None,
    window: int | None = None,
    dropout: float = 0.0,
    seed: Any = None,
    block: str | int = "auto",
    memory_limit: MemoryLimit = None,
) -> tf.Tensor:
    """An einsum with a softmax in the middle, in memory that does not grow with rows times keys.

    The label that key and value share and query and output lack is the one that is normalised;
    labels that query and key alone share are contracted by the scores; every other label is batch
    or free. So multi-head ("btnh,bsnh,bsnv->btnv"), grouped-query ("btngh,bsnh,bsnv->btngv") and
    multi-query attention ("btnh,bsh,bsv->btnv"), any layout and more batch labels are equations.

    Scores are computed a block at a time, forward and backward, where that is faster or all of them
    do not fit; what is kept for the backward pass is the result and one number for each row
    (`docs/attention.md` derives it). Gradients of gradients, forward mode, and the gradient of a
    bias compute all scores at once.

    Args:
        equation: of three operands, explicit.
        query, key, value: tensors, variables or arrays of one floating dtype.
        scale: what scores are multiplied by; by default 1 over the root of what they sum over.
        causal: whether row i sees keys 0 to i alone. Rows are counted along the one label that
            query and output alone have; where there are several, its name: `causal="t"`.
        mask: subscripts, of scores' labels, and a tensor of bools: True where a row may see a key.
        bias: subscripts and a tensor that is added to the scores. Sizes of 1 broadcast in both.
        window: a row sees keys less than this far away alone.
        dropout: the share of weights that are dropped, the same ones in both passes.
        seed: of dropout: an integer or two of them; by default drawn anew in each call.
        block: "auto", or how many rows and keys a block has.
        memory_limit: bytes, "512MB" or "1GiB", that scores may take; by default up to 2 GiB, where
            that is fastest.

    Returns:
        A tensor of the operands' dtype. Half types are computed in float32. A row that may see no
        key gives zeros, and has no gradient.

    Raises:
        EinsumError: the equation, the operands or an option make no sense; its kinds say what.

    Example:
        >>> x = tf.ones([1, 4, 2, 8])
        >>> attention("btnh,bsnh,bsnh->btnh", x, x, x, causal=True).shape
        TensorShape([1, 4, 2, 8])
    """
    text = equation
    operands = convert_operands(text, [query, key, value])
    dtype = operands[0].dtype
    if dtype.name not in _WIDE:
        raise OperandError(f"attention {text!r} requires floating operands, got {dtype.name}")
    if any(x.shape.rank is None for x in operands):
        merged, operands, _ = give_ranks(parse_call(text, 3), operands)
        if merged is not None:
            raise SizeError(f"attention {text!r} requires operands of known ranks where it has ...")
    shapes: list[Any] = [private.shape_tuple(x) for x in operands]
    found = read_attention(text, tuple(shapes), causal if isinstance(causal, str) else "")
    _check_options(text, found, causal, window, dropout, scale)
    operands, found, squeezed = _with_rows(operands, found)
    sizes = _sizes(operands, found)
    masked = _extra(text, found, sizes, "mask", mask)
    biased = _extra(text, found, sizes, "bias", bias)
    contracted = [sizes[x] for x in found.query if x not in found.scores]
    if scale is None:
        if None in contracted:
            raise SizeError(f"attention {text!r} requires a scale where what scores sum is unknown")
        scale = 1 / math.sqrt(math.prod(size or 1 for size in contracted) or 1)
    others = math.prod(sizes[x] or _UNKNOWN for x in found.normaliser if x != found.rows)
    machine = machine_of(operands, "eager" if tf.executing_eagerly() else "graph")
    rules, n_rows, n_keys = Rules(bool(causal), window), sizes[found.rows], sizes[found.keys]
    blocks = choose_blocks(
        n_rows,
        n_keys,
        others,
        machine,
        block,
        read_limit(memory_limit),
        depth=math.prod(size or 1 for size in contracted),
        seen=rules.seen(n_rows, n_keys),
    )
    decided = Attention(
        found,
        float(scale),
        rules,
        masked and masked[0],
        biased and biased[0],
        float(dropout),
        blocks,
    )
    given = [*operands, masked and masked[1], biased and biased[1]]
    result = _attend(decided, [*compare(decided, given), _seed(seed) if dropout else None])
    return tf.squeeze(result, -1) if squeezed else result


def _attend(decided: Attention, tensors: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """Runs what was decided on query, key, value, mask, bias and seed."""
    given = [x for x in tensors if x is not None]
    blocks = private.HAS_RECORD and not decided.blocks.dense
    if not blocks or _is_empty(tensors) or private.has_tangents(given):
        return _run_dense(decided, tensors)
    places = [k for k, x in enumerate(tensors) if x is not None]
    run = _forward(decided, tuple(places))
    with private.stopped():
        result, log = run(*given)

    def pull_back(
        operands: Sequence[tf.Tensor], cotangent: tf.Tensor, needed: Sequence[bool]
    ) -> Gradients:
        *given, result, log = operands
        known = dict(zip(places, given, strict=True))
        gradients: dict[int, tf.Tensor] = {}
        bias = places.index(4) if 4 in places else None
        followed = [*given[:3], *([given[bias]] if bias is not None else []), cotangent]
        if private.recording() and any(map(private.needs_gradient, followed)):
            gradients = _dense_gradients(decided, known, cotangent, (0, 1, 2, 4))
        else:
            if any(needed[:3]):
                pulled = _backward(decided, tuple(places))(*given, result, log, cotangent)
                gradients = {k: _final(x) for k, x in enumerate(pulled)}
            if bias is not None and needed[bias]:
                gradients |= _dense_gradients(decided, known, cotangent, (4,))
        return [*(gradients.get(k) for k in places), None, None]

    return with_rule(lambda *x: tf.identity(x[-2]), pull_back, [*given, result, log])


def _final(gradient: tf.Tensor) -> tf.Tensor:
    """A gradient that TensorFlow's graphs refuse to differentiate again, rather than wrongly."""
    stopped: tf.Tensor = tf.raw_ops.PreventGradient(
        input=gradient,
        message="attention in blocks: take second derivatives under a tf.GradientTape",
    )
    return stopped


def _is_empty(tensors: Sequence[tf.Tensor | None]) -> bool:
    return any(0 in x.shape.as_list() for x in tensors[:3] if x is not None)


def _operands(tensors: Sequence[tf.Tensor | None]) -> Operands:
    query = tensors[0]
    assert query is not None
    wide = _WIDE[query.dtype.name]
    cast = [x if x is None else tf.cast(x, wide) for x in tensors[:3]]
    return Operands(*cast, *tensors[3:])  # type: ignore[arg-type]


def _run_dense(decided: Attention, tensors: Sequence[tf.Tensor | None]) -> tf.Tensor:
    x = _operands(tensors)
    dtype = tensors[0].dtype  # type: ignore[union-attr]
    result: tf.Tensor = tf.cast(decided.dense(x), dtype)
    return result


def _dense_gradients(
    decided: Attention, known: dict[int, tf.Tensor], cotangent: tf.Tensor, wanted: Sequence[int]
) -> dict[int, tf.Tensor]:
    """Gradients from all scores at once, which TensorFlow can differentiate again."""
    wanted = [k for k in wanted if k in known]
    sources: Any = [known[k] for k in wanted]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        result = _run_dense(decided, [known.get(k) for k in range(6)])
    gradients: Any = tape.gradient(result, sources, [cotangent])
    return dict(zip(wanted, gradients, strict=True))


def _in_a_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """Loops run in a graph, in eager mode too; one is traced for each signature."""
    traced = tf.function(function, autograph=False)

    def run(*tensors: tf.Tensor) -> Any:
        return traced(*tensors) if tf.executing_eagerly() else function(*tensors)

    return run


@lru_cache(maxsize=256)
def _forward(decided: Attention, places: tuple[int, ...]) -> Callable[..., Any]:
    def forward(*given: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        known = dict(zip(places, given, strict=True))
        result, log = decided.forward(_operands([known.get(k) for k in range(6)]))
        return tf.cast(result, given[0].dtype), log

    return _in_a_graph(forward)


@lru_cache(maxsize=256)
def _backward(decided: Attention, places: tuple[int, ...]) -> Callable[..., Any]:
    def backward(*tensors: tf.Tensor) -> list[tf.Tensor]:
        *given, result, log, cotangent = tensors
        known = dict(zip(places, given, strict=True))
        x = _operands([known.get(k) for k in range(6)])
        wide = (tf.cast(y, x.query.dtype) for y in (result, log, cotangent))
        pulled = decided.backward(x, *wide)
        return [tf.cast(dx, y.dtype) for dx, y in zip(pulled, given, strict=False)]

    return _in_a_graph(backward)


# What callers pass -------------------------------------------------------------------------------


def _check_options(
    text: str,
    found: AttentionEquation,
    causal: bool | str,
    window: Any,
    dropout: Any,
    scale: Any,
) -> None:
    if (causal or window is not None) and not isinstance(causal, str):
        alone = [
            x
            for x in found.query
            if x in found.output and x not in found.key and x not in found.value
        ]
        if len(alone) != 1:
            raise EquationError(
                f"attention {text!r} requires one label that query and output alone have for "
                f"causal and window, got {', '.join(alone) or 'none'}; causal='t' says which"
            )
    whole = isinstance(window, int) and not isinstance(window, bool)
    if window is not None and not (whole and window >= 1):
        raise EinsumError(f"attention {text!r} requires a window of at least 1, got {window!r}")
    if not 0 <= dropout < 1:
        raise EinsumError(f"attention {text!r} requires dropout from 0 to below 1, got {dropout!r}")
    if scale is not None and not isinstance(scale, int | float):
        raise EinsumError(f"attention {text!r} requires a number as scale, got {scale!r}")


def _with_rows(
    operands: list[tf.Tensor], found: AttentionEquation
) -> tuple[list[tf.Tensor], AttentionEquation, bool]:
    """A query without rows is one row."""
    if found.rows:
        return operands, found, False
    row = next(fresh_labels(found.query + found.key + found.value))
    rows = replace(
        found,
        query=found.query + row,
        output=found.output + row,
        rows=row,
        scores=found.scores.replace(found.keys, row + found.keys),
        result=found.normaliser + row + found.result[len(found.normaliser) :],
    )
    return [tf.expand_dims(operands[0], -1), *operands[1:]], rows, True


def _sizes(operands: Sequence[tf.Tensor], found: AttentionEquation) -> dict[str, Size]:
    sizes: dict[str, Size] = {}
    for x, term in zip(operands, (found.query, found.key, found.value), strict=True):
        for label, size in zip(term, x.shape.as_list(), strict=True):
            if sizes.get(label) is None:
                sizes[label] = size
    return sizes


def _extra(
    text: str, found: AttentionEquation, sizes: dict[str, Size], name: str, pair: Any
) -> tuple[Extra, tf.Tensor] | None:
    """A mask or a bias, and where its axes belong.

    Raises:
        EinsumError: it is no pair, or does not fit the scores.
    """
    if pair is None:
        return None
    if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
        raise OperandError(
            f"attention {text!r} requires {name}=(subscripts, tensor), got {type(pair).__name__}"
        )
    subscripts, x = pair[0], tf.convert_to_tensor(pair[1])
    if len(set(subscripts)) < len(subscripts) or not set(subscripts) <= set(found.scores):
        raise EquationError(
            f"attention {text!r} requires subscripts of {name} among those of the scores, "
            f"{found.scores!r}, each once, got {subscripts!r}"
        )
    if x.shape.rank is None:
        x = ensure_rank(x, len(subscripts), name)
    if x.shape.rank != len(subscripts):
        raise SizeError(
            f"attention {text!r} requires rank {len(subscripts)} for {name} ({subscripts!r}), got "
            f"rank {x.shape.rank}"
        )
    if (x.dtype == tf.bool) != (name == "mask"):
        wanted = "bools as mask" if name == "mask" else "numbers as bias"
        raise OperandError(f"attention {text!r} requires {wanted}, got {x.dtype.name}")
    for label, size in zip(subscripts, x.shape.as_list(), strict=True):
        if size not in (1, None) and sizes[label] not in (size, None):
            raise SizeError(
                f"attention {text!r} requires one size for label {label!r}, got {sizes[label]} and "
                f"{size} for {name}"
            )
    return Extra(subscripts), x


def _seed(seed: Any) -> tf.Tensor:
    if seed is None:
        return tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    given = tf.cast(tf.convert_to_tensor(seed), tf.int32)
    if given.shape.rank == 0:
        return tf.stack([given, 0])
    if given.shape.as_list() != [2]:
        raise EinsumError(f"attention requires a seed of one or two integers, got {seed!r}")
    return given
