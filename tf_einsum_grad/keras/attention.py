"""`keras.ops.dot_product_attention` in blocks: what attention layers call, on our `attention`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_einsum_grad.attending.attend import attention

__all__ = ["in_place_of"]


def in_place_of(original: Callable[..., Any]) -> Callable[..., Any]:
    """What runs in the place of the backend's `dot_product_attention`; `original` is called where
    ours has nothing to offer: for tensors that are not 4D, and options that it does not know.
    """

    def dot_product_attention(
        query: Any,
        key: Any,
        value: Any,
        bias: Any = None,
        mask: Any = None,
        scale: Any = None,
        is_causal: bool = False,
        flash_attention: bool | None = None,
        attn_logits_soft_cap: float | None = None,
        **options: Any,
    ) -> Any:
        tensors = [keras.ops.convert_to_tensor(x) for x in (query, key, value)]
        odd = options or attn_logits_soft_cap is not None or not _is_number(scale)
        if odd or not _fits(*tensors):
            return original(
                query,
                key,
                value,
                bias=bias,
                mask=mask,
                scale=scale,
                is_causal=is_causal,
                flash_attention=flash_attention,
                attn_logits_soft_cap=attn_logits_soft_cap,
                **options,
            )
        dtype = keras.backend.result_type(*(x.dtype for x in tensors))
        q, k, v = (tf.cast(x, dtype) for x in tensors)
        n, groups = k.shape[2], q.shape[2] // k.shape[2]
        shape = tf.shape(q)
        q = tf.reshape(q, [shape[0], shape[1], n, groups, q.shape[3]])
        q = tf.ensure_shape(q, [*tensors[0].shape[:2], n, groups, q.shape[4]])
        result = attention(
            "btngh,bsnh,bsnv->btngv",
            q,
            k,
            v,
            scale=scale,
            causal="t" if is_causal else False,
            mask=_extra(mask, "bool", n, groups),
            bias=_extra(bias, dtype, n, groups),
        )
        joined = tf.reshape(result, tf.concat([tf.shape(result)[:2], [n * groups, v.shape[3]]], 0))
        return tf.ensure_shape(joined, [*tensors[0].shape[:3], v.shape[3]])

    return dot_product_attention


def _is_number(scale: Any) -> bool:
    return scale is None or isinstance(scale, int | float)


def _fits(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> bool:
    """Whether they are (batch, length, heads, size), heads of keys sharing those of queries."""
    ranks = [x.shape.rank for x in (query, key, value)]
    if ranks != [4, 4, 4] or not all(x.dtype.is_floating for x in (query, key, value)):
        return False
    heads: list[Any] = [x.shape[2] for x in (query, key, value)]
    sizes: list[Any] = [query.shape[3], key.shape[3], value.shape[3]]
    if None in (*heads, *sizes):
        return False
    return bool(heads[1] == heads[2] > 0 and heads[0] % heads[1] == 0 and sizes[0] == sizes[1])


def _extra(x: Any, dtype: str, n: int, groups: int) -> tuple[str, tf.Tensor] | None:
    """A mask or a bias (batch, heads, rows, keys), any of them 1, as `attention` takes it."""
    if x is None:
        return None
    x = keras.ops.cast(keras.ops.convert_to_tensor(x), dtype)
    while x.shape.rank < 4:
        x = x[tf.newaxis]
    if x.shape[1] == 1:
        return "bts", tf.squeeze(x, 1)
    shape = tf.shape(x)
    split = tf.reshape(x, [shape[0], n, groups, shape[2], shape[3]])
    return "bngts", tf.ensure_shape(split, [x.shape[0], n, groups, *x.shape[2:]])
