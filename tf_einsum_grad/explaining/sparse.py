"""What runs for an einsum with one sparse operand, and for its gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tf_einsum_grad.algebra.dtypes import DTYPES, itemsize
from tf_einsum_grad.algebra.errors import EinsumError, OperandError
from tf_einsum_grad.algebra.names import naming
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import Binding, Shape, bind_call
from tf_einsum_grad.explaining.derivation import derivation
from tf_einsum_grad.explaining.findings import Gradient, LabelRole, Work
from tf_einsum_grad.explaining.names import intermediate_name, operand_name
from tf_einsum_grad.explaining.work import describe_work, label_findings
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.planning.path import Optimize
from tf_einsum_grad.planning.plan import Step
from tf_einsum_grad.planning.sparse_plan import make_sparse_plan
from tf_einsum_grad.planning.sparse_steps import (
    Gather,
    Scatter,
    SparseMatMul,
    SparseOperand,
    SparsePlan,
    SparseStep,
)

__all__ = ["find_sparse", "read_sparse"]

Sparse = tuple[int, bool, int | None]  # which operand, whether a SparseTensor, how many entries


def read_sparse(equation: str, operands: Sequence[Any]) -> Sparse | None:
    """Which of the operands is sparse, as `einsum` has it: a SparseTensor or its spec, or the like.

    Raises:
        OperandError: there are several.
    """
    kinds = [type(x).__name__.removesuffix("Spec") for x in operands]
    found = [k for k, kind in enumerate(kinds) if kind == "SparseTensor"]
    if len(found) > 1:
        raise OperandError(
            f"einsum {equation!r} requires at most one sparse operand, got {len(found)}"
        )
    found = found or [k for k, kind in enumerate(kinds) if kind == "IndexedSlices"]
    if len(found) != 1:
        return None
    values = getattr(operands[found[0]], "values", None)
    nnz = None if values is None else values.shape[0]
    return found[0], kinds[found[0]] == "SparseTensor", nnz


def find_sparse(
    equation: str,
    shapes: Sequence[Shape],
    dtype: str,
    sparse: Sparse,
    optimize: Optimize,
    sizes: Mapping[str, int] | None,
    size_hints: Mapping[str, int] | None,
    mesh: Mapping[str, int] | None,
    target: Target,
    machine: Machine,
) -> dict[str, Any]:
    """Finds what `explain` says; arguments as there, and what `read_sparse` gave.

    Raises:
        EinsumError: as `einsum` does.
    """
    if mesh:
        raise EinsumError("explain requires dense operands for a mesh, got a sparse one")
    k, whole, nnz = sparse
    binding = bind_call(equation, shapes, sizes)
    operand = SparseOperand.of(binding, k, len(shapes[k]) if whole else 1, nnz)
    hints = tuple(sorted((size_hints or {}).items()))
    compute = DTYPES[dtype].accumulates_in
    with naming(equation):
        plan = make_sparse_plan(
            binding.equation,
            operand,
            binding.sizes,
            compute,
            optimize,
            hints,
            target,
            machine,
            binding.elastic,
        )
    program = _Program(binding, plan, compute, _all_steps(plan))
    bound = dict(binding.sizes)
    forward = tuple(map(program.forward, range(len(program.steps))))
    backward = [
        program.backward(position, i)
        for position, step in enumerate(program.steps)
        for i in range(len(_sources(step)))
    ]
    return {
        "equation": equation,
        "expanded": str(binding.expanded),
        "dtype": dtype,
        "target": target,
        "machine": machine.name,
        "shapes": tuple(shapes),
        "output_shape": tuple(bound[label] for label in binding.expanded.output),
        "roles": (*label_findings(binding.equation, bound), program.entries()),
        "path": (),
        "forward": forward,
        "gradients": tuple(map(program.gradient, range(len(shapes)))),
        "flops_forward": sum(work.flops for work in forward),
        "flops_backward": sum(work.flops for work in backward),
        "largest_intermediate_bytes": max(
            [*(work.result_bytes for work in forward[:-1]), *(w.scratch_bytes for w in forward)]
        ),
        "communication": (),
        "size_hints": tuple((x, n) for x, n in hints if bound[x] is None),
    }


def _all_steps(plan: SparsePlan) -> tuple[SparseStep, ...]:
    """The steps while there are entries and those after, numbered as one plan; none for nothing."""
    n = len(plan.equation.inputs) + len(plan.steps)
    m = len(plan.operands)
    rest = [
        replace(
            step, operands=tuple(plan.operands[i] if i < m else n + i - m for i in step.operands)
        )
        for step in plan.rest.steps
    ]
    if plan.steps and len(rest) == 1 and rest[0].equation.inputs == (rest[0].equation.output,):
        rest = []
    return (*plan.steps, *rest)


def _sources(step: SparseStep) -> tuple[int, ...]:
    """The numbers of the tensors that a step computes with."""
    if isinstance(step, Step):
        return step.operands
    if isinstance(step, SparseMatMul):
        return step.operand, step.dense
    return (step.operand,)


@dataclass(frozen=True, slots=True)
class _Program:
    """Steps with names for their tensors."""

    binding: Binding
    plan: SparsePlan
    dtype: str
    steps: tuple[SparseStep, ...]

    def entries(self) -> LabelRole:
        """What the label of the entries is."""
        name = operand_name(self.plan.sparse.number)
        size = dict(self.plan.likely_sizes)[self.plan.entry]
        about = "" if self.plan.sparse.nnz is not None else ", a guess"
        return LabelRole(self.plan.entry, size, f"entries: of the sparse operand{about}", (name,))

    def name(self, number: int) -> str:
        n, last = len(self.binding.equation.inputs), len(self.steps) - 1
        if number == self.plan.sparse.number:
            return f"{operand_name(number)}.values"
        if number < n:
            return operand_name(number)
        return "Y" if number == n + last else intermediate_name(number - n)

    def forward(self, position: int) -> Work:
        step = self.steps[position]
        result = self.name(len(self.binding.equation.inputs) + position)
        names = [self.name(number) for number in _sources(step)]
        match step:
            case Step():
                return describe_work(result, step.equation, step.contraction, names)
            case Gather():
                return self._gather(
                    result, names[0], step.labels, self._terms(step)[0], step.result
                )
            case Scatter():
                return self._scatter(
                    result, names[0], step.labels, self._terms(step)[0], step.result
                )
            case SparseMatMul():
                return self._matmul(result, step, names, False)

    def backward(self, position: int, i: int) -> Work:
        """What runs for the gradient of a step with respect to its tensor `i`."""
        step, number = self.steps[position], _sources(self.steps[position])[i]
        names = [self._conjugated(self.name(source)) for source in _sources(step)]
        names[i] = f"dL/d{self.name(len(self.binding.equation.inputs) + position)}"
        result, (term, *_) = f"dL/d{self.name(number)}", self._terms(step)
        match step:
            case Step():
                transposed = step.contraction.transpose(i)
                return describe_work(result, step.equation.transpose(i), transposed, names)
            case Gather():
                return self._scatter(result, names[0], step.labels, step.result, term)
            case Scatter():
                return self._gather(result, names[0], step.labels, step.result, term)
            case SparseMatMul():
                if i == 1:
                    return self._matmul(result, step, names, True)
                return self._sampled(result, step, names)

    def gradient(self, k: int) -> Gradient:
        names = [self._conjugated(operand_name(i)) for i in range(len(self.binding.dropped))]
        names[k] = "dL/dY"
        why = derivation(self.binding, k, self.dtype)
        if k == self.plan.sparse.number:
            why += f" Only where {operand_name(k)} has entries: the rest is never computed."
        route: list[Work] = []
        number, n = k, len(self.binding.equation.inputs)
        for position, step in enumerate(self.steps):
            if number in _sources(step):
                route.insert(0, self.backward(position, _sources(step).index(number)))
                number = n + position
        equation = str(self.binding.equation.transpose(k))
        return Gradient(k, equation, tuple(names), why, tuple(route), None)

    def _conjugated(self, text: str) -> str:
        return f"conj({text})" if DTYPES[self.dtype].kind == "complex" else text

    def _bytes(self, labels: str) -> int:
        return itemsize(self.dtype) * num_elements(labels, dict(self.plan.likely_sizes))

    def _terms(self, step: SparseStep) -> tuple[str, str]:
        """The subscripts of what a step looks up or adds up, and of its result."""
        if isinstance(step, Step):
            return step.equation.inputs[0], step.equation.output
        rest = step.result.removeprefix(
            self.plan.entry
            if isinstance(step, Gather)
            else step.rows
            if isinstance(step, SparseMatMul)
            else step.labels
        )
        if isinstance(step, Gather):
            return step.labels + rest, step.result
        if isinstance(step, Scatter):
            return self.plan.entry + rest, step.result
        return step.columns + rest, step.result

    def _gather(self, result: str, x: str, labels: str, term: str, found: str) -> Work:
        moved = 2 * self._bytes(found)
        call = f"look_up({x}, {self._indices(labels)})"
        return Work(result, f"{term}->{found}", "gather", call, 0, moved, self._bytes(found), 0)

    def _scatter(self, result: str, x: str, labels: str, term: str, summed: str) -> Work:
        moved = 2 * self._bytes(term) + self._bytes(summed)
        flops = self._bytes(term) // itemsize(self.dtype)
        call = f"add_up({x}, {self._indices(labels)})"
        return Work(
            result, f"{term}->{summed}", "segment sum", call, flops, moved, self._bytes(summed), 0
        )

    def _indices(self, labels: str) -> str:
        return f"{operand_name(self.plan.sparse.number)}.indices[{labels}]"

    def _matmul(
        self, result: str, step: SparseMatMul, names: Sequence[str], transposed: bool
    ) -> Work:
        """The product with the matrix, or with its transpose."""
        term, product = self._terms(step)
        sides = (step.columns, step.rows) if transposed else (step.rows, step.columns)
        equation = f"{product}->{term}" if transposed else f"{term}->{product}"
        looked_up = self.plan.entry + term.removeprefix(step.columns)
        values, dense = names
        made = self._bytes(term if transposed else product)
        call = f"sparse_dense_matmul({values} at {self._indices(','.join(sides))}, {dense})"
        flops = 2 * self._bytes(looked_up) // itemsize(self.dtype)
        moved = 2 * self._bytes(looked_up) + made
        kernel = "sparse-dense matmul"
        return Work(result, f"{self.plan.entry},{equation}", kernel, call, flops, moved, made, 0)

    def _sampled(self, result: str, step: SparseMatMul, names: Sequence[str]) -> Work:
        """The product sampled at the entries: of the rows that each connects."""
        term, product = self._terms(step)
        looked_up, entry = self.plan.entry + term.removeprefix(step.columns), self.plan.entry
        scratch = self._bytes(looked_up)
        cotangent, dense = names
        rows = f"look_up({cotangent}, {self._indices(step.rows)})"
        columns = f"look_up({dense}, {self._indices(step.columns)})"
        equation = f"{looked_up},{looked_up}->{entry}"
        call = f"einsum('{equation}', {rows}, {columns})"
        flops = 2 * scratch // itemsize(self.dtype)
        made = self._bytes(entry)
        whole = f"{product},{term}->{entry}"
        return Work(result, whole, "sampled", call, flops, 6 * scratch, made, scratch)
