"""An einsum of any number of operands -> a sequence of contractions of one or two.

Each step is differentiated by itself, and the tape links them, so intermediates are shared between
forward and backward. A pairwise step costs as many FLOPs forward as in each of its two gradients
(the three are the same sum over the same labels, with a different label set kept), so the path that
needs the fewest forward needs the fewest altogether. What FLOPs do not tell is which kernels run:
of similar paths the one that the cost model likes best is taken, and each intermediate's labels
stand in the order that it likes best, with the gradients and the next step in view.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tf_einsum_grad.algebra.dtypes import DTYPES, is_differentiable
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.errors import SizeError
from tf_einsum_grad.algebra.roles import DotRoles, num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering.contraction import Contraction, signature
from tf_einsum_grad.lowering.lower import cost_both_ways, cost_of
from tf_einsum_grad.lowering.machine import CPU, Machine, Target
from tf_einsum_grad.planning.path import Optimize, find_path, hashable_optimize
from tf_einsum_grad.planning.search import Path

__all__ = ["Plan", "Step", "known_and_likely", "make_plan"]

# Of an einsum with an operand of so many elements, a step with fewer than a share of them is over
# before that operand is read, in whatever order the labels of its result stand.
_LARGE = 2**14
_NEGLIGIBLE = 64


@dataclass(frozen=True, slots=True)
class Step:
    """One contraction of a plan.

    Attributes:
        operands: what is contracted: the einsum's operands are numbered from 0, and the result of
            each step takes the next number.
        equation: in the einsum's own labels.
        contraction: the same with labels renamed in order of appearance, so that steps that do the
            same share one lowering.
    """

    operands: tuple[int, ...]
    equation: Equation
    contraction: Contraction

    @property
    def rounds(self) -> bool:
        """Whether it computes, rather than moves what is there."""
        kept = self.equation.output
        return len(self.operands) > 1 or any(x not in kept for x in self.equation.labels)


@dataclass(frozen=True, slots=True)
class Plan:
    """An einsum as steps; the last one's result is the einsum's.

    Attributes:
        equation: of any number of operands.
        likely_sizes: each label with the size to decide with: its own, or a hint; None without.
        path: the contraction path.
        steps: in the order in which they run.
        compiled: whether XLA compiles all of it, forward and backward, which was measured to pay.
    """

    equation: Equation
    likely_sizes: tuple[tuple[str, Size], ...]
    path: Path
    steps: tuple[Step, ...]
    compiled: bool = False

    @property
    def dtype(self) -> str:
        """The dtype of every step: the operands', or what these are cast to."""
        return self.steps[0].contraction.dtype

    @property
    def flops(self) -> int:
        """Multiplications and additions of the forward pass."""
        return sum(cost_of(step.contraction).flops for step in self.steps)

    @property
    def largest_intermediate(self) -> int:
        """Elements of the largest tensor between two steps; 0 if there is none."""
        sizes = dict(self.likely_sizes)
        outputs = [num_elements(step.equation.output, sizes) for step in self.steps[:-1]]
        return max(outputs, default=0)


def make_plan(
    equation: Equation,
    sizes: tuple[tuple[str, Size], ...],
    dtype: str,
    optimize: Optimize = "auto",
    hints: tuple[tuple[str, int], ...] = (),
    target: Target = "graph",
    machine: Machine = CPU,
    elastic: str = "",
) -> Plan:
    """Plans an einsum.

    Args:
        equation: explicit and without ellipses.
        sizes: each label with its size, None where unknown.
        dtype: of every operand.
        optimize: as for `einsum`.
        hints: sizes to decide with where they are unknown: paths, orders of labels, kernels.
        target: "eager", "graph" or "xla".
        machine: what kernels are priced on.
        elastic: labels that may turn out to be 1 in one operand and not in another; what is known
            of their sizes serves as a hint.

    Raises:
        PathError: `optimize` is no path for this equation.
        SizeError: a hint is for a label of another equation, or no size.
    """
    known, guesses, likely = known_and_likely(equation, sizes, hints, elastic)

    def start(dtype: str = dtype) -> _Planner:
        return _Planner(
            equation,
            lambda step: Contraction.of(step, known, dtype, target, guesses, machine, elastic),
            likely,
        )

    terms = tuple(term for _, term in start().terms)
    reduced = Equation(terms, equation.output)
    key = hashable_optimize(optimize)
    path = find_path(
        reduced,
        likely,
        optimize if key is None else key,
        lambda path, most: start().weigh(path, most),
    )
    steps = start().follow(path)
    wide = DTYPES[dtype].accumulates_in
    if is_differentiable(dtype) and wide != dtype and sum(step.rounds for step in steps) > 1:
        # What one step leaves for the next is not rounded to half precision between them.
        steps = start(wide).follow(path)
    compiled = bool(machine.compiled) and signature(equation, sizes, dtype, target) in (
        machine.compiled
    )
    return Plan(equation, tuple(likely.items()), path, steps, compiled)


def known_and_likely(
    equation: Equation,
    sizes: tuple[tuple[str, Size], ...],
    hints: tuple[tuple[str, int], ...],
    elastic: str,
) -> tuple[dict[str, Size], dict[str, int], dict[str, Size]]:
    """Returns the sizes that are known for certain, guesses at others, and sizes to decide with.

    Raises:
        SizeError: a hint is for a label of another equation, or no size.
    """
    known, guesses = dict(sizes), _check_hints(equation, hints)
    likely = {label: guesses.get(label) if size is None else size for label, size in sizes}
    for label in elastic:
        if size := known[label]:  # of a label of size 0 all is known
            known[label], guesses[label] = None, size
    return known, guesses, likely


