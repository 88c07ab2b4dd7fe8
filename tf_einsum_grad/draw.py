"""Pictures of equations, their gradients and their plans, with matplotlib (extra `plot`)."""

from __future__ import annotations

from tf_einsum_grad.algebra.roles import label_roles
from tf_einsum_grad.explaining.canvas import COLORS
from tf_einsum_grad.explaining.draw_equation import draw_equation
from tf_einsum_grad.explaining.draw_plan import draw_plan
from tf_einsum_grad.explaining.draw_swap import draw_swap

__all__ = ["COLORS", "draw_equation", "draw_plan", "draw_swap", "label_roles"]
