"""What all pictures share: their colors, their axes, and how a label looks. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.errors import EquationError
from tf_einsum_grad.algebra.roles import Role

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLORS",
    "HOLE",
    "INK",
    "PAPER",
    "Place",
    "check_operand",
    "color_of",
    "draw_tag",
    "use_axes",
]

# Okabe and Ito's colors, which people with any kind of color vision can tell apart.
COLORS: Mapping[Role, str] = {
    "batch": "#0072B2",
    "contracting": "#D55E00",
    "free": "#009E73",
    "summed": "#CC79A7",
    "broadcast": "#B58900",
}
INK, PAPER, HOLE = "#22313F", "#F2F4F7", "#FFF3C4"

Place = tuple[float, float]


def use_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Returns the axes to draw in: `ax`, or new ones of this size in inches.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "drawing requires matplotlib, which is not installed: "
            "pip install 'tf-einsum-grad[plot]'"
        ) from error
    if ax is None:
        _, ax = plt.subplots(figsize=size)
    ax.set_axis_off()
    return ax


def color_of(label: str, roles: Mapping[str, Role]) -> str:
    """Returns the color of a label's role; ink for what is no label."""
    return COLORS[roles[label]] if label in roles else INK


def draw_tag(ax: Axes, at: Place, label: str, color: str) -> None:
    """Draws a label in a circle."""
    circle = {"boxstyle": "circle,pad=0.22", "facecolor": "white"}
    edge = {"edgecolor": color, "linewidth": 1.6}
    font = {"size": 11, "color": color}
    ax.text(*at, label, font, ha="center", va="center", bbox=circle | edge, zorder=4)


def check_operand(text: str, equation: Equation, operand: int) -> None:
    """Checks that there is such an operand.

    Raises:
        EquationError: there is none.
    """
    if operand not in range(len(equation.inputs)):
        raise EquationError(
            f"drawing a gradient of {text!r} requires an operand from 0 to "
            f"{len(equation.inputs) - 1}, got {operand!r}"
        )
