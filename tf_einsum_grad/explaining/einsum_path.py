"""`einsum_path`: the contraction path and a report of it, as NumPy has them. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.names import read_call, read_names, show_names
from tf_einsum_grad.algebra.roles import DotRoles, num_elements
from tf_einsum_grad.explaining.arguments import (
    bind_and_plan,
    read_dtype,
    read_shape,
)
from tf_einsum_grad.explaining.memory import find_memory, show_memory
from tf_einsum_grad.lowering.lower import cost_of
from tf_einsum_grad.planning.limit import MemoryLimit
from tf_einsum_grad.planning.path import Optimize
from tf_einsum_grad.planning.plan import Plan, Step
from tf_einsum_grad.text.numbers import show_bytes, show_flops

__all__ = ["einsum_path"]


def einsum_path(
    equation: Any,
    *operands_or_shapes: Any,
    optimize: Optimize = "auto",
    sizes: Mapping[Any, int] | None = None,
    size_hints: Mapping[Any, int] | None = None,
    memory_limit: MemoryLimit = None,
    recompute: bool = False,
) -> tuple[list[Literal["einsum_path"] | tuple[int, ...]], str]:
    """Finds the contraction path of an einsum, and writes a report of it.

    Args:
        equation: any equation that `einsum` takes; or, as there, operands or shapes each followed
            by a sublist.
        *operands_or_shapes: one for each operand: anything with a `shape`, or a sequence of sizes.
        optimize: as for `einsum`.
        sizes: as for `einsum`.
        size_hints: as for `einsum`.
        memory_limit, recompute: as for `einsum`; the path is then that of a slice, and the report
            has slices, peaks and what they cost more.

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
    text, operands = read_call(equation, operands_or_shapes)
    sizes, size_hints = (
        read_names(text, *option) for option in (("sizes", sizes), ("size_hints", size_hints))
    )
    shapes = tuple(map(read_shape, operands))
    dtype = read_dtype(text, None, operands)
    binding, plan = bind_and_plan(text, shapes, dtype, optimize, sizes, size_hints)
    flops = plan.flops + sum(
        cost_of(step.contraction.transpose(k)).flops
        for step in plan.steps
        for k in range(len(step.operands))
    )
    memory = find_memory(text, binding, dtype, memory_limit, recompute, flops, optimize, size_hints)
    if memory is None:
        return ["einsum_path", *plan.path], _report(text, plan, dtype)
    _, plan = bind_and_plan(text, shapes, dtype, memory.path, sizes, size_hints)
    lines = [line.replace("\t", "") for line in show_memory(memory)]
    report = "\n".join([_report(text, plan, dtype), "", *(f"  {line}" for line in lines)])
    return ["einsum_path", *memory.path], report


def _report(equation: str, plan: Plan, dtype: str) -> str:
    largest = show_bytes(itemsize(dtype) * plan.largest_intermediate)
    n = len(plan.equation.inputs)
    naive = num_elements(plan.equation.labels, dict(plan.likely_sizes)) * n
    shown = [show_names(equation, str(step.equation)) for step in plan.steps]
    width = max(32, *map(len, shown))
    lines = [
        f"  Equation:              {equation}",
        f"  As one sum:            {show_flops(naive)}",
        f"  Step by step:          {show_flops(plan.flops)}",
        f"  Speedup:               {naive / max(plan.flops, 1):.3g}",
        f"  Largest intermediate:  {largest} ({dtype})",
        "",
        f"  step  operands      {'contraction':<{width}}  roles of the labels",
    ]
    for position, step in enumerate(plan.steps):
        operands = ", ".join(f"{k}" if k < n else f"step {k - n}" for k in step.operands)
        roles = show_names(equation, _roles(step))
        lines.append(f"  {position:>4}  {operands:<12}  {shown[position]:<{width}}  {roles}")
    return "\n".join(lines)


def _roles(step: Step) -> str:
    if len(step.operands) == 1:
        return "one operand"
    lhs, rhs = step.equation.inputs
    roles = DotRoles.of(lhs, rhs, step.equation.output)
    named = (
        ("batch", roles.batch),
        ("contracting", roles.contracting),
        ("free", roles.lhs_free),
        ("free", roles.rhs_free),
    )
    return ", ".join(f"{name} {''.join(labels)}" for name, labels in named if labels)
