"""tf_einsum_grad: a drop-in tf.einsum whose gradients are einsums."""
