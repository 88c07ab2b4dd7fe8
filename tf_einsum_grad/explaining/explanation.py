"""`explain`: any equation, its gradients, what runs for them, and what it costs. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tf_einsum_grad.algebra.dtypes import DTYPES, dtype_name, itemsize
from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.algebra.errors import OperandError, SizeError
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import Binding, Shape, Size, bind_call
from tf_einsum_grad.explaining import render
from tf_einsum_grad.explaining.native import native_gradient_drawbacks
from tf_einsum_grad.explaining.sharding import Communication, communication
from tf_einsum_grad.lowering.instructions import Permute
from tf_einsum_grad.lowering.lower import lower
from tf_einsum_grad.lowering.recipe import Contraction, Lowering
from tf_einsum_grad.planning.plan import Plan, Step, make_plan

__all__ = ["Explanation", "explain", "read_dtype", "read_shape"]


@dataclass(frozen=True, slots=True)
class Role:
    """A label, its size, and what the equation does with it."""

    label: str
    size: Size
    role: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """One contraction that runs.

    Attributes:
        equation: in the caller's labels.
        kernel: what computes it.
        permutes: the tensors whose axes are reordered for it: "lhs", "rhs", "result", "operand".
        flops: multiplications and additions.
        bytes_moved: read and written by its kernels.
        result_bytes: of what it gives.
        scratch_bytes: of the largest tensor made on the way.
    """

    equation: str
    kernel: str
    permutes: tuple[str, ...]
    flops: int
    bytes_moved: int
    result_bytes: int
    scratch_bytes: int


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient with respect to one operand.

    Attributes:
        operand: its number.
        equation: the transposed equation, the incoming gradient in the slot of the operand.
        derivation: how it was obtained, in words.
        work: what runs for it; with three operands or more the steps that lead to it.
        native: what TensorFlow's own gradient would do worse, as phrases.
    """

    operand: int
    equation: str
    derivation: str
    work: tuple[Work, ...]
    native: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `explain` found; `print` it, show it in a notebook, or take `to_dict()`."""

    equation: str
    expanded: str
    dtype: str
    shapes: tuple[Shape, ...]
    output_shape: Shape
    roles: tuple[Role, ...]
    path: tuple[tuple[int, ...], ...]
    forward: tuple[Work, ...]
    gradients: tuple[Gradient, ...]
    flops_forward: int
    flops_backward: int
    largest_intermediate_bytes: int
    communication: tuple[Communication, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain Python values that `json` takes."""
        return asdict(self)

    def __str__(self) -> str:
        return render.to_text(self)

    def _repr_html_(self) -> str:
        return render.to_html(self)


