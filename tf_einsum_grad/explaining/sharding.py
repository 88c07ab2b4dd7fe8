"""What an einsum and its gradients communicate when labels are sharded over a mesh of devices.

The rule is short. A label of the result that is sharded stays sharded: nothing is sent. A label
that is summed over and sharded leaves every device with a part of the sum, for all of the result
that it holds: an all-reduce of that result over the devices which share the label. A gradient is
the transposed equation, so the same rule says what it sends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.errors import EquationError, SizeError
from tf_einsum_grad.algebra.roles import label_roles
from tf_einsum_grad.algebra.sizes import Size

__all__ = ["Communication", "communication"]


@dataclass(frozen=True, slots=True)
class Communication:
    """What one contraction sends.

    Attributes:
        what: "forward" or "gradient 0", "gradient 1", ...
        equation: the contraction.
        reduced: the sharded labels that it sums over; none of them, and nothing is sent.
        devices: how many devices take part in each all-reduce; 1 where nothing is sent.
        bytes: that each device puts into the all-reduce: its part of the result.
    """

    what: str
    equation: Equation
    reduced: tuple[str, ...]
    devices: int
    bytes: int

    @property
    def bytes_sent(self) -> int:
        """What each device sends in a ring all-reduce: 2 (n - 1) / n of its part."""
        return 2 * (self.devices - 1) * self.bytes // self.devices


def communication(
    equation: Equation, sizes: Mapping[str, Size], dtype: str, mesh: Mapping[str, int]
) -> tuple[Communication, ...]:
    """Counts what the forward pass and the gradient of each operand communicate.

    Each label of `mesh` is sharded over a mesh axis of its own, in every tensor that has it (the
    operands, the result and their gradients); the other labels are whole on every device. An
    einsum of three operands or more counts as one contraction; ask for its steps one by one to
    count what a contraction path reduces on the way.

    Args:
        equation: explicit and without ellipses.
        sizes: each label with its size.
        dtype: of the operands.
        mesh: a label -> over how many devices it is sharded.

    Returns:
        The forward pass, then the gradient with respect to each operand.

    Raises:
        EquationError: the equation has `...`, the mesh a label that the equation lacks, or one
            that a term repeats (a diagonal cannot be cut into blocks along both of its axes).
        SizeError: a size is missing, or not divisible by its number of shards.

    Example:
        >>> matmul = Equation(("bk", "kn"), "bn")
        >>> for part in communication(matmul, {"b": 64, "k": 512, "n": 512}, "float32", {"b": 4}):
        ...     print(part.what, part.equation, part.reduced, part.bytes)
        forward bk,kn->bn () 0
        gradient 0 bn,kn->bk () 0
        gradient 1 bk,bn->kn ('b',) 1048576
    """
    known = _check(equation, sizes, mesh)
    passes = [("forward", equation)]
    passes += [(f"gradient {k}", equation.transpose(k)) for k in range(len(equation.inputs))]
    return tuple(_one(what, e, known, itemsize(dtype), mesh) for what, e in passes)


def _one(
    what: str, equation: Equation, sizes: Mapping[str, int], item: int, mesh: Mapping[str, int]
) -> Communication:
    reduced = tuple(
        label
        for label, role in label_roles(equation).items()
        if mesh.get(label, 1) > 1 and role in ("contracting", "summed")
    )
    if not reduced:
        return Communication(what, equation, (), 1, 0)
    part = item * math.prod(sizes[label] // mesh.get(label, 1) for label in equation.output)
    return Communication(what, equation, reduced, math.prod(mesh[x] for x in reduced), part)


def _check(
    equation: Equation, sizes: Mapping[str, Size], mesh: Mapping[str, int]
) -> Mapping[str, int]:
    """Returns the sizes, all of which are known, where the mesh fits them."""
    text = str(equation)
    if equation.has_ellipsis:
        raise EquationError(f"communication requires an equation without '...', got {text!r}")
    known = {label: size for label, size in sizes.items() if size is not None}
    for label in equation.labels:
        if label not in known:
            raise SizeError(f"communication of {text!r} requires a size for label {label!r}")
    for label, shards in mesh.items():
        if label not in equation.labels:
            raise EquationError(
                f"communication of {text!r} requires a mesh of its own labels, got {label!r}"
            )
        if any(term.count(label) > 1 for term in (*equation.inputs, equation.output)):
            raise EquationError(
                f"communication of {text!r} requires sharded labels that no term repeats, got "
                f"{label!r}"
            )
        if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:
            raise SizeError(
                f"communication of {text!r} requires a number of shards from 1 on for label "
                f"{label!r}, got {shards!r}"
            )
        if known[label] % shards:
            raise SizeError(
                f"communication of {text!r} requires a size of label {label!r} that {shards} "
                f"shards divide, got {known[label]}"
            )
    return known
