"""Pictures of equations: their labels as a graph, the swap behind a gradient, a plan as a tree.

Needs matplotlib, the extra `plot`. Pure otherwise: TensorFlow is not imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tf_einsum_grad.algebra.equation import ELLIPSIS, Equation, expand_ellipses, parse_equation
from tf_einsum_grad.algebra.errors import EquationError, SizeError
from tf_einsum_grad.algebra.sizes import bind_sizes
from tf_einsum_grad.lowering.lower import lower
from tf_einsum_grad.planning.path import hashable_optimize
from tf_einsum_grad.planning.plan import Plan, make_plan

__all__ = ["COLORS", "draw_equation", "draw_plan", "draw_swap", "label_roles"]

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
COLORS = {
    "batch": "#0072B2",
    "contracting": "#D55E00",
    "free": "#009E73",
    "summed": "#CC79A7",
    "broadcast": "#B58900",
}
_INK, _PAPER, _HOLE = "#22313F", "#F2F4F7", "#FFF3C4"


def label_roles(equation: Equation) -> dict[str, str]:
    """The role of each label: batch, contracting, free, summed or broadcast.

    Example:
        >>> label_roles(parse_equation("bij,bjk->bi"))
        {'b': 'batch', 'i': 'free', 'j': 'contracting', 'k': 'summed'}
    """
    roles = {}
    for label in equation.labels:
        uses, kept = sum(label in s for s in equation.inputs), label in equation.output
        roles[label] = (
            "broadcast"
            if not uses
            else ("batch" if kept else "contracting")
            if uses > 1
            else ("free" if kept else "summed")
        )
    return roles


def draw_equation(equation: str, gradient: int | None = None, ax: Any = None) -> Any:
    """Draws an equation as a graph: a node for each operand and for the output, a line per label.

    The graph of a gradient is the same graph. Only the node that is the answer has moved, from the
    output to the operand, and the output's place holds the incoming gradient.

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
    ax = _axes(ax, (4.6, 4.2))
    names = [*_names(n), "Y"]
    if gradient is not None:
        names[gradient], names[n] = f"dL/d{names[gradient]}", "dL/dY"
    positions = _positions(n)
    _draw_lines(ax, parsed, positions)
    for k, ((x, y), name) in enumerate(zip(positions, names, strict=True)):
        answer = k == (n if gradient is None else gradient)
        box = {
            "boxstyle": "circle,pad=0.45" if len(name) == 1 else "round,pad=0.45,rounding_size=0.9",
            "facecolor": _HOLE if answer else _PAPER,
            "edgecolor": _INK,
            "linewidth": 2.2 if answer else 1.2,
            "linestyle": "--" if answer else "-",
        }
        style = "italic" if answer else "normal"
        ax.text(x, y, name, ha="center", va="center", size=13, style=style, bbox=box, zorder=5)
    shown = parsed if gradient is None else parsed.transpose(gradient)
    xs, ys = zip(*positions, strict=True)
    ax.set_xlim(min(xs) - 0.8, max(xs) + 0.8)
    ax.set_ylim(min(ys) - 0.7, max(ys) + 0.75)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(str(shown), family="monospace", color=_INK, size=13)
    return ax


def _positions(n: int) -> list[tuple[float, float]]:
    """Operands along the upper arc, the output below."""
    if n == 1:
        return [(0.0, 0.9), (0.0, -0.9)]
    spread = math.radians(60 if n == 2 else 100)
    angles = [math.pi / 2 + spread * (1 - 2 * k / (n - 1)) for k in range(n)]
    return [*((math.cos(a) * 1.15, math.sin(a) * 1.05) for a in angles), (0.0, -1.05)]


