"""The gradient of each example: the transposed equation with the batch label kept."""

from __future__ import annotations

from tf_einsum_grad.per_example.gradients import per_example_gradients

__all__ = ["per_example_gradients"]
