"""An einsum's options in the config of a layer or operation, which Keras writes as JSON."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import keras

from tf_einsum_grad.algebra.errors import SizeError
from tf_einsum_grad.planning.limit import MemoryLimit, read_limit
from tf_einsum_grad.planning.path import Optimize

__all__ = ["read_options", "write_options"]


def write_options(
    optimize: Optimize,
    sizes: Mapping[str, Any] | None,
    size_hints: Mapping[str, Any] | None,
    memory_limit: MemoryLimit = None,
    recompute: bool = False,
) -> dict[str, Any]:
    """Returns options as they are saved: sizes as Python's integers.

    Raises:
        SizeError: a size is a tensor of a graph, whose value nobody knows.

    Example:
        >>> import numpy as np
        >>> write_options("greedy", {"j": np.int64(3)}, None)
        {'optimize': 'greedy', 'sizes': {'j': 3}, 'size_hints': None}

    A memory limit is saved as bytes, where there is one.
    """
    memory: dict[str, Any] = {}
    if memory_limit is not None:
        memory["memory_limit"] = read_limit(memory_limit)
    if recompute:
        memory["recompute"] = True
    return {
        "optimize": optimize,
        "sizes": _integers("sizes", sizes),
        "size_hints": _integers("size_hints", size_hints),
        **memory,
    }


def read_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a saved config with its `optimize` as it was: Keras makes a dict of a function.

    Raises:
        ValueError, TypeError: it is a function that is not registered with Keras, or a lambda where
            Keras loads in its safe mode.
    """
    optimize = config.get("optimize")
    if not isinstance(optimize, Mapping):
        return dict(config)
    return {**config, "optimize": keras.saving.deserialize_keras_object(optimize)}


def _integers(name: str, sizes: Mapping[str, Any] | None) -> dict[str, Any] | None:
    try:
        return None if sizes is None else {k: _integer(size) for k, size in sizes.items()}
    except TypeError as error:
        raise SizeError(
            f"a config requires {name} that are integers, got {dict(sizes or {})!r}"
        ) from error


def _integer(size: Any) -> int | list[int]:
    if isinstance(size, list | tuple):
        return [operator.index(n) for n in size]
    return operator.index(size)
