"""Attention in NumPy, in float64, with any equation."""

import numpy as np


def attention(text, q, k, v, scale, mask=None, bias=None):
    """`mask` and `bias` are pairs of subscripts and arrays; one of them may be a rule of places."""
    (query, key, value), output = text.split("->")[0].split(","), text.split("->")[1]
    (keys,) = set(key) & set(value) - set(output)
    contracted = (set(query) & set(key)) - set(output)
    scores = "".join(x for x in dict.fromkeys(query + key) if x not in contracted and x != keys)
    scores += keys
    s = scale * np.einsum(f"{query},{key}->{scores}", q, k)
    if bias is not None:
        s = s + _aligned(*bias, scores)
    allowed = np.ones(s.shape, bool)
    if mask is not None:
        allowed &= _aligned(*mask, scores)
    s = np.where(allowed, s, -np.inf)
    highest = s.max(-1, keepdims=True, initial=-np.inf)
    p = np.exp(s - np.where(np.isfinite(highest), highest, 0))
    total = p.sum(-1, keepdims=True)
    p = np.divide(p, total, out=np.zeros_like(p), where=total > 0)
    return np.einsum(f"{scores},{value}->{output}", p, v)


def _aligned(subscripts, x, scores):
    order = [subscripts.index(label) for label in scores if label in subscripts]
    x = np.transpose(x, order)
    for axis, label in enumerate(scores):
        if label not in subscripts:
            x = np.expand_dims(x, axis)
    return x
