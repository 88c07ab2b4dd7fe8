"""What a memory limit makes of an einsum: its slices, what they hold, and what they cost more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tf_einsum_grad.algebra.names import naming
from tf_einsum_grad.algebra.sizes import Binding
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.lowering.machines import machine_here
from tf_einsum_grad.planning.limit import read_memory
from tf_einsum_grad.planning.path import Optimize
from tf_einsum_grad.planning.slices import SlicedPlan, make_sliced_plan
from tf_einsum_grad.text.numbers import show_bytes, show_flops

__all__ = ["MemoryFindings", "find_memory", "show_memory"]


@dataclass(frozen=True, slots=True)
class MemoryFindings:
    """How an einsum runs where memory is limited, or intermediates are computed again.

    Attributes:
        limit_bytes: what neither pass may take beyond operands, result and gradients; None for no
            limit.
        blocks: each sliced label with the size of its blocks.
        n_slices: how many slices run, one after the other, in each pass.
        n_steps: how many steps a slice has.
        segment: how many of them the backward pass holds at once.
        path: the contraction path of a slice.
        forward_bytes: what the forward pass holds at most, beyond operands and result.
        backward_bytes: what the backward pass holds at most, beyond those and the gradients.
        flops_forward: multiplications and additions of the forward pass.
        flops_backward: those of the backward pass, which computes each slice again.
        extra_flops: how many more that is than without.
    """

    limit_bytes: int | None
    blocks: tuple[tuple[str, int], ...]
    n_slices: int
    n_steps: int
    segment: int
    path: tuple[tuple[int, ...], ...]
    forward_bytes: int
    backward_bytes: int
    flops_forward: int
    flops_backward: int
    extra_flops: int


def find_memory(
    text: str,
    binding: Binding,
    dtype: str,
    memory_limit: Any,
    recompute: Any,
    flops: int,
    optimize: Optimize = "auto",
    size_hints: Mapping[str, int] | None = None,
    target: Target = "graph",
    machine: Machine | None = None,
) -> MemoryFindings | None:
    """Plans what a limit makes of an einsum; None where memory is not limited.

    Args:
        text: the equation, for messages.
        binding: its sizes.
        dtype, memory_limit, recompute, optimize, size_hints, target, machine: as for `einsum`.
        flops: of both passes without a limit.

    Raises:
        EinsumError: as `einsum` does.
    """
    memory = read_memory(memory_limit, recompute)
    if memory is None:
        return None
    inputs = "".join(binding.equation.inputs)
    fixed = "".join([x for x, n in binding.sizes if n is None and x not in inputs])
    with naming(text):
        plan: SlicedPlan = make_sliced_plan(
            binding.equation,
            binding.sizes,
            dtype,
            optimize,
            tuple(sorted((size_hints or {}).items())),
            "graph" if target == "eager" else target,
            machine or machine_here(),
            binding.elastic,
            memory.limit,
            fixed,
        )
    forward, backward = plan.flops, plan.flops_backward
    return MemoryFindings(
        memory.limit,
        plan.blocks,
        plan.n_slices,
        len(plan.plan.steps),
        min(plan.segment, len(plan.plan.steps)),
        plan.plan.path,
        plan.forward_bytes,
        plan.backward_bytes,
        forward,
        backward,
        forward + backward - flops,
    )


def show_memory(found: MemoryFindings) -> Iterator[str]:
    """Writes it down, a line for each thing."""
    limit = "no limit" if found.limit_bytes is None else f"at most {show_bytes(found.limit_bytes)}"
    yield f"Memory: {limit} beyond operands, result and gradients"
    blocks = ", ".join(f"{label} in blocks of {size}" for label, size in found.blocks)
    slices = f"{found.n_slices}, one after the other: {blocks}" if blocks else "1, all of it"
    yield f"    Slices: \t{slices}."
    again = "which computes each slice again"
    if found.segment < found.n_steps:
        again += f", at most {found.segment} of its {found.n_steps} steps at once"
    yield (
        f"    Passes: \tforward, which keeps operands only, {show_bytes(found.forward_bytes)} at "
        f"most; backward, {again}, {show_bytes(found.backward_bytes)}."
    )
    yield (
        f"    Cost: \tforward {show_flops(found.flops_forward)}, backward "
        f"{show_flops(found.flops_backward)}; {show_flops(found.extra_flops)} more than without."
    )