def _draw_lines(ax: Any, equation: Equation, positions: Sequence[tuple[float, float]]) -> None:
    roles = label_roles(equation)
    terms = (*equation.inputs, equation.output)
    ends = {x: [k for k, term in enumerate(terms) if x in term] for x in equation.labels}
    hubs = [label for label, nodes in ends.items() if len(nodes) > 2]
    lanes: dict[tuple[int, ...], list[str]] = {}
    for label, nodes in ends.items():
        if len(nodes) == 2:
            lanes.setdefault(tuple(nodes), []).append(label)
    for (start, end), labels in lanes.items():
        for lane, label in enumerate(labels):
            rad = 0.34 * (lane - (len(labels) - 1) / 2)
            _curve(ax, positions[start], positions[end], rad, label, COLORS[roles[label]])
    for index, label in enumerate(hubs):
        nodes = [positions[k] for k in ends[label]]
        shift = 0.42 * (index - (len(hubs) - 1) / 2)
        hub = (sum(x for x, _ in nodes) / len(nodes) + shift, sum(y for _, y in nodes) / len(nodes))
        for node in nodes:
            _curve(ax, node, hub, 0.0, "", COLORS[roles[label]])
        _tag(ax, hub, label, COLORS[roles[label]])
    _draw_stubs(ax, terms, ends, roles, positions)


def _draw_stubs(
    ax: Any,
    terms: Sequence[str],
    ends: Mapping[str, Sequence[int]],
    roles: Mapping[str, str],
    positions: Sequence[tuple[float, float]],
) -> None:
    """Labels of one node alone, and loops for labels that a node repeats."""
    for k, (x, y) in enumerate(positions):
        out = math.atan2(y, x)
        own = [label for label in dict.fromkeys(terms[k]) if list(ends[label]) == [k]]
        for index, label in enumerate(own):
            angle = out + 0.55 * (index - (len(own) - 1) / 2)
            tip = (x + 0.62 * math.cos(angle), y + 0.62 * math.sin(angle))
            _curve(ax, (x, y), tip, 0.0, "", COLORS[roles[label]])
            _tag(ax, tip, label, COLORS[roles[label]])
        repeated = [label for label in dict.fromkeys(terms[k]) if terms[k].count(label) > 1]
        for index, label in enumerate(repeated):
            angle = out + math.pi / 2 + 0.8 * index
            middle = (x + 0.42 * math.cos(angle), y + 0.42 * math.sin(angle))
            circle = _matplotlib().patches.Circle(
                middle, 0.3, fill=False, color=COLORS[roles[label]], linewidth=2.4, zorder=1
            )
            ax.add_patch(circle)
            _tag(
                ax, (x + 0.72 * math.cos(angle), y + 0.72 * math.sin(angle)), label, circle.get_ec()
            )


def _curve(ax: Any, start: Any, end: Any, rad: float, label: str, color: Any) -> None:
    """A line bent by `rad` of its length, with its label in the middle."""
    (x0, y0), (x1, y1) = start, end
    bend = ((x0 + x1) / 2 + rad * (y1 - y0), (y0 + y1) / 2 - rad * (x1 - x0))
    path = _matplotlib().path.Path
    curve = path([start, bend, end], [path.MOVETO, path.CURVE3, path.CURVE3])
    ax.add_patch(
        _matplotlib().patches.PathPatch(curve, fill=False, color=color, linewidth=2.4, zorder=1)
    )
    if label:
        middle = ((x0 + x1) / 4 + bend[0] / 2, (y0 + y1) / 4 + bend[1] / 2)
        _tag(ax, middle, label, color)


def _tag(ax: Any, at: tuple[float, float], label: str, color: Any) -> None:
    box = {
        "boxstyle": "circle,pad=0.22",
        "facecolor": "white",
        "edgecolor": color,
        "linewidth": 1.6,
    }
    ax.text(*at, label, ha="center", va="center", size=11, color=color, bbox=box, zorder=4)


