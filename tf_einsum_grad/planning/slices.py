"""An einsum in bounded memory: which labels are cut into blocks, along which path.

A slice is the einsum with each sliced label cut to one block of it. Slices of labels that the
output has fill its blocks; slices of labels that it has not add up. They run one after the other,
so what is on the way in one is gone before the next; backward, each is computed once more, or again
and again where less is held (see `recompute`).

Blocks shrink a label at a time, from none to a single index each, always the label that takes most
off the peak for what it adds to the FLOPs. That sequence does not depend on the limit, which takes
of each path the first slicing that fits, and of all paths the one with the best price. A block
divides its label; a label of unknown size is cut to single indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import opt_einsum

from tf_einsum_grad.algebra.dtypes import DTYPES, is_differentiable, itemsize
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.errors import PathError, SizeError
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering.footprint import footprint
from tf_einsum_grad.lowering.lower import cost_both_ways, cost_of
from tf_einsum_grad.lowering.machine import CPU, Machine, Target
from tf_einsum_grad.planning.path import Optimize, hashable_optimize
from tf_einsum_grad.planning.plan import Plan, Step, known_and_likely, make_plan
from tf_einsum_grad.planning.recompute import Event, runs, schedule, segments
from tf_einsum_grad.planning.trees import sliced_trees

__all__ = ["SlicedPlan", "make_sliced_plan"]

Blocks = tuple[tuple[str, int], ...]
_MOST_PATHS_BY_SIZE = 12  # operands
_MOST_SLICES = 10**6  # more would run for minutes at best


@dataclass(frozen=True, slots=True)
class SlicedPlan:
    """An einsum as slices that run one after the other, each by the same plan.

    Attributes:
        equation: the einsum.
        plan: of one slice.
        blocks: each sliced label with the size of its blocks.
        n_slices: how many there are, at the likely sizes.
        segment: how many steps of a slice the backward pass holds at once.
        dtype: of operands and result; the plan's may be wider.
        forward_bytes: what the forward pass holds at most, beyond operands and result.
        backward_bytes: what the backward pass holds at most, beyond those and the gradients.
    """

    equation: Equation
    plan: Plan
    blocks: Blocks
    n_slices: int
    segment: int
    dtype: str
    forward_bytes: int
    backward_bytes: int

    @property
    def peak_bytes(self) -> int:
        """What neither pass exceeds, beyond operands, result and gradients."""
        return max(self.forward_bytes, self.backward_bytes)

    @property
    def events(self) -> tuple[Event, ...]:
        """The backward pass of a slice."""
        return _events(self.plan, self.segment)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the forward pass."""
        return self.n_slices * self.plan.flops

    @property
    def flops_backward(self) -> int:
        """Those of the backward pass: what runs again, and all gradients."""
        steps = self.plan.steps
        again = sum(cost_of(steps[k].contraction).flops for k in runs(self.events))
        transposed = sum(
            cost_of(step.contraction.transpose(k)).flops
            for step in steps
            for k in range(len(step.operands))
        )
        return self.n_slices * (again + transposed)

    @property
    def microseconds(self) -> float:
        """The price of both passes."""
        steps = self.plan.steps
        again = sum(cost_of(steps[k].contraction).microseconds for k in runs(self.events))
        return self.n_slices * (again + sum(cost_both_ways(step.contraction) for step in steps))

    def accumulates(self, subscripts: str) -> bool:
        """Whether several slices add to the same block of a tensor with these labels."""
        return any(label not in subscripts for label, _ in self.blocks)


