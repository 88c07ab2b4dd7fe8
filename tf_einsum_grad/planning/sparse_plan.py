"""An einsum with one sparse operand -> steps, none of which makes that operand dense.

`sparse_steps` says what steps there are.
Which operands are contracted before they are looked up, and which after the entries are summed, is
a question of price.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.equation import Equation, fresh_labels
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.machine import CPU, Machine, Target
from tf_einsum_grad.planning.path import Optimize, find_path, hashable_optimize
from tf_einsum_grad.planning.plan import Step, known_and_likely, make_plan
from tf_einsum_grad.planning.search import Path
from tf_einsum_grad.planning.sparse_steps import (
    Gather,
    Scatter,
    SparseMatMul,
    SparseOperand,
    SparsePlan,
    SparseStep,
)

__all__ = ["entries_to_expect", "make_sparse_plan"]

# Entries among elements, where nothing is known: of what people keep sparse, one in a hundred is
# much already.
UNKNOWN_DENSITY = 0.01
# Of up to so many operands every order is tried; of more, the cheapest next step is taken.
FEW = 4
# What TensorFlow has a sparse-dense product for, on CPU.
MATMUL_DTYPES = ("float32", "float64", "complex64", "complex128", "int32")


def entries_to_expect(sparse: SparseOperand, subscripts: str, sizes: Mapping[str, Size]) -> int:
    """How many entries to decide with: as many as there are, or a small part of the elements."""
    if sparse.nnz is not None:
        return sparse.nnz
    n_index = num_elements([x for x in dict.fromkeys(subscripts) if x in sparse.index], sizes)
    return max(1, int(n_index * UNKNOWN_DENSITY))


def make_sparse_plan(
    equation: Equation,
    sparse: SparseOperand,
    sizes: tuple[tuple[str, Size], ...],
    dtype: str,
    optimize: Optimize = "auto",
    hints: tuple[tuple[str, int], ...] = (),
    target: Target = "graph",
    machine: Machine = CPU,
    elastic: str = "",
) -> SparsePlan:
    """Plans an einsum with one sparse operand.

    Args:
        equation: explicit and without ellipses.
        sparse: which operand is sparse, and in what.
        sizes, dtype, optimize, hints, target, machine, elastic: as for `make_plan`. A path is
            followed; where the entries are summed on it is decided by price.

    Raises:
        PathError: `optimize` is no path for this equation.
        SizeError: a hint is for a label of another equation, or no size.
    """
    known, guesses, likely = known_and_likely(equation, sizes, hints, elastic)
    used = "".join((*equation.inputs, equation.output))
    entry = next(x for x in itertools.chain("z", fresh_labels(used)) if x not in used)
    known[entry] = 0 if sparse.nnz == 0 else None
    guesses[entry] = entries_to_expect(sparse, equation.inputs[sparse.number], likely)
    likely[entry] = guesses[entry]

    def contraction(step: Equation) -> Contraction:
        return Contraction.of(step, known, dtype, target, guesses, machine, elastic)

    prices = _Prices(likely, dtype, target, machine)
    writer = _Writer(entry, contraction, prices, len(equation.inputs))
    has_matmul = dtype in MATMUL_DTYPES and target != "xla"
    planner = _Planner(equation, sparse, writer, has_matmul)
    start = planner.start()
    way = planner.best(start, _path(planner, start, likely, optimize))
    rest = Equation(tuple([term.labels for term in way.terms]), equation.output)
    plan = make_plan(
        rest,
        tuple((label, dict(sizes)[label]) for label in rest.labels),
        dtype,
        way.path or "auto",
        tuple((label, size) for label, size in hints if label in rest.labels),
        target,
        machine,
        "".join(label for label in elastic if label in rest.labels),
    )
    return SparsePlan(
        equation,
        sparse,
        entry,
        tuple(likely.items()),
        way.steps,
        plan,
        tuple([term.number for term in way.terms]),
    )


def _path(
    planner: _Planner, start: _State, likely: Mapping[str, Size], optimize: Optimize
) -> Path | None:
    """The path to follow, in pairs; None for any."""
    key = hashable_optimize(optimize)
    if key == "auto":
        return None
    terms = tuple([planner.dense_labels(term) for term in start.terms])
    reduced = Equation(terms, planner.equation.output)
    path = find_path(reduced, likely, optimize if key is None else key)
    return _in_pairs(path, len(terms))


def _in_pairs(path: Path, n: int) -> Path:
    """A path whose every step is of two operands."""
    listed, left, new, pairs = list(range(n)), list(range(n)), n, []
    for step in path:
        result, *others = [listed[position] for position in step]
        listed = [x for position, x in enumerate(listed) if position not in step]
        for other in others:
            pairs.append((left.index(result), left.index(other)))
            left = [*(x for x in left if x not in (result, other)), new]
            result, new = new, new + 1
        listed.append(result)
    return tuple(pairs)


class _Term(NamedTuple):
    """A tensor that is still to be contracted."""

    number: int
    labels: str


class _State(NamedTuple):
    """How far a plan has come: what is still to be contracted, the steps so far, their price.

    `path` is what is left of a path where the entries have been summed.
    """

    terms: tuple[_Term, ...]
    steps: tuple[SparseStep, ...] = ()
    cost: float = 0.0
    path: Path = ()


@dataclass(frozen=True, slots=True)
class _Prices:
    """What steps cost, in microseconds: bytes at the rate of the kernel that moves them."""

    sizes: Mapping[str, Size]
    dtype: str
    target: Target
    machine: Machine

    def contraction(self, *terms: str) -> float:
        """A contraction; the last term is its result."""
        moved = sum(map(self._bytes, terms)) / self.machine.stream
        flops = 2 * num_elements(sorted(set("".join(terms))), self.sizes) * (len(terms) > 2)
        return self._launch() + max(moved, flops / self.machine.flops)

    def gather(self, result: str) -> float:
        return self._launch() + 2 * self._bytes(result) / self.machine.gather

    def scatter(self, entries: str, result: str) -> float:
        return self._sum_up(entries, result, self.machine.segment_sum)

    def matmul(self, entries: str, result: str) -> float:
        """A product; `entries` are the labels of what it would look up."""
        return self._sum_up(entries, result, self.machine.sparse_matmul)

    def _sum_up(self, entries: str, result: str, rate: float) -> float:
        moved = 2 * self._bytes(entries) / rate
        return self._launch() + moved + self._bytes(result) / self.machine.stream

    def _bytes(self, labels: str) -> int:
        return itemsize(self.dtype) * num_elements(labels, self.sizes)

    def _launch(self) -> float:
        return self.machine.launch(self.target)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes steps: each takes a state to the next, and says which term is its result.

    The result of one term stands where that stood, the result of two last, as paths have it.

    Args:
        entry: the label of the entries.
        contraction: a step's equation as what is lowered.
        prices: of steps.
        n_operands: how many terms there are at the start.
    """

    entry: str
    contraction: Callable[[Equation], Contraction]
    prices: _Prices
    n_operands: int

    def contract(self, state: _State, terms: Sequence[_Term], result: str) -> tuple[_State, _Term]:
        equation = Equation(tuple([term.labels for term in terms]), result)
        numbers = tuple([term.number for term in terms])
        price = self.prices.contraction(*equation.inputs, result)
        return self._add(state, Step(numbers, equation, self.contraction(equation)), terms, price)

    def gather(self, state: _State, term: _Term, labels: str) -> tuple[_State, _Term]:
        """Looks up `labels`."""
        state, term = self._lead(state, term, labels)
        result = self.entry + term.labels[len(labels) :]
        step = Gather(term.number, labels, result)
        return self._add(state, step, [term], self.prices.gather(result))

    def scatter(self, state: _State, term: _Term, labels: str) -> tuple[_State, _Term]:
        """Gives the result `labels`; without any, all entries add up."""
        if not labels:
            return self.contract(state, [term], term.labels.replace(self.entry, ""))
        state, term = self._lead(state, term, self.entry)
        result = labels + term.labels[1:]
        step = Scatter(term.number, labels, result)
        return self._add(state, step, [term], self.prices.scatter(term.labels, result))

    def matmul(
        self, state: _State, values: _Term, dense: _Term, rows: str, columns: str
    ) -> tuple[_State, _Term]:
        state, dense = self._lead(state, dense, columns)
        rest = dense.labels[len(columns) :]
        step = SparseMatMul(values.number, dense.number, rows, columns, rows + rest)
        price = self.prices.matmul(self.entry + rest, step.result)
        return self._add(state, step, [values, dense], price)

    def _lead(self, state: _State, term: _Term, labels: str) -> tuple[_State, _Term]:
        """Permutes a term so that it has `labels` first."""
        wanted = labels + "".join([x for x in term.labels if x not in labels])
        return (state, term) if wanted == term.labels else self.contract(state, [term], wanted)

    def _add(
        self, state: _State, step: SparseStep, used: Sequence[_Term], price: float
    ) -> tuple[_State, _Term]:
        labels = step.equation.output if isinstance(step, Step) else step.result
        result = _Term(self.n_operands + len(state.steps), labels)
        if len(used) == 1:
            terms = [result if term is used[0] else term for term in state.terms]
        else:
            terms = [*(term for term in state.terms if term not in used), result]
        return _State(tuple(terms), (*state.steps, step), state.cost + price), result