def draw_swap(equation: str, operand: int, ax: Any = None) -> Any:
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
    _check_operand(equation, parsed, operand)
    n, transposed = len(parsed.inputs), parsed.transpose(operand)
    roles = label_roles(parsed)
    above = [len(_tiles(term)) for term in (*parsed.inputs, parsed.output)]
    below = [len(_tiles(term)) for term in (*transposed.inputs, transposed.output)]
    widths = [max(1, *pair) * 0.56 for pair in zip(above, below, strict=True)]
    ax = _axes(ax, (1.2 + sum(widths) + 0.9 * n, 2.9))
    starts = [sum(widths[:k]) + 0.9 * k for k in range(n + 1)]
    centers = [start + width / 2 for start, width in zip(starts, widths, strict=True)]
    names = _names(n)
    top = [*names, "Y"]
    bottom = [f"dL/d{x}" if x == "Y" else x for x in top]
    bottom[operand], bottom[n] = "dL/dY", f"dL/d{names[operand]}"
    _row(ax, (*parsed.inputs, parsed.output), top, centers, 1.0, roles)
    _row(ax, (*transposed.inputs, transposed.output), bottom, centers, -1.0, roles)
    for k, x in enumerate(centers):
        target = centers[{operand: n, n: operand}.get(k, k)]
        moves = target != x
        arrow = {
            "arrowstyle": "-|>",
            "color": _INK if moves else "#B8C1CC",
            "linewidth": 2.0 if moves else 1.2,
            "shrinkA": 4,
            "shrinkB": 4,
        }
        ax.annotate("", (target, -0.66), (x, 0.66), arrowprops=arrow, zorder=1)
    ax.set_xlim(-0.4, starts[-1] + widths[-1] + 0.4)
    ax.set_ylim(-1.85, 1.85)
    ax.set_axis_off()
    ax.set_title(f"{parsed}   to   {transposed}", family="monospace", color=_INK, size=12)
    return ax


def _tiles(term: str) -> list[str]:
    before, dots, after = term.partition(ELLIPSIS)
    return [*before, *([dots] if dots else []), *after]


def _row(
    ax: Any,
    terms: Sequence[str],
    names: Sequence[str],
    centers: Sequence[float],
    y: float,
    roles: Mapping[str, str],
) -> None:
    """One equation as tiles, names above or below them."""
    for k, (term, name, center) in enumerate(zip(terms, names, centers, strict=True)):
        tiles = _tiles(term)
        for index, tile in enumerate(tiles):
            x = center + 0.5 * (index - (len(tiles) - 1) / 2)
            color = COLORS[roles[tile]] if tile in roles else _INK
            box = {"boxstyle": "round,pad=0.28", "facecolor": color, "edgecolor": "none"}
            font = {"family": "monospace", "size": 13, "weight": "bold", "color": "white"}
            ax.text(x, y, tile, ha="center", va="center", bbox=box, **font)
        offset = math.copysign(0.58, y)
        ax.text(center, y + offset, name, ha="center", va="center", size=12, color=_INK)
        if k + 1 < len(terms):
            sign = "→" if k + 2 == len(terms) else ","
            edge = center + max(1, len(tiles)) * 0.25
            after = centers[k + 1] - max(1, len(_tiles(terms[k + 1]))) * 0.25
            ax.text((edge + after) / 2, y, sign, ha="center", va="center", size=15, color=_INK)