def _check_hints(equation: Equation, hints: tuple[tuple[str, int], ...]) -> dict[str, int]:
    """Returns hints as a mapping.

    Raises:
        SizeError: one is for a label of another equation, or no size.
    """
    for label, size in hints:
        if label not in equation.labels:
            raise SizeError(
                f"einsum {str(equation)!r} requires size_hints of its own labels, got {label!r}"
            )
        if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
            raise SizeError(
                f"einsum {str(equation)!r} requires a size hint that is an integer from 1 on for "
                f"label {label!r}, got {size!r}"
            )
    return {label: operator.index(size) for label, size in hints}


class _Planner:
    """Writes the steps of a plan; `terms` is what is still to be contracted.

    Args:
        equation: the einsum.
        contraction: a step's equation as what is lowered.
        sizes: to decide with.
    """

    def __init__(
        self,
        equation: Equation,
        contraction: Callable[[Equation], Contraction],
        sizes: Mapping[str, Size],
    ) -> None:
        self.equation = equation
        self.sizes = sizes
        largest = max([num_elements(set(term), sizes) for term in equation.inputs])
        self.negligible = largest / _NEGLIGIBLE if largest > _LARGE else 0
        self.contraction = contraction
        self.terms: list[tuple[int, str]] = []
        self.steps: list[Step] = []
        self.next_number = len(equation.inputs)
        # In how many terms, and in the output, each label still stands.
        self.uses: dict[str, int] = {}
        for subscripts in (*equation.inputs, equation.output):
            for label in dict.fromkeys(subscripts):
                self.uses[label] = self.uses.get(label, 0) + 1
        for k, subscripts in enumerate(equation.inputs):
            self._reduce(k, subscripts)

    def follow(self, path: Path) -> tuple[Step, ...]:
        """The steps of a path, which is for what `terms` are at the start."""
        for positions in path:
            self._contract(positions)
        self._finish()
        return tuple(self.steps)

    def weigh(self, path: Path, most: float) -> float:
        """What a path costs, with all gradients; infinity as soon as that is more than `most`."""
        total, n_weighed = 0.0, 0
        for positions in path:
            self._contract(positions)
            total += sum([cost_both_ways(step.contraction) for step in self.steps[n_weighed:]])
            n_weighed = len(self.steps)
            if total > most:
                return math.inf
        self._finish()
        return total + sum([cost_both_ways(step.contraction) for step in self.steps[n_weighed:]])

    def _reduce(self, number: int, subscripts: str) -> None:
        """Takes up an operand, without its repeated labels and those that nothing else has."""
        kept = "".join(x for x in dict.fromkeys(subscripts) if self.uses[x] > 1)
        if kept != subscripts and len(self.equation.inputs) > 1:
            number = self._step((number,), Equation((subscripts,), kept))
            subscripts = kept
        self.terms.append((number, subscripts))

    def _contract(self, positions: Sequence[int]) -> None:
        """Contracts the terms at `positions`, two at a time, and puts the result last."""
        chosen = [self.terms[p] for p in positions]
        for p in sorted(positions, reverse=True):
            del self.terms[p]
        number, lhs = chosen[0]
        for k, (other, rhs) in enumerate(chosen[1:], 2):
            for label in set(lhs) & set(rhs):
                self.uses[label] -= 1
            kept = [x for x in dict.fromkeys(lhs + rhs) if self.uses[x] > 1]
            rest = [term for _, term in chosen[k:] + self.terms]
            output = self._order(lhs, rhs, kept, rest)
            number = self._step((number, other), Equation((lhs, rhs), output))
            lhs = output
        self.terms.append((number, lhs))

    def _finish(self) -> None:
        """Brings what is left into the output's form."""
        ((number, subscripts),) = self.terms
        if subscripts != self.equation.output or not self.steps:
            self._step((number,), Equation((subscripts,), self.equation.output))

    def _step(self, operands: tuple[int, ...], equation: Equation) -> int:
        self.steps.append(Step(operands, equation, self.contraction(equation)))
        self.next_number += 1
        return self.next_number - 1

    def _order(self, lhs: str, rhs: str, kept: list[str], rest: list[str]) -> str:
        """The order of a result's labels: the output's at the end, else whichever costs least.

        Costs are those of the step, of its two gradients, and of the step that takes the result
        next where that is plain: `rest`, what is still to be contracted, is one term.
        """
        final = "".join(x for x in dict.fromkeys(self.equation.output) if x in kept)
        if not rest and len(final) == len(kept):
            return final
        roles = DotRoles.of(lhs, rhs, kept)
        if num_elements({*lhs, *rhs}, self.sizes) < self.negligible:
            return "".join(roles.batch + roles.lhs_free + roles.rhs_free)
        candidates = [
            "".join(roles.batch + roles.lhs_free + roles.rhs_free),
            "".join(roles.batch + roles.rhs_free + roles.lhs_free),
        ]
        # In the order of the output, of an operand, or of what the result is contracted with next.
        following = rest if len(rest) == 1 else []
        for first in (final, lhs, rhs, *following):
            candidates.append("".join(x for x in dict.fromkeys([*first, *kept]) if x in kept))

        def cost(output: str) -> float:
            steps = [Equation((lhs, rhs), output)]
            for other in following:
                last = [x for x in dict.fromkeys(self.equation.output) if x in output + other]
                steps.append(Equation((output, other), "".join(last)))
            return sum(cost_both_ways(self.contraction(step)) for step in steps)

        return min(dict.fromkeys(candidates), key=cost)