def make_sliced_plan(
    equation: Equation,
    sizes: tuple[tuple[str, Size], ...],
    dtype: str,
    optimize: Optimize = "auto",
    hints: tuple[tuple[str, int], ...] = (),
    target: Target = "graph",
    machine: Machine = CPU,
    elastic: str = "",
    limit: int | None = None,
    fixed: str = "",
) -> SlicedPlan:
    """Plans an einsum whose passes take at most `limit` bytes, however many slices that makes.

    Args:
        equation, sizes, dtype, optimize, hints, target, machine, elastic: as for `make_plan`.
        limit: bytes beyond operands, result and gradients; None for one slice, whatever it takes.
        fixed: labels that cannot be sliced.

    Raises:
        PathError: nothing takes as little; the message says what the least is.
        SizeError: a size is unknown, and there is no hint; or as `make_plan` does.
    """
    _, _, likely = known_and_likely(equation, sizes, hints, elastic)
    unknown = [label for label, size in likely.items() if size is None]
    if unknown and limit is not None:
        raise SizeError(
            f"einsum {str(equation)!r} requires size_hints for the labels whose sizes are unknown "
            f"with memory_limit, since what fits depends on them; got none for {unknown[0]!r}"
        )

    def plan(blocks: Blocks, by: Optimize) -> Plan:
        own = dict(sizes) | dict(blocks)
        rest = "".join([x for x in elastic if x not in dict(blocks)])
        wide = DTYPES[dtype].accumulates_in if blocks and is_differentiable(dtype) else dtype
        return make_plan(equation, tuple(own.items()), wide, by, hints, target, machine, rest)

    def finish(blocks: Blocks, by: Optimize, segment: int) -> SlicedPlan:
        return _measured(equation, plan(blocks, by), segment, blocks, dtype, likely)

    if limit is None:
        return finish((), optimize, max(1, len(equation.inputs)))
    whole = {label: size for label, size in sizes if label not in elastic}
    bases = [plan((), path) for path in _paths(equation, likely, optimize, lambda x: plan((), x))]
    fits: list[SlicedPlan] = []
    least = math.inf
    for base in bases:  # what is held in longer segments takes less time
        for segment in segments(len(base.steps)):
            found = finish((), base.path, segment)
            least = min(least, found.peak_bytes)
            if found.peak_bytes <= limit:
                fits.append(found)
                break
    few = len(equation.inputs) <= _MOST_PATHS_BY_SIZE
    for base in bases if few or not fits else ():
        for segment in dict.fromkeys([max(1, len(base.steps)), 1]):
            for peak, blocks in _shrink(base, segment, likely, whole, fixed, itemsize(dtype)):
                if peak > limit and peak >= least:
                    continue
                found = finish(blocks, base.path, segment)
                if found.n_slices > _MOST_SLICES:
                    break
                least = min(least, found.peak_bytes)
                if found.peak_bytes <= limit:
                    fits.append(found)
                    break
    if not few and hashable_optimize(optimize) == "auto":
        fits += _by_trees(equation, likely, limit, fixed, finish)
    if fits:
        return min(fits, key=lambda found: found.microseconds)
    raise PathError(
        f"einsum {str(equation)!r} requires a memory_limit of {least} bytes or more, got {limit}"
    )


def _by_trees(
    equation: Equation,
    likely: Mapping[str, Size],
    limit: int,
    fixed: str,
    finish: Callable[[Blocks, Optimize, int], SlicedPlan],
) -> list[SlicedPlan]:
    """What cotengra finds that fits, if it is there: as few slices as do."""
    sizes = {label: size or 1 for label, size in likely.items()}
    for path, labels in sliced_trees(equation, sizes, _MOST_SLICES):
        if any(label in fixed for label in labels):
            continue
        blocks = tuple([(label, 1) for label in labels])
        for segment in segments(len(path)):
            found = finish(blocks, path, segment)
            if found.peak_bytes <= limit and found.n_slices <= _MOST_SLICES:
                return [found]
    return []


def _events(plan: Plan, segment: int) -> tuple[Event, ...]:
    steps = tuple([step.operands for step in plan.steps])
    return schedule(steps, len(plan.equation.inputs), segment)


def _paths(
    equation: Equation,
    likely: Mapping[str, Size],
    optimize: Optimize,
    plan: Callable[[Optimize], Plan],
) -> list[Optimize]:
    """The paths to choose among: the one asked for, or several where that is left to us."""
    paths = [plan(optimize).path]
    if hashable_optimize(optimize) == "auto" and len(equation.inputs) > 2:
        others: list[Optimize] = ["greedy"]
        if len(equation.inputs) <= _MOST_PATHS_BY_SIZE:
            others.append(opt_einsum.DynamicProgramming(minimize="size"))
        paths += [plan(other).path for other in others]
    return list(dict.fromkeys(paths))


def _shrink(
    plan: Plan,
    segment: int,
    likely: Mapping[str, Size],
    known: Mapping[str, Size],
    fixed: str,
    item: int,
) -> Iterator[tuple[int, Blocks]]:
    """Each slicing on the way to blocks of one index, with a lower bound of what it holds."""
    sizes = {label: size or 0 for label, size in likely.items()}
    steps, whole = plan.steps, dict(sizes)
    unions = [step.equation.labels for step in steps]
    nothing, events = [0] * len(steps), _events(plan, segment)

    def price(sizes: Mapping[str, int]) -> float:
        slices = math.prod((whole[x] / size for x, size in sizes.items() if size), start=1.0)
        return slices * sum(num_elements(union, sizes) for union in unions)

    def peak(sizes: Mapping[str, int]) -> int:
        cut = {x for x, size in sizes.items() if size != likely[x]}
        return max(_passes(plan, events, sizes, cut, item, item, nothing, [nothing, nothing]))

    while True:
        cut = tuple([(x, size) for x, size in sizes.items() if size != likely[x]])
        before, cost = peak(sizes), price(sizes)
        yield before, cut
        largest = max([*steps], key=lambda step: _held(step, sizes))
        choices = [x for x in largest.equation.labels if sizes[x] > 1 and x not in fixed]
        choices = choices or [x for x, size in sizes.items() if size > 1 and x not in fixed]
        if not choices:
            return
        rated = []
        for label in choices:
            block = _next_block(sizes[label], known.get(label))
            after = {**sizes, label: block}
            shrinks = math.log((before + 1) / (peak(after) + 1))
            grows = math.log((price(after) + 1) / (cost + 1)) + 0.01
            rated.append((-shrinks / grows if shrinks > 0 else 0.0, grows, label, block))
        _, _, label, block = min(rated)
        sizes[label] = block


