"""`explain`: any equation, its gradients, what runs for them, and what it costs. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from tf_einsum_grad.algebra.dtypes import DTYPES, itemsize
from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.algebra.errors import EinsumError, OperandError, SizeError
from tf_einsum_grad.algebra.names import naming, read_call, read_names
from tf_einsum_grad.algebra.sizes import Binding, Shape
from tf_einsum_grad.explaining.arguments import (
    DTypeLike,
    ShapeLike,
    bind_and_plan,
    read_dtype,
    read_shape,
)
from tf_einsum_grad.explaining.as_html import to_html
from tf_einsum_grad.explaining.as_text import to_text
from tf_einsum_grad.explaining.derivation import derivation
from tf_einsum_grad.explaining.findings import Findings, Gradient, Work
from tf_einsum_grad.explaining.memory import find_memory
from tf_einsum_grad.explaining.names import (
    intermediate_name,
    name_labels,
    operand_name,
)
from tf_einsum_grad.explaining.native import native_gradient
from tf_einsum_grad.explaining.program import show_list
from tf_einsum_grad.explaining.sharding import communication
from tf_einsum_grad.explaining.sparse import find_sparse, read_sparse
from tf_einsum_grad.explaining.work import describe_work, label_findings
from tf_einsum_grad.lowering.lower import cost_of
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.lowering.machines import machine_here, shipped
from tf_einsum_grad.planning.limit import MemoryLimit, read_memory
from tf_einsum_grad.planning.path import Optimize
from tf_einsum_grad.planning.plan import Plan

__all__ = ["Explanation", "explain"]


class Explanation(Findings):
    """What `explain` found; `print` it, show it in a notebook, or take `to_dict()`."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns everything, as plain Python values that `json` takes."""
        return asdict(self)

    def to_text(self, width: int = 98) -> str:
        """Returns it as text, in lines of at most `width` characters."""
        return to_text(self, width)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return to_html(self)


def explain(
    equation: Any,
    *shapes: Any,
    dtype: DTypeLike | None = None,
    optimize: Optimize = "auto",
    sizes: Mapping[Any, int] | None = None,
    size_hints: Mapping[Any, int] | None = None,
    mesh: Mapping[Any, int] | None = None,
    target: Target = "graph",
    machine: str | Machine | None = None,
    memory_limit: MemoryLimit = None,
    recompute: bool = False,
) -> Explanation:
    """Explains an einsum and its gradients, without importing TensorFlow.

    Args:
        equation: any equation that `einsum` takes; or, as there, shapes each followed by a sublist.
        *shapes: one for each operand: a sequence of sizes, None where unknown, or anything with a
            `shape`. One may be a `tf.SparseTensor` or its spec. None at all explains the equation
            by itself.
        dtype: of the operands; by default that of the first that has one, else float32.
        optimize: as for `einsum`.
        sizes: as for `einsum`.
        size_hints: as for `einsum`.
        mesh: labels that are sharded, each with its number of devices, to see what is sent.
        target: where it runs: "graph" (`tf.function`), "eager", or "xla" (`jit_compile=True`).
            Each has kernels that are best for it.
        machine: what it runs on: "cpu" or "cpu-onednn" (without or with oneDNN's kernels), or
            "gpu". By default what a graph runs on here, if TensorFlow is loaded; else "cpu".
        memory_limit, recompute: as for `einsum`, to see slices, peaks and what they cost more.

    Raises:
        EinsumError: as `einsum` does, and where there is no such target or machine.

    Example:
        >>> explanation = explain("ijkm,ijkn->imn", (100, 28, 28, 512), (100, 28, 28, 512))
        >>> [gradient.equation for gradient in explanation.gradients]
        ['imn,ijkn->ijkm', 'ijkm,imn->ijkn']
        >>> explanation.gradients[0].work[0].call, explanation.gradients[0].native.call
        ("einsum('ijkn,imn->ijkm', B, dL/dY)", "einsum('imn,ijkn->ijkm', dL/dY, B)")
    """
    text, operands = read_call(equation, shapes)
    if target not in get_args(Target):
        wanted = ", ".join(get_args(Target))
        raise EinsumError(f"explain requires a target among {wanted}, got {target!r}")
    given = {"sizes": sizes, "size_hints": size_hints, "mesh": mesh}
    sizes, size_hints, mesh = (read_names(text, *option) for option in given.items())
    with naming(text):
        here = _read_machine(machine)
        memory = memory_limit, recompute
        read_memory(*memory)
        options = optimize, sizes, size_hints, mesh, target, here
        found = _find(text, operands, dtype, *options, memory)
    return name_labels(text, found)


