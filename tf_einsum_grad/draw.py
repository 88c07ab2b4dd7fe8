"""Pictures of equations, their gradients and their plans, with matplotlib (extra `plot`)."""

from __future__ import annotations

from tf_einsum_grad.explaining.draw import COLORS, draw_equation, draw_plan, draw_swap, label_roles

__all__ = ["COLORS", "draw_equation", "draw_plan", "draw_swap", "label_roles"]
