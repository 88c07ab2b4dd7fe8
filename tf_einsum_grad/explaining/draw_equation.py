"""An equation as a graph: a node for each operand and for the output, a line for each label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.algebra.errors import EquationError
from tf_einsum_grad.algebra.roles import Role, label_roles
from tf_einsum_grad.explaining import canvas
from tf_einsum_grad.explaining.canvas import COLORS, Place, draw_tag
from tf_einsum_grad.explaining.names import tensor_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_equation"]


def draw_equation(equation: str, gradient: int | None = None, ax: Axes | None = None) -> Axes:
    """Draws an equation as a graph: a node for each operand and for the output, a line per label.

    The graph of a gradient is the same graph. Only the node that is the answer has moved, from the
    output to the operand, and the output's place holds the incoming gradient. Colors are those of
    the roles in the equation that is drawn: what the einsum keeps, its gradient may sum.

    Args:
        equation: without ellipses.
        gradient: the operand whose gradient is the answer; None for the einsum itself.
        ax: the matplotlib axes to draw in; new ones by default.

    Returns:
        The axes.

    Raises:
        EquationError: the equation cannot be read, holds `...`, or has no operand `gradient`.
        ImportError: matplotlib is missing.

    Example:
        >>> draw_equation("ijkm,ijkn->imn", gradient=0).get_title()
        'imn,ijkn->ijkm'
    """
    parsed = _read(equation, gradient)
    n = len(parsed.inputs)
    names, answer, shown = tensor_names(n), n, parsed
    if gradient is not None:
        names[gradient], names[n] = f"dL/d{names[gradient]}", "dL/dY"
        answer, shown = gradient, parsed.transpose(gradient)
    ax = canvas.use_axes(ax, (4.6, 4.2))
    places = _places(n)
    _draw_labels(ax, parsed, label_roles(shown), places)
    for k, (place, name) in enumerate(zip(places, names, strict=True)):
        _draw_node(ax, place, name, k == answer)
    xs, ys = zip(*places, strict=True)
    ax.set_xlim(min(xs) - 0.8, max(xs) + 0.8)
    ax.set_ylim(min(ys) - 0.7, max(ys) + 0.75)
    ax.set_aspect("equal")
    ax.set_title(str(shown), family="monospace", color=canvas.INK, size=13)
    return ax


def _read(text: str, gradient: int | None) -> Equation:
    parsed = parse_equation(text)
    if parsed.has_ellipsis:
        raise EquationError(
            f"draw_equation requires an equation without '...', got {text!r}: how many labels "
            "an ellipsis stands for depends on the shapes"
        )
    if gradient is not None:
        canvas.check_operand(text, parsed, gradient)
    return parsed


def _places(n: int) -> list[Place]:
    """Places operands along the upper arc, the output below."""
    if n == 1:
        return [(0.0, 0.9), (0.0, -0.9)]
    spread = math.radians(60 if n == 2 else 100)
    angles = [math.pi / 2 + spread * (1 - 2 * k / (n - 1)) for k in range(n)]
    return [*((math.cos(a) * 1.15, math.sin(a) * 1.05) for a in angles), (0.0, -1.05)]


def _draw_node(ax: Axes, at: Place, name: str, answer: bool) -> None:
    box = {
        "boxstyle": "circle,pad=0.45" if len(name) == 1 else "round,pad=0.45,rounding_size=0.9",
        "facecolor": canvas.HOLE if answer else canvas.PAPER,
        "edgecolor": canvas.INK,
        "linewidth": 2.2 if answer else 1.2,
        "linestyle": "--" if answer else "-",
    }
    style = "italic" if answer else "normal"
    ax.text(*at, name, ha="center", va="center", size=13, style=style, bbox=box, zorder=5)


def _draw_labels(
    ax: Axes, equation: Equation, roles: Mapping[str, Role], places: Sequence[Place]
) -> None:
    """Draws a label of two nodes as a line between them, of more as a star, of one as a stub."""
    colors = {label: COLORS[roles[label]] for label in equation.labels}
    nodes = list(zip((*equation.inputs, equation.output), places, strict=True))
    ends = {label: tuple(place for term, place in nodes if label in term) for label in colors}
    _draw_lines(ax, ends, colors)
    _draw_stars(ax, ends, colors)
    for term, place in nodes:
        _draw_stubs(ax, [x for x in dict.fromkeys(term) if len(ends[x]) == 1], colors, place)
        _draw_loops(ax, [x for x in dict.fromkeys(term) if term.count(x) > 1], colors, place)


def _draw_lines(ax: Axes, ends: Mapping[str, tuple[Place, ...]], colors: Mapping[str, str]) -> None:
    lanes: dict[tuple[Place, ...], list[str]] = {}
    for label, nodes in ends.items():
        if len(nodes) == 2:
            lanes.setdefault(nodes, []).append(label)
    for (start, end), labels in lanes.items():
        for lane, label in enumerate(labels):
            bend = 0.34 * (lane - (len(labels) - 1) / 2)
            draw_tag(ax, _curve(ax, start, end, colors[label], bend), label, colors[label])


def _draw_stars(ax: Axes, ends: Mapping[str, tuple[Place, ...]], colors: Mapping[str, str]) -> None:
    stars = {label: nodes for label, nodes in ends.items() if len(nodes) > 2}
    for index, (label, nodes) in enumerate(stars.items()):
        shift = 0.42 * (index - (len(stars) - 1) / 2)
        hub = (sum(x for x, _ in nodes) / len(nodes) + shift, sum(y for _, y in nodes) / len(nodes))
        for node in nodes:
            _curve(ax, node, hub, colors[label])
        draw_tag(ax, hub, label, colors[label])


def _draw_stubs(ax: Axes, labels: Sequence[str], colors: Mapping[str, str], at: Place) -> None:
    for index, label in enumerate(labels):
        tip = _beside(at, 0.62, 0.55 * (index - (len(labels) - 1) / 2))
        _curve(ax, at, tip, colors[label])
        draw_tag(ax, tip, label, colors[label])


def _draw_loops(ax: Axes, labels: Sequence[str], colors: Mapping[str, str], at: Place) -> None:
    from matplotlib.patches import Circle

    for index, label in enumerate(labels):
        turn = math.pi / 2 + 0.8 * index
        style = {"fill": False, "color": colors[label], "linewidth": 2.4, "zorder": 1}
        ax.add_patch(Circle(_beside(at, 0.42, turn), 0.3, **style))
        draw_tag(ax, _beside(at, 0.72, turn), label, colors[label])


def _beside(node: Place, distance: float, turn: float) -> Place:
    """Finds a place beside a node, this many radians off the direction that leads outwards."""
    x, y = node
    angle = math.atan2(y, x) + turn
    return (x + distance * math.cos(angle), y + distance * math.sin(angle))


def _curve(ax: Axes, start: Place, end: Place, color: str, bend: float = 0.0) -> Place:
    """Draws a line, bent by a part of its length, and returns its middle."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    (x0, y0), (x1, y1) = start, end
    control = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
    curve = Path([start, control, end], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    ax.add_patch(PathPatch(curve, fill=False, color=color, linewidth=2.4, zorder=1))
    return ((x0 + x1) / 4 + control[0] / 2, (y0 + y1) / 4 + control[1] / 2)