@dataclass(frozen=True, slots=True)
class _Planner:
    """Tries what can be done with the terms that are left, and keeps what costs least.

    Args:
        equation: the einsum.
        sparse: which operand is sparse.
        write: what writes steps.
        has_matmul: whether TensorFlow has a sparse-dense product for this.
    """

    equation: Equation
    sparse: SparseOperand
    write: _Writer
    has_matmul: bool

    def start(self) -> _State:
        """Takes up the operands, without repeated labels and those that nothing else has."""
        entry = self.write.entry
        inputs = list(self.equation.inputs)
        inputs[self.sparse.number] = entry + self.sparse.values
        terms = tuple([_Term(k, labels) for k, labels in enumerate(inputs)])
        state = _State(terms)
        for term in terms:
            rest = [*inputs[: term.number], *inputs[term.number + 1 :]]
            others = "".join([*rest, self.equation.output, self.sparse.index, entry])
            kept = "".join([x for x in dict.fromkeys(term.labels) if x in others])
            if kept != term.labels:
                state, _ = self.write.contract(state, [term], kept)
        return state

    def dense_labels(self, term: _Term) -> str:
        """The labels of a term, with those of the indices in the place of the entry's."""
        if self.write.entry not in term.labels:
            return term.labels
        return self.sparse.index + term.labels.replace(self.write.entry, "")

    def best(self, state: _State, path: Path | None) -> _State:
        """The cheapest end; with a path, of those that follow it."""
        if self._entries(state) is None:
            rest = self._price_rest(tuple([term.labels for term in state.terms]), path)
            return state._replace(cost=state.cost + rest, path=path or ())
        moves = self._moves(state, path)
        if path is None and len(state.terms) > FEW:
            return self.best(min(moves, key=lambda move: move[0].cost)[0], None)
        ends = [self.best(move, rest) for move, rest in moves]
        return min(ends, key=lambda end: end.cost)

    def _entries(self, state: _State) -> _Term | None:
        return next((term for term in state.terms if self.write.entry in term.labels), None)

    def _moves(self, state: _State, path: Path | None) -> Iterator[tuple[_State, Path | None]]:
        """What can be done next, and what is left of the path after it."""
        entries = self._entries(state)
        assert entries is not None
        others = [term for term in state.terms if term is not entries]
        labels = self._kept_index(others)
        if not (others and self._is_as_large(labels + entries.labels)):
            yield self.write.scatter(state, entries, labels)[0], path
        for (i, j), rest in _pairs(len(state.terms), path):
            a, b = state.terms[i], state.terms[j]
            others = [term for term in state.terms if term not in (a, b)]
            if entries not in (a, b):
                kept = self._kept(a, b, others)
                known = any(self._is_as_large(term.labels) for term in (a, b))
                if known or path is not None or not self._is_as_large(kept):
                    yield self.write.contract(state, [a, b], kept)[0], rest
                continue
            dense = a if b is entries else b
            if self._shared(dense) or self._kept_index(others):  # else entries add up before
                yield self._multiply_looked_up(state, entries, dense, others), rest
            if move := self._matmul(state, entries, dense, others):
                yield move, rest

    def _multiply_looked_up(
        self, state: _State, entries: _Term, dense: _Term, others: Sequence[_Term]
    ) -> _State:
        """Looks a dense term up, and multiplies what the entries have by it."""
        shared = self._shared(dense)
        if shared:
            state, dense = self.write.gather(state, dense, shared)
        kept = self._kept(entries, dense, others)
        entry = self.write.entry if self._kept_index(others) else ""
        return self.write.contract(state, [entries, dense], entry + kept)[0]

    def _matmul(
        self, state: _State, entries: _Term, dense: _Term, others: Sequence[_Term]
    ) -> _State | None:
        """Multiplies a dense term by a matrix of the entries, where that is what they are."""
        columns, rows = self._shared(dense), self._kept_index(others)
        if not (self.has_matmul and columns and rows and entries.labels == self.write.entry):
            return None
        if others and self._is_as_large(
            rows + "".join([x for x in dense.labels if x not in columns])
        ):
            return None
        return self.write.matmul(state, entries, dense, rows, columns)[0]

    def _shared(self, dense: _Term) -> str:
        return "".join([x for x in self.sparse.index if x in dense.labels])

    def _kept_index(self, others: Sequence[_Term]) -> str:
        """The labels of the indices that are still needed, the output's first and in its order."""
        wanted = dict.fromkeys(self.equation.output + "".join([term.labels for term in others]))
        return "".join([x for x in wanted if x in self.sparse.index])

    def _kept(self, a: _Term, b: _Term, others: Sequence[_Term]) -> str:
        """The labels of a product but the entry's: what is looked up later first."""
        wanted = self.equation.output + "".join([term.labels for term in others])
        if self._has_entries(others):
            wanted = self.sparse.index + wanted
        both, entry = a.labels + b.labels, self.write.entry
        return "".join([x for x in dict.fromkeys(wanted) if x in both and x != entry])

    def _has_entries(self, terms: Sequence[_Term]) -> bool:
        return any(self.write.entry in term.labels for term in terms)

    def _is_as_large(self, labels: str) -> bool:
        """Whether a dense tensor with these labels has all that the sparse operand has."""
        own = {*self.sparse.index, *self.sparse.values}
        return bool(self.sparse.index) and own <= {*labels}

    def _price_rest(self, terms: tuple[str, ...], path: Path | None) -> float:
        """What it costs to contract dense terms."""
        output = self.equation.output
        if len(terms) == 1:
            return 0.0 if terms[0] == output else self.write.prices.contraction(*terms, output)
        ways = []
        for (i, j), rest in _pairs(len(terms), path):
            a, b = terms[i], terms[j]
            others = [term for position, term in enumerate(terms) if position not in (i, j)]
            kept = "".join([x for x in dict.fromkeys(a + b) if x in output + "".join(others)])
            cost = self.write.prices.contraction(a, b, kept)
            ways.append((cost, (*others, kept), rest))
        if path is None and len(terms) > FEW:
            ways = [min(ways, key=lambda way: way[0])]
        return min([cost + self._price_rest(left, rest) for cost, left, rest in ways])


def _pairs(n: int, path: Path | None) -> Iterator[tuple[tuple[int, int], Path | None]]:
    """The positions of which two may be contracted next, and what is left of the path after it."""
    if path is None:
        for first, second in itertools.combinations(range(n), 2):
            yield (first, second), None
    elif path:
        first, second = path[0]
        yield (first, second), path[1:]
