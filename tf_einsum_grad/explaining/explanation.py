"""`explain`: any equation, its gradients, what runs for them, and what it costs. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.algebra.errors import SizeError
from tf_einsum_grad.algebra.roles import Role, label_roles, num_elements
from tf_einsum_grad.algebra.sizes import Binding, Shape, Size
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
from tf_einsum_grad.explaining.findings import Findings, Gradient, LabelRole, Permuted, Work
from tf_einsum_grad.explaining.names import tensor_names
from tf_einsum_grad.explaining.native import native_gradient_drawbacks
from tf_einsum_grad.explaining.sharding import communication
from tf_einsum_grad.lowering.contraction import Contraction, Lowering
from tf_einsum_grad.lowering.instructions import Permute
from tf_einsum_grad.lowering.lower import cost_of, lower
from tf_einsum_grad.planning.path import Optimize
from tf_einsum_grad.planning.plan import Plan, Step
from tf_einsum_grad.text.numbers import show_bytes

__all__ = ["Explanation", "explain"]

_ROLES: Mapping[Role, str] = {
    "batch": "batch: operands and output",
    "contracting": "contracting: summed over a product",
    "free": "free: one operand and the output",
    "summed": "summed: one operand only",
    "broadcast": "broadcast: new in the output",
}


class Explanation(Findings):
    """What `explain` found; `print` it, show it in a notebook, or take `to_dict()`."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns everything, as plain Python values that `json` takes."""
        return asdict(self)

    def __str__(self) -> str:
        return to_text(self)

    def _repr_html_(self) -> str:
        return to_html(self)


def explain(
    equation: str,
    *shapes: ShapeLike,
    dtype: DTypeLike | None = None,
    optimize: Optimize = "auto",
    sizes: Mapping[str, int] | None = None,
    size_hints: Mapping[str, int] | None = None,
    mesh: Mapping[str, int] | None = None,
) -> Explanation:
    """Explains an einsum and its gradients, without importing TensorFlow.

    Args:
        equation: any equation that `einsum` takes.
        *shapes: one for each operand: a sequence of sizes, None where unknown, or anything with a
            `shape`. None at all explains the equation by itself.
        dtype: of the operands; by default that of the first that has one, else float32.
        optimize: as for `einsum`.
        sizes: as for `einsum`.
        size_hints: as for `einsum`.
        mesh: labels that are sharded, each with its number of devices, to see what is sent.

    Raises:
        EinsumError: as `einsum` does.

    Example:
        >>> explanation = explain("ijkm,ijkn->imn", (100, 28, 28, 512), (100, 28, 28, 512))
        >>> [gradient.equation for gradient in explanation.gradients]
        ['imn,ijkn->ijkm', 'ijkm,imn->ijkn']
        >>> explanation.flops_backward // explanation.flops_forward
        2
    """
    parsed = parse_equation(equation)
    known = tuple(map(read_shape, shapes)) or _no_shapes(equation, parsed)
    name = read_dtype(equation, dtype, shapes)
    binding, plan = bind_and_plan(equation, known, name, optimize, sizes, size_hints)
    bound = dict(binding.sizes)
    hints = tuple((x, n) for x, n in (size_hints or {}).items() if bound[x] is None)
    forward = tuple(_work(step.equation, step.contraction) for step in plan.steps)
    largest = plan.largest_intermediate * itemsize(name)
    return Explanation(
        equation=equation,
        expanded=str(binding.expanded),
        dtype=name,
        shapes=known,
        output_shape=tuple(bound[label] for label in binding.expanded.output),
        roles=_roles(binding.equation, bound),
        path=plan.path,
        forward=forward,
        gradients=tuple(_gradient(k, parsed, binding, plan) for k in range(len(known))),
        flops_forward=plan.flops,
        flops_backward=_flops_backward(plan),
        largest_intermediate_bytes=max(largest, *(work.scratch_bytes for work in forward)),
        communication=communication(binding.equation, bound, name, mesh) if mesh else (),
        size_hints=hints,
    )


def _no_shapes(text: str, equation: Equation) -> tuple[Shape, ...]:
    if equation.has_ellipsis:
        raise SizeError(f"einsum {text!r} requires shapes to be explained, since it has '...'")
    return tuple((None,) * len(subscripts) for subscripts in equation.inputs)


def _roles(equation: Equation, sizes: Mapping[str, Size]) -> tuple[LabelRole, ...]:
    terms = (*equation.inputs, equation.output)
    names = tensor_names(len(equation.inputs))
    roles = []
    for label, role in label_roles(equation).items():
        diagonal = ", on a diagonal" if any(term.count(label) > 1 for term in terms) else ""
        places = tuple(name for name, term in zip(names, terms, strict=True) if label in term)
        roles.append(LabelRole(label, sizes[label], _ROLES[role] + diagonal, places))
    return tuple(roles)


def _work(equation: Equation, contraction: Contraction) -> Work:
    lowering, cost = lower(contraction), cost_of(contraction)
    result = num_elements(contraction.equation.output, contraction.likely_sizes)
    return Work(
        equation=str(equation),
        kernel=lowering.kernel,
        permutes=_permutes(lowering),
        flops=cost.flops,
        bytes_moved=cost.bytes_moved,
        result_bytes=result * itemsize(contraction.dtype),
        scratch_bytes=cost.scratch_bytes,
    )


def _permutes(lowering: Lowering) -> tuple[Permuted, ...]:
    names: list[Permuted] = ["operand"] if len(lowering.prepare) == 1 else ["lhs", "rhs"]
    parts = zip([*names, "result"], [*lowering.prepare, lowering.finish], strict=True)
    return tuple(name for name, part in parts if any(isinstance(i, Permute) for i in part))


def _gradient(k: int, parsed: Equation, binding: Binding, plan: Plan) -> Gradient:
    equation, dtype = binding.equation, plan.steps[0].contraction.dtype
    sizes = dict(plan.likely_sizes)
    works = tuple(
        _work(step.equation.transpose(i), step.contraction.transpose(i))
        for step, i in _backward_route(plan, k)
    )
    ellipsis = "".join(label for label in equation.labels if label not in parsed.labels)
    native = tuple(
        phrase + (f" ({show_bytes(size)})" if size else "")
        for phrase, size in native_gradient_drawbacks(equation, k, ellipsis, sizes, dtype)
    )
    why = derivation(binding, k, dtype)
    return Gradient(k, str(equation.transpose(k)), why, works, native)


def _backward_route(plan: Plan, k: int) -> Sequence[tuple[Step, int]]:
    """Lists the transposed steps on the way from the output's gradient to that of operand `k`."""
    route: list[tuple[Step, int]] = []
    number, n = k, len(plan.equation.inputs)
    for position, step in enumerate(plan.steps):
        if number in step.operands:
            route.insert(0, (step, step.operands.index(number)))
            number = n + position
    return route


def _flops_backward(plan: Plan) -> int:
    return sum(
        cost_of(step.contraction.transpose(k)).flops
        for step in plan.steps
        for k in range(len(step.operands))
    )
