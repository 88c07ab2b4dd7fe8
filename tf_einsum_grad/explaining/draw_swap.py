"""An equation above its gradient: the two terms that change places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tf_einsum_grad.algebra.equation import ELLIPSIS, Equation, parse_equation
from tf_einsum_grad.algebra.roles import label_roles
from tf_einsum_grad.explaining.canvas import INK, check_operand, color_of, use_axes
from tf_einsum_grad.explaining.names import tensor_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_swap"]

_GAP = 0.9


def draw_swap(equation: str, operand: int, ax: Axes | None = None) -> Axes:
    """Draws an equation above its gradient: two terms change places, the others stay.

    Args:
        equation: any equation.
        operand: the operand whose gradient it is.
        ax: the matplotlib axes to draw in; new ones by default.

    Returns:
        The axes.

    Raises:
        EquationError: the equation cannot be read, or has no such operand.
        ImportError: matplotlib is missing.

    Example:
        >>> draw_swap("ijkm,ijkn->imn", 0).get_title()
        'ijkm,ijkn->imn   to   imn,ijkn->ijkm'
    """
    parsed = parse_equation(equation)
    check_operand(equation, parsed, operand)
    n, transposed = len(parsed.inputs), parsed.transpose(operand)
    above, below = tensor_names(n), tensor_names(n)
    below[operand], below[n] = "dL/dY", f"dL/d{above[operand]}"
    widths = _widths(parsed, transposed)
    starts = [sum(widths[:k]) + _GAP * k for k in range(n + 1)]
    centers = [start + width / 2 for start, width in zip(starts, widths, strict=True)]
    ax = use_axes(ax, (1.2 + sum(widths) + _GAP * n, 2.9))
    _draw_row(ax, parsed, above, centers, 1.0)
    _draw_row(ax, transposed, below, centers, -1.0)
    _draw_arrows(ax, operand, centers)
    ax.set_xlim(-0.4, starts[-1] + widths[-1] + 0.4)
    ax.set_ylim(-1.85, 1.85)
    ax.set_title(f"{parsed}   to   {transposed}", family="monospace", color=INK, size=12)
    return ax


def _terms(equation: Equation) -> list[list[str]]:
    """Splits each operand and the output into tiles: labels, and `...` as one of them."""
    terms = (term.partition(ELLIPSIS) for term in (*equation.inputs, equation.output))
    return [[*before, *([dots] if dots else []), *after] for before, dots, after in terms]


def _widths(upper: Equation, lower: Equation) -> list[float]:
    pairs = zip(_terms(upper), _terms(lower), strict=True)
    return [0.56 * max(1, len(above), len(below)) for above, below in pairs]


def _draw_row(
    ax: Axes,
    equation: Equation,
    names: Sequence[str],
    centers: Sequence[float],
    y: float,
) -> None:
    """Draws one equation as tiles, in the colors of its roles, names above or below them."""
    terms, roles = _terms(equation), label_roles(equation)
    font = {"family": "monospace", "size": 13, "weight": "bold", "color": "white"}
    for term, name, center in zip(terms, names, centers, strict=True):
        for index, tile in enumerate(term):
            x = center + 0.5 * (index - (len(term) - 1) / 2)
            box = {"boxstyle": "round,pad=0.28", "facecolor": color_of(tile, roles)}
            box["edgecolor"] = "none"
            ax.text(x, y, tile, font, ha="center", va="center", bbox=box)
        above = y + math.copysign(0.58, y)
        ax.text(center, above, name, ha="center", va="center", size=12, color=INK)
    halves = [0.25 * max(1, len(term)) for term in terms]
    for k in range(len(terms) - 1):
        sign = "→" if k + 2 == len(terms) else ","
        x = (centers[k] + halves[k] + centers[k + 1] - halves[k + 1]) / 2
        ax.text(x, y, sign, ha="center", va="center", size=15, color=INK)


def _draw_arrows(ax: Axes, operand: int, centers: Sequence[float]) -> None:
    """Draws an arrow from each term to its place below; two cross."""
    n = len(centers) - 1
    for k, x in enumerate(centers):
        target = centers[{operand: n, n: operand}.get(k, k)]
        moves = target != x
        arrow = {
            "arrowstyle": "-|>",
            "color": INK if moves else "#B8C1CC",
            "linewidth": 2.0 if moves else 1.2,
            "shrinkA": 4,
            "shrinkB": 4,
        }
        ax.annotate("", (target, -0.66), (x, 0.66), arrowprops=arrow, zorder=1)