def _find(
    equation: str,
    shapes: Sequence[ShapeLike],
    dtype: DTypeLike | None,
    optimize: Optimize,
    sizes: Mapping[str, int] | None,
    size_hints: Mapping[str, int] | None,
    mesh: Mapping[str, int] | None,
    target: Target,
    machine: Machine,
    memory: tuple[Any, Any],
) -> Explanation:
    parsed = parse_equation(equation)
    known = tuple(map(read_shape, shapes)) or _no_shapes(equation, parsed)
    name = read_dtype(equation, dtype, shapes)
    sparse = read_sparse(equation, shapes)
    if sparse is not None:
        if read_memory(*memory) is not None:
            raise OperandError(
                f"explain {equation!r} requires dense operands with memory_limit or recompute"
            )
        options = (optimize, sizes, size_hints, mesh, target, machine)
        return Explanation(**find_sparse(equation, known, name, sparse, *options))
    binding, plan = bind_and_plan(
        equation, known, name, optimize, sizes, size_hints, target, machine
    )
    bound = dict(binding.sizes)
    hints = tuple((x, n) for x, n in (size_hints or {}).items() if bound[x] is None)
    program = _Program(binding, plan, known, name)
    forward = tuple(map(program.forward, range(len(plan.steps))))
    flops = plan.flops + _flops_backward(plan)
    largest = plan.largest_intermediate * itemsize(name)
    return Explanation(
        equation=equation,
        expanded=str(binding.expanded),
        dtype=name,
        target=target,
        machine=machine.name,
        shapes=known,
        output_shape=tuple(bound[label] for label in binding.expanded.output),
        roles=label_findings(binding.equation, bound),
        path=plan.path,
        forward=forward,
        gradients=tuple(_gradient(k, parsed, program) for k in range(len(known))),
        flops_forward=plan.flops,
        flops_backward=_flops_backward(plan),
        largest_intermediate_bytes=max(largest, *(work.scratch_bytes for work in forward)),
        communication=communication(binding.equation, bound, name, mesh) if mesh else (),
        size_hints=hints,
        memory=find_memory(
            equation, binding, name, *memory, flops, optimize, size_hints, target, machine
        ),
    )


def _read_machine(machine: str | Machine | None) -> Machine:
    if machine is None:
        return machine_here()
    return machine if isinstance(machine, Machine) else shipped(machine)


def _no_shapes(text: str, equation: Equation) -> tuple[Shape, ...]:
    if equation.has_ellipsis:
        raise SizeError(f"einsum {text!r} requires shapes to be explained, since it has '...'")
    return tuple((None,) * len(subscripts) for subscripts in equation.inputs)


@dataclass(frozen=True, slots=True)
class _Program:
    """A plan with names for its tensors."""

    binding: Binding
    plan: Plan
    shapes: tuple[Shape, ...]
    dtype: str

    def name(self, number: int) -> str:
        """What the tensor of that number is called: an operand, or the result of a step."""
        n, last = len(self.shapes), len(self.plan.steps) - 1
        if number < n:
            return operand_name(number)
        return "Y" if number == n + last else intermediate_name(number - n)

    def operand(self, number: int) -> str:
        """The tensor as what a step takes: without the axes of size 1 that broadcast."""
        dropped = self.binding.dropped[number] if number < len(self.shapes) else ()
        name = self.name(number)
        name = f"squeeze({name}, {show_list(dropped)})" if dropped else name
        return self.cast(name, self.plan.dtype) if number < len(self.shapes) else name

    def cast(self, text: str, dtype: str) -> str:
        """The tensor in that dtype, where the plan has another than operands and result."""
        return text if self.plan.dtype == self.dtype else f"cast({text}, {dtype})"

    def conjugated(self, text: str) -> str:
        return f"conj({text})" if DTYPES[self.dtype].kind == "complex" else text

    def forward(self, position: int) -> Work:
        """What runs for a step."""
        step = self.plan.steps[position]
        names = [self.operand(number) for number in step.operands]
        result = self.name(len(self.shapes) + position)
        work = describe_work(result, step.equation, step.contraction, names)
        if result == "Y":
            work = replace(work, call=self.cast(work.call, self.dtype))
        return work

    def backward(self, position: int, i: int) -> Work:
        """What runs for the gradient of a step with respect to its operand `i`."""
        step, number = self.plan.steps[position], self.plan.steps[position].operands[i]
        names = [self.conjugated(self.operand(number)) for number in step.operands]
        cotangent = f"dL/d{self.name(len(self.shapes) + position)}"
        names[i] = self.cast(cotangent, self.plan.dtype) if cotangent == "dL/dY" else cotangent
        equation, contraction = step.equation.transpose(i), step.contraction.transpose(i)
        work = describe_work(f"dL/d{self.name(number)}", equation, contraction, names)
        if step.contraction.stretches(i):
            work = replace(work, call=f"fit({work.call}, {self.operand(number)})")
        if number < len(self.shapes):
            work = replace(work, call=self.cast(work.call, self.dtype))
        if number < len(self.shapes) and self.binding.dropped[number]:
            work = replace(work, call=f"reshape({work.call}, {show_list(self.shapes[number])})")
        return work


def _gradient(k: int, parsed: Equation, program: _Program) -> Gradient:
    binding, plan = program.binding, program.plan
    names = [program.conjugated(operand_name(i)) for i in range(len(program.shapes))]
    names[k] = "dL/dY"
    sizes = dict(plan.likely_sizes)
    return Gradient(
        operand=k,
        equation=str(binding.equation.transpose(k)),
        operands=tuple(names),
        derivation=derivation(binding, k, program.dtype),
        work=tuple(program.backward(*place) for place in _backward_route(plan, k)),
        native=native_gradient(parsed, binding, k, names, sizes, program.dtype),
    )


def _backward_route(plan: Plan, k: int) -> Sequence[tuple[int, int]]:
    """Lists the steps on the way from the output's gradient to that of operand `k`.

    Each is the position of a step, and which of its operands leads on.
    """
    route: list[tuple[int, int]] = []
    number, n = k, len(plan.equation.inputs)
    for position, step in enumerate(plan.steps):
        if number in step.operands:
            route.insert(0, (position, step.operands.index(number)))
            number = n + position
    return route


def _flops_backward(plan: Plan) -> int:
    return sum(
        cost_of(step.contraction.transpose(k)).flops
        for step in plan.steps
        for k in range(len(step.operands))
    )
