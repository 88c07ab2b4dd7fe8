"""A plan as a tree, from the operands to the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.algebra.errors import SizeError
from tf_einsum_grad.algebra.roles import Role, label_roles
from tf_einsum_grad.explaining.arguments import bind_and_plan
from tf_einsum_grad.explaining.canvas import HOLE, INK, Place, color_of, use_axes
from tf_einsum_grad.explaining.names import operand_name
from tf_einsum_grad.lowering.lower import cost_of
from tf_einsum_grad.planning.path import Optimize
from tf_einsum_grad.planning.plan import Plan
from tf_einsum_grad.text.numbers import show_flops

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_plan"]


def draw_plan(
    equation: str, *shapes: Sequence[int], optimize: Optimize = "auto", ax: Axes | None = None
) -> Axes:
    """Draws the order in which an einsum is contracted, as a tree from the operands to the output.

    Args:
        equation: any equation that `einsum` takes.
        *shapes: one for each operand.
        optimize: as for `einsum`.
        ax: the matplotlib axes to draw in; new ones by default.

    Returns:
        The axes.

    Raises:
        EinsumError: the equation, the shapes or the path do not fit.
        ImportError: matplotlib is missing.

    Example:
        >>> axes = draw_plan("ij,jk,kl->il", (8, 512), (512, 512), (512, 4))
    """
    n = len(parse_equation(equation).inputs)
    if len(shapes) != n:
        raise SizeError(f"draw_plan {equation!r} requires {n} shapes, got {len(shapes)}")
    _, plan = bind_and_plan(equation, [tuple(shape) for shape in shapes], "float32", optimize)
    places = _places(plan)
    depth, width = -min(y for _, y in places), max(x for x, _ in places)
    ax = use_axes(ax, (1.5 + 1.7 * n, 1.2 + 1.3 * depth))
    _draw_steps(ax, plan, places)
    _draw_terms(ax, plan, places)
    ax.set_xlim(-0.7, width + 0.7)
    ax.set_ylim(-depth - 0.6, 0.6)
    ax.set_title(f"{plan.equation}   {show_flops(plan.flops)}", family="monospace", size=11)
    return ax


def _places(plan: Plan) -> list[Place]:
    """Places every operand in the top row, and every step's result below what it is made of."""
    n = len(plan.equation.inputs)
    leaves: list[list[int]] = [[k] for k in range(n)]
    for step in plan.steps:
        leaves.append([leaf for k in step.operands for leaf in leaves[k]])
    places = [(float(leaves[-1].index(k)), 0.0) for k in range(n)]
    for step in plan.steps:
        above = [places[k] for k in step.operands]
        places.append((sum(x for x, _ in above) / len(above), min(y for _, y in above) - 1))
    return places


def _draw_steps(ax: Axes, plan: Plan, places: Sequence[Place]) -> None:
    n = len(plan.equation.inputs)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for (x, y), step in zip(places[n:], plan.steps, strict=True):
        for k in step.operands:
            ax.plot((places[k][0], x), (places[k][1], y), color="#8794A4", lw=1.6, zorder=1)
        flops = show_flops(cost_of(step.contraction).flops)
        ax.text(x, y - 0.36, flops, ha="center", size=9, color=INK, bbox=box)


def _draw_terms(ax: Axes, plan: Plan, places: Sequence[Place]) -> None:
    roles, sizes = label_roles(plan.equation), dict(plan.likely_sizes)
    terms = [*plan.equation.inputs, *(step.equation.output for step in plan.steps)]
    for place, term in zip(places[:-1], terms[:-1], strict=True):
        _draw_term(ax, place, term, roles, "white")
    _draw_term(ax, places[-1], terms[-1], roles, HOLE)
    for k, subscripts in enumerate(plan.equation.inputs):
        text = f"{operand_name(k)}  {'×'.join(str(sizes[x]) for x in subscripts)}"
        ax.text(places[k][0], 0.34, text, ha="center", size=10, color=INK)


def _draw_term(ax: Axes, at: Place, term: str, roles: Mapping[str, Role], background: str) -> None:
    box = {"boxstyle": "round,pad=0.3", "facecolor": background, "edgecolor": INK, "linewidth": 1.2}
    blank = " " + "  ".join(" " * len(term)) + " "
    ax.text(*at, blank, ha="center", va="center", size=12, family="monospace", bbox=box, zorder=3)
    letters = term or "·"
    for index, label in enumerate(letters):
        x, color = at[0] + 0.17 * (index - (len(letters) - 1) / 2), color_of(label, roles)
        ax.text(x, at[1], label, ha="center", va="center", size=13, color=color, zorder=4)
