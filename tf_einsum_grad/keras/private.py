"""Every private Keras API that the package uses: the two places behind `keras.ops.einsum`.

`keras.ops.einsum` hands tensors to the backend's `einsum`, looked up by name at each call, and
symbolic tensors to its operation's `compute_output_spec`. Neither has a public name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras

from tf_einsum_grad.keras.backend import backend_einsum, compute_output_spec

__all__ = ["replacements"]

_BACKEND = "keras.src.backend.tensorflow.numpy"
_OPERATIONS = "keras.src.ops.numpy"


def replacements() -> list[tuple[str, object, str, Callable[..., Any]]]:
    """Lists what `install` replaces in Keras: name for messages, owner, attribute, and ours.

    Raises:
        RuntimeError: this Keras lacks one of the two modules.
    """
    operation = getattr(_module(_OPERATIONS), "Einsum", None)
    return [
        (f"{_BACKEND}.einsum", _module(_BACKEND), "einsum", backend_einsum),
        (
            f"{_OPERATIONS}.Einsum.compute_output_spec",
            operation,
            "compute_output_spec",
            lambda self, *operands, **_: compute_output_spec(self.subscripts, *operands),
        ),
    ]


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(
            f"install() requires {name}, which Keras {keras.__version__} lacks; nothing was "
            "replaced"
        ) from error
