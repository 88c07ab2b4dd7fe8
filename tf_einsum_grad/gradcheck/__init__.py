"""A gradient checker for any TensorFlow function or Keras model.

>>> import tensorflow as tf
>>> bool(check_gradients(tf.sin, tf.constant([0.3, 0.7])))
True
"""

from tf_einsum_grad.gradcheck.check import assert_gradients, check_gradients
from tf_einsum_grad.gradcheck.report import GradientCheckError, GradientReport, LeafReport
from tf_einsum_grad.gradcheck.statuses import Status

__all__ = [
    "GradientCheckError",
    "GradientReport",
    "LeafReport",
    "Status",
    "assert_gradients",
    "check_gradients",
]
