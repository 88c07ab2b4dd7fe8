"""What a contraction runs and what its labels do, as findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.roles import Role, label_roles, num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.explaining.findings import LabelRole, Work
from tf_einsum_grad.explaining.names import tensor_names
from tf_einsum_grad.explaining.program import show_program
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.lower import cost_of, lower

__all__ = ["describe_work", "label_findings"]

_ROLES: Mapping[Role, str] = {
    "batch": "batch: operands and output",
    "contracting": "contracting: summed over a product",
    "free": "free: one operand and the output",
    "summed": "summed: one operand only",
    "broadcast": "broadcast: new in the output",
}


def label_findings(equation: Equation, sizes: Mapping[str, Size]) -> tuple[LabelRole, ...]:
    """Says of each label what the equation does with it."""
    terms = (*equation.inputs, equation.output)
    names = tensor_names(len(equation.inputs))
    roles = []
    for label, role in label_roles(equation).items():
        diagonal = ", on a diagonal" if any(term.count(label) > 1 for term in terms) else ""
        places = tuple(name for name, term in zip(names, terms, strict=True) if label in term)
        roles.append(LabelRole(label, sizes[label], _ROLES[role] + diagonal, places))
    return tuple(roles)


def describe_work(
    result: str, equation: Equation, contraction: Contraction, operands: Sequence[str]
) -> Work:
    """Says what runs for a contraction."""
    lowering, cost = lower(contraction), cost_of(contraction)
    elements = num_elements(contraction.equation.output, contraction.likely_sizes)
    return Work(
        result=result,
        equation=str(equation),
        kernel=lowering.kernel,
        call=show_program(lowering, equation, dict(contraction.sizes), operands),
        flops=cost.flops,
        bytes_moved=cost.bytes_moved,
        result_bytes=elements * itemsize(contraction.dtype),
        scratch_bytes=cost.scratch_bytes,
    )
