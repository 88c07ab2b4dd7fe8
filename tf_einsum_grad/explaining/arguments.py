"""What `explain`, `einsum_path` and the pictures take: shapes and dtypes in every form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, SupportsIndex

from tf_einsum_grad.algebra.dtypes import DTYPES, SupportsDType, dtype_name
from tf_einsum_grad.algebra.errors import OperandError, SizeError
from tf_einsum_grad.algebra.names import naming
from tf_einsum_grad.algebra.sizes import Binding, Shape, bind_call
from tf_einsum_grad.lowering.machine import Machine, Target
from tf_einsum_grad.lowering.machines import machine_here
from tf_einsum_grad.planning.path import Optimize
from tf_einsum_grad.planning.plan import Plan, make_plan

__all__ = [
    "DTypeLike",
    "HasShape",
    "ShapeLike",
    "bind_and_plan",
    "read_dtype",
    "read_shape",
]


class HasShape(Protocol):
    """A tensor, a variable, an array, or anything else that has a shape."""

    @property
    def shape(self) -> Iterable[SupportsIndex | None]:
        """The size of each axis, None where it is unknown."""


ShapeLike = Iterable[SupportsIndex | None] | HasShape
DTypeLike = str | type | SupportsDType


def read_shape(shape: ShapeLike) -> Shape:
    """Reads a shape as a tuple of sizes; None is an unknown one.

    Raises:
        SizeError: it is no shape.
    """
    given: Any = getattr(shape, "shape", shape)
    try:
        dims = tuple(None if dim is None else dim.__index__() for dim in given)
    except (TypeError, ValueError, AttributeError) as error:
        raise SizeError(
            f"einsum requires a shape to be a sequence of sizes, got {given!r}"
        ) from error
    if any(dim is not None and dim < 0 for dim in dims):
        raise SizeError(f"einsum requires sizes from 0 on, got {dims}")
    return dims


def read_dtype(equation: str, dtype: DTypeLike | None, operands: Sequence[ShapeLike]) -> str:
    """Reads a numeric dtype, or that of the first operand that has one, as its name.

    Raises:
        OperandError: it is no numeric dtype.
    """
    if dtype is None:
        dtype = next((x.dtype for x in operands if hasattr(x, "dtype")), "float32")
    name = dtype_name(dtype)
    if name not in DTYPES:
        raise OperandError(f"einsum {equation!r} requires a numeric dtype, got {name!r}")
    return name


def bind_and_plan(
    text: str,
    shapes: Sequence[Shape],
    dtype: str,
    optimize: Optimize = "auto",
    sizes: Mapping[str, int] | None = None,
    size_hints: Mapping[str, int] | None = None,
    target: Target = "graph",
    machine: Machine | None = None,
) -> tuple[Binding, Plan]:
    """Binds labels to sizes, and plans as `einsum` does; arguments as there.

    Raises:
        EinsumError: as `einsum` does.
    """
    hints = tuple(sorted((size_hints or {}).items()))
    binding = bind_call(text, shapes, sizes)
    with naming(text):
        plan = make_plan(
            binding.equation,
            binding.sizes,
            dtype,
            optimize,
            hints,
            target,
            machine or machine_here(),
            binding.elastic,
        )
    return binding, plan