def explain(
    equation: str,
    *shapes: Any,
    dtype: Any = None,
    optimize: Any = "auto",
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
    dtype = read_dtype(equation, dtype, shapes)
    binding = bind_call(equation, known, sizes)
    expanded, narrow = binding.expanded, binding.equation
    hints = tuple(sorted((size_hints or {}).items()))
    plan = make_plan(narrow, binding.sizes, dtype, optimize, hints)
    label_sizes = dict(binding.sizes)
    forward = tuple(
        _work(step.equation, step.contraction, dtype, label_sizes) for step in plan.steps
    )
    gradients = tuple(_gradient(k, parsed, binding, plan, dtype) for k in range(len(known)))
    backward = {
        (step.operands, k): lower(step.contraction.transpose(k)).cost.flops
        for step in plan.steps
        for k in range(len(step.operands))
    }
    return Explanation(
        equation=equation,
        expanded=str(expanded),
        dtype=dtype,
        shapes=known,
        output_shape=tuple(label_sizes[label] for label in expanded.output),
        roles=_roles(narrow, label_sizes),
        path=plan.path,
        forward=forward,
        gradients=gradients,
        flops_forward=plan.flops,
        flops_backward=sum(backward.values()),
        largest_intermediate_bytes=max(
            [plan.largest_intermediate * itemsize(dtype), *(work.scratch_bytes for work in forward)]
        ),
        communication=communication(narrow, label_sizes, dtype, mesh) if mesh else (),
    )


def read_dtype(equation: str, dtype: Any, operands: Sequence[Any]) -> str:
    """The name of a numeric dtype; of the first operand that has one if None is given.

    Raises:
        OperandError: it is no numeric dtype.
    """
    if dtype is None:
        dtype = next((x.dtype for x in operands if hasattr(x, "dtype")), "float32")
    name = dtype_name(dtype)
    if name not in DTYPES:
        raise OperandError(f"einsum {equation!r} requires a numeric dtype, got {name!r}")
    return name


def read_shape(shape: Any) -> Shape:
    """A shape as a tuple of sizes; None is an unknown one.

    Raises:
        SizeError: it is no shape.
    """
    shape = getattr(shape, "shape", shape)
    try:
        dims = tuple(None if dim is None else dim.__index__() for dim in shape)
    except (TypeError, ValueError, AttributeError) as error:
        raise SizeError(
            f"einsum requires a shape to be a sequence of sizes, got {shape!r}"
        ) from error
    if any(dim is not None and dim < 0 for dim in dims):
        raise SizeError(f"einsum requires sizes from 0 on, got {dims}")
    return dims


def _no_shapes(text: str, equation: Equation) -> tuple[Shape, ...]:
    if equation.has_ellipsis:
        raise SizeError(f"einsum {text!r} requires shapes to be explained, since it has '...'")
    return tuple((None,) * len(subscripts) for subscripts in equation.inputs)


def _roles(equation: Equation, sizes: Mapping[str, Size]) -> tuple[Role, ...]:
    roles = []
    for label in equation.labels:
        holders = [k for k, subscripts in enumerate(equation.inputs) if label in subscripts]
        kept = label in equation.output
        repeated = max(term.count(label) for term in (*equation.inputs, equation.output)) > 1
        if not holders:
            role = "broadcast: new in the output"
        elif len(holders) == 1:
            role = "free: one operand and the output" if kept else "summed: one operand only"
        else:
            role = "batch: operands and output" if kept else "contracting: summed over a product"
        places = [render.operand_name(k) for k in holders] + ["Y"] * kept
        role += ", on a diagonal" * repeated
        roles.append(Role(label, sizes[label], role, tuple(places)))
    return tuple(roles)


def _work(
    equation: Equation, contraction: Contraction, dtype: str, sizes: Mapping[str, Size]
) -> Work:
    lowering = lower(contraction)
    return Work(
        equation=str(equation),
        kernel=lowering.kernel,
        permutes=_permutes(lowering),
        flops=lowering.cost.flops,
        bytes_moved=lowering.cost.bytes_moved,
        result_bytes=num_elements(equation.output, sizes) * itemsize(dtype),
        scratch_bytes=lowering.cost.scratch_bytes,
    )


def _permutes(lowering: Lowering) -> tuple[str, ...]:
    names = ["operand"] if len(lowering.prepare) == 1 else ["lhs", "rhs"]
    parts = zip([*names, "result"], [*lowering.prepare, lowering.finish], strict=True)
    return tuple(name for name, part in parts if any(isinstance(i, Permute) for i in part))


def _gradient(k: int, parsed: Equation, binding: Binding, plan: Plan, dtype: str) -> Gradient:
    sizes, equation = dict(binding.sizes), binding.equation
    works = tuple(
        _work(step.equation.transpose(i), step.contraction.transpose(i), dtype, sizes)
        for step, i in _backward_route(plan, k)
    )
    ellipsis = "".join(
        label for label in equation.labels if label not in "".join((*parsed.inputs, parsed.output))
    )
    native = tuple(
        phrase + (f" ({render.show_bytes(size)})" if size else "")
        for phrase, size in native_gradient_drawbacks(equation, k, ellipsis, sizes, dtype)
    )
    derivation = _derivation(equation, k, dtype)
    broadcast = [binding.expanded.inputs[k][axis] for axis in binding.dropped[k]]
    if broadcast:
        derivation += (
            f" {render.operand_name(k)} has size 1 along {', '.join(broadcast)}, which broadcasts: "
            "it is left out of the equation, and put back into the gradient's shape."
        )
    return Gradient(k, str(equation.transpose(k)), derivation, works, native)


def _backward_route(plan: Plan, k: int) -> list[tuple[Step, int]]:
    """The transposed steps on the way from the output's gradient to that of operand `k`."""
    route: list[tuple[Step, int]] = []
    number, n = k, len(plan.equation.inputs)
    for position, step in enumerate(plan.steps):
        if number in step.operands:
            route.insert(0, (step, step.operands.index(number)))
            number = n + position
    return route


def _derivation(equation: Equation, k: int, dtype: str) -> str:
    name = render.operand_name(k)
    subscripts, output = equation.inputs[k], equation.output
    others = [render.operand_name(i) for i in range(len(equation.inputs)) if i != k]
    conj = "conj " if dtype.startswith("complex") else ""
    if others:
        factors = " and ".join(conj + other for other in others)
        opening = (
            f"With {' and '.join(others)} held fixed, Y[{output}] is linear in {name}"
            f"[{subscripts}]. So by the chain rule dL/d{name} is the incoming gradient dL/dY, "
            f"multiplied by {factors} and summed over every label that {name} does not have."
        )
    else:
        opening = (
            f"Y[{output}] is linear in {name}[{subscripts}]. So by the chain rule dL/d{name} is "
            "the incoming gradient dL/dY, brought back along the same labels."
        )
    sentences = [opening]
    summed = [x for x in equation.transpose(k).labels if x not in subscripts]
    gained = [x for x in dict.fromkeys(subscripts) if x not in output]
    only = [x for x in gained if not any(x in s for i, s in enumerate(equation.inputs) if i != k)]
    sentences.append(
        f"That is the same einsum with '{subscripts}' and '{output}' in each other's places"
        + (f"; it sums over {', '.join(summed)}." if summed else "; nothing is left to sum.")
    )
    if only:
        sentences.append(
            f"{', '.join(only)} was summed out of {name} alone: every element along it had the "
            "same weight, so the gradient is repeated along it."
        )
    if len(set(subscripts)) < len(subscripts):
        sentences.append(
            f"{name} was read on a diagonal only, so its gradient is zero everywhere else."
        )
    return " ".join(sentences)
