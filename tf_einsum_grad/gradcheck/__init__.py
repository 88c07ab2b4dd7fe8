"""A gradient checker for any TensorFlow function or Keras model.

>>> import tensorflow as tf
>>> bool(check_gradients(tf.sin, tf.constant([0.3, 0.7])))
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_einsum_grad._lazy import lazy_names

if TYPE_CHECKING:
    from tf_einsum_grad.gradcheck.check import assert_gradients, check_gradients
    from tf_einsum_grad.gradcheck.report import GradientCheckError, GradientReport, LeafReport
    from tf_einsum_grad.gradcheck.status import Status

_HOME = {
    "GradientCheckError": "report",
    "GradientReport": "report",
    "LeafReport": "report",
    "Status": "status",
    "assert_gradients": "check",
    "check_gradients": "check",
}

__all__ = [
    "GradientCheckError",
    "GradientReport",
    "LeafReport",
    "Status",
    "assert_gradients",
    "check_gradients",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
