"""`einsum_path`: the contraction path and a report of it, as NumPy has them. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import bind_call
from tf_einsum_grad.explaining.explanation import read_dtype, read_shape
from tf_einsum_grad.explaining.render import show_bytes, show_flops
from tf_einsum_grad.lowering.recipe import DotDimensions
from tf_einsum_grad.planning.path import Optimize
from tf_einsum_grad.planning.plan import Plan, Step, make_plan

__all__ = ["einsum_path"]


def einsum_path(
    equation: str,
    *operands_or_shapes: Any,
    optimize: Optimize = "auto",
    sizes: Mapping[str, int] | None = None,
    size_hints: Mapping[str, int] | None = None,
) -> tuple[list[Any], str]:
    """The contraction path of an einsum, and a report to print.

    Args:
        equation: any equation that `einsum` takes.
        *operands_or_shapes: one for each operand: anything with a `shape`, or a sequence of sizes.
        optimize: as for `einsum`.
        sizes: as for `einsum`.
        size_hints: as for `einsum`.

    Returns:
        The path as `np.einsum_path` gives it, `["einsum_path", (0, 1), ...]`, which `einsum` and
        `np.einsum` take as `optimize`; and a report.

    Raises:
        EinsumError: as `einsum` does.

    Example:
        >>> path, report = einsum_path("ij,jk,kl->il", (2, 900), (900, 3), (3, 700))
        >>> path
        ['einsum_path', (0, 1), (0, 1)]
    """
    shapes = tuple(map(read_shape, operands_or_shapes))
    dtype = read_dtype(equation, None, operands_or_shapes)
    binding = bind_call(equation, shapes, sizes)
    hints = tuple(sorted((size_hints or {}).items()))
    plan = make_plan(binding.equation, binding.sizes, dtype, optimize, hints)
    return ["einsum_path", *plan.path], _report(equation, plan, dtype)


def _report(equation: str, plan: Plan, dtype: str) -> str:
    largest = show_bytes(itemsize(dtype) * plan.largest_intermediate)
    sizes = dict(plan.sizes)
    naive = num_elements(plan.equation.labels, sizes) * max(len(plan.equation.inputs), 1)
    lines = [
        f"  Equation:              {equation}",
        f"  As one sum:            {show_flops(naive)}",
        f"  Step by step:          {show_flops(plan.flops)}",
        f"  Speedup:               {naive / max(plan.flops, 1):.3g}",
        f"  Largest intermediate:  {largest} ({dtype})",
        "",
        "  step  operands      contraction                       roles of the labels",
    ]
    n = len(plan.equation.inputs)
    for position, step in enumerate(plan.steps):
        operands = ", ".join(f"{k}" if k < n else f"step {k - n}" for k in step.operands)
        lines.append(f"  {position:>4}  {operands:<12}  {step.equation!s:<32}  {_roles(step)}")
    return "\n".join(lines)


def _roles(step: Step) -> str:
    if len(step.operands) == 1:
        return "one operand"
    roles = DotDimensions.of(step.equation)
    named = (("batch", roles.batch), ("contracting", roles.contracting), ("free", roles.lhs_free))
    rest = (("free", roles.rhs_free),)
    return ", ".join(f"{name} {labels}" for name, labels in (*named, *rest) if labels)