def draw_plan(equation: str, *shapes: Sequence[int], optimize: Any = "auto", ax: Any = None) -> Any:
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
    parsed = parse_equation(equation)
    if len(shapes) != len(parsed.inputs):
        raise SizeError(
            f"draw_plan {equation!r} requires {len(parsed.inputs)} shapes, got {len(shapes)}"
        )
    expanded = expand_ellipses(parsed, tuple(map(len, shapes)))
    binding = bind_sizes(expanded, [tuple(shape) for shape in shapes], None, equation)
    key = hashable_optimize(optimize)
    order = optimize if key is None else key
    plan = make_plan(binding.equation, binding.sizes, "float32", order)
    depths, columns = _tree(plan)
    n = len(plan.equation.inputs)
    ax = _axes(ax, (1.5 + 1.7 * n, 1.2 + 1.3 * max(depths)))
    roles, sizes = label_roles(plan.equation), dict(plan.sizes)
    terms = [*plan.equation.inputs, *(step.equation.output for step in plan.steps)]
    for index, step in enumerate(plan.steps):
        at = (columns[n + index], -depths[n + index])
        for k in step.operands:
            ax.plot((columns[k], at[0]), (-depths[k], at[1]), color="#8794A4", lw=1.6, zorder=1)
        flops = lower(step.contraction).cost.flops
        font = {
            "size": 9,
            "color": _INK,
            "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1},
        }
        ax.text(at[0], at[1] - 0.36, f"{_engineering(flops)}FLOP", ha="center", **font)
    for k, term in enumerate(terms):
        _node(ax, (columns[k], -depths[k]), term, roles, k == len(terms) - 1)
        if k < n:
            shape = "×".join(str(sizes[x]) for x in term)
            name = _names(n)[k]
            text = f"{name}  {shape}"
            ax.text(columns[k], 0.34, text, ha="center", size=10, color=_INK)
    ax.set_xlim(min(columns) - 0.7, max(columns) + 0.7)
    ax.set_ylim(-max(depths) - 0.6, 0.6)
    ax.set_axis_off()
    ax.set_title(f"{plan.equation}   {_engineering(plan.flops)}FLOP", family="monospace", size=11)
    return ax


def _tree(plan: Plan) -> tuple[list[int], list[float]]:
    """The depth and the column of every operand and every step's result."""
    n = len(plan.equation.inputs)
    parts: list[list[int]] = [[k] for k in range(n)]
    for step in plan.steps:
        parts.append([leaf for k in step.operands for leaf in parts[k]])
    column = {leaf: float(c) for c, leaf in enumerate(parts[-1])}
    depths, columns = [0] * n, [column[k] for k in range(n)]
    for step in plan.steps:
        depths.append(1 + max(depths[k] for k in step.operands))
        columns.append(sum(columns[k] for k in step.operands) / len(step.operands))
    return depths, columns


def _node(
    ax: Any, at: tuple[float, float], term: str, roles: Mapping[str, str], answer: bool
) -> None:
    face = _HOLE if answer else "white"
    box = {"boxstyle": "round,pad=0.3", "facecolor": face, "edgecolor": _INK, "linewidth": 1.2}
    blank = " " + "  ".join(" " * len(term)) + " "
    ax.text(*at, blank, ha="center", va="center", size=12, family="monospace", bbox=box, zorder=3)
    for index, label in enumerate(term or "·"):
        x = at[0] + 0.17 * (index - (len(term or "·") - 1) / 2)
        color = COLORS[roles[label]] if label in roles else _INK
        ax.text(x, at[1], label, ha="center", va="center", size=13, color=color, zorder=4)


def _engineering(value: float) -> str:
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f} {prefix}"
    return f"{value:.0f} "


def _read(equation: str, gradient: int | None) -> Equation:
    parsed = parse_equation(equation)
    if parsed.has_ellipsis:
        raise EquationError(
            f"draw_equation requires an equation without '...', got {equation!r}: how many labels "
            "an ellipsis stands for depends on the shapes"
        )
    if gradient is not None:
        _check_operand(equation, parsed, gradient)
    return parsed


def _check_operand(equation: str, parsed: Equation, operand: int) -> None:
    if operand not in range(len(parsed.inputs)):
        raise EquationError(
            f"drawing a gradient of {equation!r} requires an operand from 0 to "
            f"{len(parsed.inputs) - 1}, got {operand!r}"
        )


def _names(n: int) -> list[str]:
    return [chr(ord("A") + k) if n <= 24 else f"A{k}" for k in range(n)]


def _matplotlib() -> Any:
    try:
        import matplotlib.patches
        import matplotlib.path
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            "drawing requires matplotlib, which is not installed: "
            "pip install 'tf-einsum-grad[plot]'"
        ) from error
    return matplotlib


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    return _matplotlib().pyplot.subplots(figsize=size)[1] if ax is None else ax
