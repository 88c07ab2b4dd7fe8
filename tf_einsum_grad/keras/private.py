"""Every private Keras API that the package uses.

* The two places behind `keras.ops.einsum`: it hands tensors to the backend's `einsum`, looked up by
  name at each call, and symbolic tensors to its operation's `compute_output_spec`. Neither has a
  public name, and the first has moved in Keras 3.16.
* What the backend runs for `keras.ops.dot_product_attention`, which attention layers call.
* What a kernel with LoRA is made of: `_kernel` beside the public factors. Without it, the merged
  kernel is what runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import keras

from tf_einsum_grad.keras.attention import in_place_of
from tf_einsum_grad.keras.backend import backend_einsum, compute_output_spec
from tf_einsum_grad.keras.lora import with_lora

__all__ = ["attention_replacement", "lora_factors", "replacements"]

_BACKENDS = ("keras.src.backend.tensorflow.ops.numpy", "keras.src.backend.tensorflow.numpy")
_BACKEND_NN = ("keras.src.backend.tensorflow.ops.nn", "keras.src.backend.tensorflow.nn")
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
        (
            "keras.layers.EinsumDense.call",
            keras.layers.EinsumDense,
            "call",
            with_lora(keras.layers.EinsumDense.call, lambda layer: layer.equation, lora_factors),
        ),
        (
            "keras.layers.Dense.call",
            keras.layers.Dense,
            "call",
            with_lora(keras.layers.Dense.call, lambda layer: "...x,xy->...y", lora_factors),
        ),
    ]


def attention_replacement() -> tuple[str, object, str, Callable[..., Any]]:
    """What `install(attention=True)` replaces in Keras: name, owner, attribute, and ours.

    Raises:
        RuntimeError: this Keras lacks the module.
    """
    module = _imported(_BACKEND_NN)
    name = f"{module.__name__}.dot_product_attention"
    original: Any = getattr(module, "dot_product_attention", None)
    return name, module, "dot_product_attention", in_place_of(original)


def lora_factors(layer: Any) -> tuple[Any, Any, Any, float] | None:
    """The kernel of a layer without its LoRA, the two factors, and what multiplies these.

    None where the layer has no LoRA, is quantized, or has a `kernel` that is not Keras' own sum.
    """
    if not getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        return None
    own = [vars(kind).get("kernel") for kind in (keras.layers.EinsumDense, keras.layers.Dense)]
    merged = getattr(type(layer), "kernel", None)
    kernel = getattr(layer, "_kernel", None)
    if merged is None or merged not in own or kernel is None:
        return None
    alpha = getattr(layer, "lora_alpha", None)  # which came with Keras 3.10
    scale = 1.0 if alpha is None else alpha / layer.lora_rank
    return kernel, layer.lora_kernel_a, layer.lora_kernel_b, scale


def _imported(names: Sequence[str]) -> ModuleType:
    """The first of these modules that Keras has imported, as it does all that it calls."""
    for name in names:
        if name in sys.modules:
            return sys.modules[name]
    raise RuntimeError(
        f"install() requires {' or '.join(names)}, which Keras {keras.__version__} lacks; nothing "
        "was replaced"
    )