def _held(step: Step, sizes: Mapping[str, int]) -> int:
    terms = (*step.equation.inputs, step.equation.output)
    return sum(num_elements(term, sizes) for term in terms)


def _next_block(block: int, size: Size) -> int:
    """The next smaller block: the largest divisor of the size up to half; 1 where it is unknown."""
    if size is None:
        return 1
    return next(n for n in range(block // 2, 0, -1) if size % n == 0)


def _measured(
    equation: Equation,
    plan: Plan,
    segment: int,
    blocks: Blocks,
    dtype: str,
    likely: Mapping[str, Size],
) -> SlicedPlan:
    own = {label: size or 1 for label, size in likely.items()} | dict(blocks)
    forward = [footprint(step.contraction) for step in plan.steps]
    conjugates = 2 if DTYPES[dtype].kind == "complex" else 1
    backward: list[list[int]] = [[], []]
    for step in plan.steps:
        for k in range(2):
            if k >= len(step.operands):
                backward[k].append(0)
                continue
            extra = footprint(step.contraction.transpose(k))
            gradient = num_elements(step.equation.inputs[k], own) * itemsize(plan.dtype)
            if step.contraction.stretches(k):
                extra += 2 * max(gradient, num_elements(step.equation.output, own))
            if conjugates == 2 and len(step.operands) == 2:
                other = num_elements(step.equation.inputs[1 - k], own)
                extra += other * itemsize(plan.dtype)
            backward[k].append(extra)
    narrow, wide = itemsize(dtype), itemsize(plan.dtype)
    events = _events(plan, segment)
    passes = _passes(plan, events, own, dict(blocks), narrow, wide, forward, backward)
    n_slices = math.prod([(likely[label] or 1) // block for label, block in blocks])
    if wide != narrow and blocks:  # what adds up does so in the wide dtype, all of it
        terms = [equation.output, *equation.inputs]
        cut = dict(blocks)
        held = [
            wide * num_elements(term, {x: size or 1 for x, size in likely.items()})
            if any(x not in term for x in cut)
            else 0
            for term in terms
        ]
        passes = (passes[0] + held[0], passes[1] + sum(held[1:]))
    return SlicedPlan(equation, plan, blocks, n_slices, segment, dtype, *passes)


def _passes(
    plan: Plan,
    events: Sequence[Event],
    sizes: Mapping[str, int],
    cut: Mapping[str, int] | set[str],
    narrow: int,
    wide: int,
    forward: Sequence[int],
    backward: Sequence[Sequence[int]],
) -> tuple[int, int]:
    """The bytes that the forward and the backward pass hold at most in one slice.

    Args:
        plan: of the slice.
        events: its backward pass.
        sizes: those of the slice.
        cut: the labels that are sliced.
        narrow, wide: bytes of an element of operands and result, and of the plan's tensors.
        forward, backward: what each step holds besides, and the transpose of each by its operand.
    """
    n, output = len(plan.equation.inputs), plan.equation.output
    casts = wide != narrow

    def block(subscripts: str) -> int:
        """A copy of a block of an operand or a cotangent, and what it is cast to."""
        elements = num_elements(subscripts, sizes)
        sliced = any(x in cut for x in subscripts)
        return elements * (narrow * sliced + wide * casts)

    def written(subscripts: str) -> int:
        """A block that was computed, cast, and added to what is there."""
        if not cut:
            return wide * num_elements(subscripts, sizes) * casts
        return (wide + wide + narrow * casts) * num_elements(subscripts, sizes)

    values = [block(term) for term in plan.equation.inputs]
    values += [wide * num_elements(step.equation.output, sizes) for step in plan.steps]
    last = len(values) - 1
    live = peak = 0
    for position, step in enumerate(plan.steps):
        live += sum(values[k] for k in step.operands if k < n)
        result = values[n + position]
        ends = n + position == last
        made = written(output) if ends else result
        peak = max(peak, live + made + forward[position])
        live += result - sum(values[k] for k in step.operands)
    top = peak
    live = peak = block(output)
    held: set[int] = set()
    for event in events:
        position, step = event.position, plan.steps[event.position]
        live += sum(values[k] for k in step.operands if k not in held)
        held.update(step.operands)
        if not event.pulls:
            live += values[n + position]
            held.add(n + position)
            peak = max(peak, live + forward[position])
        else:
            peak, made = max(peak, live), 0
            for k, number in enumerate(step.operands):
                own = number < n
                size = written(plan.equation.inputs[number]) if own else values[number]
                peak = max(peak, live + made + size + backward[k][position])
                made += 0 if own else size
            ends = n + position == last
            live += made - (block(output) if ends else values[n + position])
        live -= sum(values[k] for k in event.drops)
        held.difference_update(event.drops)
    return top, peak
