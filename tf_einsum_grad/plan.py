"""An einsum of any number of operands -> a sequence of contractions of one or two.

Each step is differentiated by itself, and the tape links them, so intermediates are shared between
forward and backward. A pairwise step costs as many FLOPs forward as in each of its two gradients
(the three are the same sum over the same labels, with a different label set kept), so the path that
is cheapest forward is the cheapest altogether; what differs is the order of an intermediate's
labels, and that is chosen here with the gradients and the next step in view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tf_einsum_grad.cost import extent
from tf_einsum_grad.equation import Equation, fresh_labels
from tf_einsum_grad.errors import SizeError
from tf_einsum_grad.lowering import lower
from tf_einsum_grad.path import Optimize, Path, find_path, hashable_optimize
from tf_einsum_grad.recipe import Contraction, DotDimensions
from tf_einsum_grad.sizes import Size

__all__ = ["Plan", "Step", "make_plan"]


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


@dataclass(frozen=True, slots=True)
class Plan:
    """An einsum as steps; the last one's result is the einsum's."""

    equation: Equation
    sizes: tuple[tuple[str, Size], ...]
    path: Path
    steps: tuple[Step, ...]

    @property
    def flops(self) -> int:
        """Multiplications and additions of the forward pass."""
        return sum(lower(step.contraction).cost.flops for step in self.steps)

    @property
    def largest_intermediate(self) -> int:
        """Elements of the largest tensor between two steps; 0 if there is none."""
        sizes = dict(self.sizes)
        return max((extent(step.equation.output, sizes) for step in self.steps[:-1]), default=0)


def make_plan(
    equation: Equation,
    sizes: tuple[tuple[str, Size], ...],
    dtype: str,
    optimize: Optimize = "auto",
    hints: tuple[tuple[str, int], ...] = (),
    target: str = "graph",
) -> Plan:
    """Plans an einsum.

    Args:
        equation: explicit and without ellipses.
        sizes: each label with its size, None where unknown.
        dtype: of every operand.
        optimize: as for `einsum`.
        hints: sizes to plan with where they are unknown.
        target: "eager", "graph" or "xla".

    Raises:
        PathError: `optimize` is no path for this equation.
        SizeError: a hint is for a label of another equation, or no size.
    """
    planner = _Planner(equation, dict(sizes), dtype, target)
    guesses = _check_hints(equation, hints)
    for k, subscripts in enumerate(equation.inputs):
        planner.reduce(k, subscripts)
    reduced = Equation(tuple(term for _, term in planner.terms), equation.output)
    planning_sizes = {label: guesses.get(label) if s is None else s for label, s in sizes}
    key = hashable_optimize(optimize)
    path = find_path(reduced, planning_sizes, optimize if key is None else key)
    for positions in path:
        planner.contract(positions)
    planner.finish()
    return Plan(equation, sizes, path, tuple(planner.steps))


def _check_hints(equation: Equation, hints: tuple[tuple[str, int], ...]) -> dict[str, int]:
    for label, size in hints:
        if label not in equation.labels:
            raise SizeError(
                f"einsum {str(equation)!r} requires size_hints of its own labels, got {label!r}"
            )
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise SizeError(
                f"einsum {str(equation)!r} requires a size hint that is an integer from 1 on for "
                f"label {label!r}, got {size!r}"
            )
    return dict(hints)


class _Planner:
    """Writes the steps of a plan; `terms` is what is still to be contracted."""

    def __init__(
        self, equation: Equation, sizes: Mapping[str, Size], dtype: str, target: str
    ) -> None:
        self.equation = equation
        self.sizes = sizes
        self.dtype = dtype
        self.target = target
        self.terms: list[tuple[int, str]] = []
        self.steps: list[Step] = []
        self.next_number = len(equation.inputs)
        # In how many terms, and in the output, each label still stands.
        self.uses: dict[str, int] = {}
        for subscripts in (*equation.inputs, equation.output):
            for label in dict.fromkeys(subscripts):
                self.uses[label] = self.uses.get(label, 0) + 1

    def reduce(self, number: int, subscripts: str) -> None:
        """Takes up an operand, without its repeated labels and those that nothing else has."""
        kept = "".join(x for x in dict.fromkeys(subscripts) if self.uses[x] > 1)
        if kept != subscripts and len(self.equation.inputs) > 1:
            number = self._step((number,), Equation((subscripts,), kept))
            subscripts = kept
        self.terms.append((number, subscripts))

    def contract(self, positions: Sequence[int]) -> None:
        """Contracts the terms at `positions`, two at a time, and puts the result last."""
        chosen = [self.terms[p] for p in positions]
        for p in sorted(positions, reverse=True):
            del self.terms[p]
        number, lhs = chosen[0]
        for other, rhs in chosen[1:]:
            for label in set(lhs) & set(rhs):
                self.uses[label] -= 1
            kept = [x for x in dict.fromkeys(lhs + rhs) if self.uses[x] > 1]
            output = self._order(lhs, rhs, kept)
            number = self._step((number, other), Equation((lhs, rhs), output))
            lhs = output
        self.terms.append((number, lhs))

    def finish(self) -> None:
        """Brings what is left into the output's form."""
        ((number, subscripts),) = self.terms
        if subscripts != self.equation.output or not self.steps:
            self._step((number,), Equation((subscripts,), self.equation.output))

    def _step(self, operands: tuple[int, ...], equation: Equation) -> int:
        self.steps.append(Step(operands, equation, self._contraction(equation)))
        self.next_number += 1
        return self.next_number - 1

    def _contraction(self, equation: Equation) -> Contraction:
        renamed = _rename(equation)
        sizes = zip(renamed.labels, (self.sizes[x] for x in equation.labels), strict=True)
        return Contraction(renamed, tuple(sizes), self.dtype, self.target)

    def _order(self, lhs: str, rhs: str, kept: list[str]) -> str:
        """The order of a result's labels: the output's at the end, else whichever costs least.

        Costs are those of the step, of its two gradients, and of the step that takes the result
        next where that is plain: the first remaining term that shares a label.
        """
        final = "".join(x for x in dict.fromkeys(self.equation.output) if x in kept)
        if not self.terms and len(final) == len(kept):
            return final
        roles = DotDimensions.of(Equation((lhs, rhs), "".join(kept)))
        candidates = [
            roles.batch + roles.lhs_free + roles.rhs_free,
            roles.batch + roles.rhs_free + roles.lhs_free,
            final + "".join(x for x in kept if x not in final),
        ]
        return min(dict.fromkeys(candidates), key=lambda output: self._cost(lhs, rhs, output))

    def _cost(self, lhs: str, rhs: str, output: str) -> float:
        cost = self._cost_both_ways(Equation((lhs, rhs), output))
        if len(self.terms) == 1:
            ((_, other),) = self.terms
            kept = "".join(x for x in dict.fromkeys(self.equation.output) if x in output + other)
            cost += self._cost_both_ways(Equation((output, other), kept))
        return cost

    def _cost_both_ways(self, equation: Equation) -> float:
        contraction = self._contraction(equation)
        return sum(
            lower(c).cost.microseconds
            for c in (contraction, contraction.transpose(0), contraction.transpose(1))
        )


@lru_cache(maxsize=4096)
def _rename(equation: Equation) -> Equation:
    """The same equation with labels named in order of first appearance."""
    table = str.maketrans(dict(zip(equation.labels, fresh_labels(""), strict=False)))
    return Equation(
        tuple(subscripts.translate(table) for subscripts in equation.inputs),
        equation.output.translate(table),
    )
