"""Layers by the names that they have in a model, from the name scopes that Keras makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf
from keras.layers import Layer

from tf_einsum_grad.profiling.graph import Product

__all__ = ["name_layers"]


def name_layers(model: Any, products: Sequence[Product]) -> list[Product]:
    """Products with the paths of their layers, without the model's own name.

    Keras numbers the scope of a layer each time that it is called: "query_1", then "query_2".
    """
    names = {model.name}
    left = [model]
    while left:
        layer = left.pop()
        inside = [*vars(layer).values(), list(getattr(layer, "layers", ()))]
        for one in tf.nest.flatten([x for x in inside if isinstance(x, list | tuple | Layer)]):
            if isinstance(one, Layer) and one.name not in names:
                names.add(one.name)
                left.append(one)
    numbered = all(p.path.split("/")[0] != model.name for p in products)
    return [
        replace(p, path=_named(p.path, names if numbered else set(), model.name)) for p in products
    ]


def _named(path: str, names: set[str], model: str) -> str:
    parts = [_without_number(part, names) for part in path.split("/")]
    return "/".join(parts[1:] if parts[0] == model else parts)


def _without_number(part: str, names: set[str]) -> str:
    base, _, number = part.rpartition("_")
    return base if number.isdecimal() and base in names else part
