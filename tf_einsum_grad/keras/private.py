"""Every private Keras API that the package uses: the two places behind `keras.ops.einsum`.

`keras.ops.einsum` hands tensors to the backend's `einsum`, looked up by name at each call, and
symbolic tensors to its operation's `compute_output_spec`. Neither has a public name, and the first
has moved in Keras 3.16.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import keras

from tf_einsum_grad.keras.backend import backend_einsum, compute_output_spec

__all__ = ["replacements"]

_BACKENDS = ("keras.src.backend.tensorflow.ops.numpy", "keras.src.backend.tensorflow.numpy")
_OPERATIONS = ("keras.src.ops.numpy",)


def replacements() -> list[tuple[str, object, str, Callable[..., Any]]]:
    """Lists what `install` replaces in Keras: name for messages, owner, attribute, and ours.

    Raises:
        RuntimeError: this Keras lacks one of the two modules.
    """
    backend, operations = _imported(_BACKENDS), _imported(_OPERATIONS)
    return [
        (f"{backend.__name__}.einsum", backend, "einsum", backend_einsum),
        (
            f"{operations.__name__}.Einsum.compute_output_spec",
            getattr(operations, "Einsum", None),
            "compute_output_spec",
            lambda self, *operands, **options: compute_output_spec(
                self.subscripts, *operands, **options
            ),
        ),
    ]


def _imported(names: Sequence[str]) -> ModuleType:
    """The first of these modules that Keras has imported, as it does all that it calls."""
    for name in names:
        if name in sys.modules:
            return sys.modules[name]
    raise RuntimeError(
        f"install() requires {' or '.join(names)}, which Keras {keras.__version__} lacks; nothing "
        "was replaced"
    )
