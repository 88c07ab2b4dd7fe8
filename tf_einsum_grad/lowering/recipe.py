"""What a lowering is, and the builder that writes one instruction after another.

Every label of a pairwise contraction has one of four roles (the words are those of XLA's
`dot_general`):

    batch       in lhs, rhs and output      contracting  in lhs and rhs only
    lhs_free    in lhs and output           rhs_free    in rhs and output

`plan` sees to it that there is no fifth: repeated labels and labels of one operand alone are
unary contractions of their own. The four roles are closed under transposition (each label is in
two or three of lhs, rhs and output, whichever change places), so gradients are lowered here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering.cost import Cost, launch_us, permute_us, stream_us, sum_us
from tf_einsum_grad.lowering.instructions import (
    Broadcast,
    Instruction,
    MatMul,
    Multiply,
    NativeEinsum,
    Permute,
    Reshape,
    Sum,
)

__all__ = [
    "MAX_BROADCAST_DIMS",
    "Contraction",
    "DotDimensions",
    "Lowering",
    "Recipe",
    "alternations",
    "last_run",
]

# TensorFlow's CPU kernels broadcast in at most 5 dimensions, after they joined neighbours that
# broadcast alike; pfor puts one more in front.
MAX_BROADCAST_DIMS = 4


@dataclass(frozen=True, slots=True)
class DotDimensions:
    """The role of each label of a pairwise contraction."""

    batch: str
    contracting: str
    lhs_free: str
    rhs_free: str

    @classmethod
    def of(cls, equation: Equation) -> DotDimensions:
        """Sorts the labels of a pairwise equation into the four roles."""
        lhs, rhs = equation.inputs
        shared = [label for label in lhs if label in rhs]
        return cls(
            batch="".join(label for label in shared if label in equation.output),
            contracting="".join(label for label in shared if label not in equation.output),
            lhs_free="".join(label for label in lhs if label not in rhs),
            rhs_free="".join(label for label in rhs if label not in lhs),
        )


@dataclass(frozen=True, slots=True)
class Contraction:
    """A contraction of one or two operands, with all that a lowering may depend on.

    Attributes:
        equation: one or two inputs; of two, neither repeats a label nor has one to itself.
        sizes: each label with its size, None where it is unknown.
        dtype: of the operands and the result.
        target: "eager", "graph", or "xla" where XLA compiles.
    """

    equation: Equation
    sizes: tuple[tuple[str, Size], ...]
    dtype: str
    target: str = "graph"

    def transpose(self, k: int) -> Contraction:
        """The contraction that computes the VJP with respect to operand `k`."""
        return Contraction(self.equation.transpose(k), self.sizes, self.dtype, self.target)


@dataclass(frozen=True, slots=True)
class Lowering:
    """A recipe: `combine(prepare[0](lhs), prepare[1](rhs))`, then `finish`.

    Attributes:
        kernel: its name, for people: "matmul", "einsum", "multiply", ...
        prepare: the instructions for each operand, in the operands' order.
        combine: how two become one; None for a unary contraction.
        swap: whether the right operand goes first into `combine`.
        finish: the instructions for the result.
        compute_dtype: what operands are cast to, and the result back from; None for no cast.
        cost: what the cost model says of it.
    """

    kernel: str
    prepare: tuple[tuple[Instruction, ...], ...]
    combine: MatMul | Multiply | NativeEinsum | None
    swap: bool
    finish: tuple[Instruction, ...]
    compute_dtype: str | None
    cost: Cost

    @property
    def is_identity(self) -> bool:
        """Whether the result is the operand itself."""
        return self.combine is None and not self.prepare[0] and not self.finish


@dataclass(slots=True)
class Recipe:
    """Builds the instructions for one tensor, and adds up what they cost.

    `groups` is what the tensor's dimensions are made of at this point.
    """

    groups: tuple[str, ...]
    sizes: Mapping[str, Size]
    dtype: str
    target: str
    instructions: list[Instruction] = field(default_factory=list)
    microseconds: float = 0.0
    bytes_moved: int = 0
    scratch_bytes: int = 0

    @property
    def bytes(self) -> int:
        """The size of the tensor at this point."""
        return num_elements("".join(self.groups), self.sizes) * itemsize(self.dtype)

    def charge(self, microseconds: float, bytes_moved: int) -> None:
        """Adds the cost of a kernel that made the tensor as it is now."""
        self.microseconds += launch_us(self.target) + microseconds
        self.bytes_moved += bytes_moved
        self.scratch_bytes = max(self.scratch_bytes, self.bytes)

    def combined(self, microseconds: float, bytes_moved: int) -> None:
        """Adds the cost of the kernel that made this tensor out of two."""
        self.microseconds += launch_us(self.target) + microseconds
        self.bytes_moved += bytes_moved

    def reshape(self, groups: Sequence[str]) -> Recipe:
        """Splits and merges dimensions; free, but for starting it."""
        if tuple(groups) != self.groups:
            if self.instructions and isinstance(self.instructions[-1], Reshape):
                self.instructions.pop()
            else:
                self.microseconds += launch_us(self.target)
            self.groups = tuple(groups)
            self.instructions.append(Reshape(self.groups))
        return self

    def permute(self, groups: Sequence[str]) -> Recipe:
        """Reorders dimensions; a pass over memory unless only dimensions of size 1 move."""
        if tuple(groups) != self.groups:
            self.instructions.append(Permute(tuple(self.groups.index(group) for group in groups)))
            keeps_rows = groups[-1] == self.groups[-1] and self._row_bytes() >= 64
            self.groups = tuple(groups)
            self.charge(permute_us(self.bytes, keeps_rows, self.target), 2 * self.bytes)
        return self

    def broadcast(self, groups: Sequence[str]) -> Recipe:
        """Repeats the tensor along the groups it has not, in as few steps as kernels allow."""
        self.reshape([group if group in self.groups else "" for group in groups])
        while self.groups != tuple(groups):
            missing = [not group for group in self.groups]
            at_once = alternations(missing) <= MAX_BROADCAST_DIMS
            start = 0 if at_once else _runs(missing)[-1][0]
            self.groups = (*self.groups[:start], *groups[start:])
            self.instructions.append(Broadcast(self.groups))
            self.charge(stream_us(self.bytes), self.bytes)
        return self

    def _row_bytes(self) -> int:
        return num_elements(self.groups[-1], self.sizes) * itemsize(self.dtype)

    def sum(self, labels: str) -> Recipe:
        """Sums over the dimensions whose group is made of `labels`, at once or a run at a time.

        TensorFlow's reduction reads a tensor whose kept and summed dimensions alternate more
        than twice only after a permute of all of it; sums over one run of dimensions at a time,
        the innermost first, read it once and then ever smaller ones.
        """
        summed = [bool(group) and group[0] in labels for group in self.groups]
        apart = _runs(summed)[::-1]
        together = [tuple(axis for axis, flag in enumerate(summed) if flag)]
        if self.target == "xla":
            ways = [together]
        else:
            ways = [apart] if alternations(summed) > 3 else [together, apart]
        launch = launch_us(self.target)
        for axes in min(ways, key=lambda way: sum(launch + us for us, _ in self._sums(way))):
            before = self.bytes
            ((microseconds, self.groups),) = self._sums([axes])
            self.instructions.append(Sum(axes))
            self.charge(microseconds, before + self.bytes)
        return self

    def _sums(self, way: Sequence[tuple[int, ...]]) -> list[tuple[float, tuple[str, ...]]]:
        """For sums over some axes, then others, ...: what each costs, and the groups it leaves."""
        groups, found = self.groups, []
        for axes in way:
            flags = [axis in axes for axis in range(len(groups))]
            kept = tuple(group for group, flag in zip(groups, flags, strict=True) if not flag)
            read, written = (num_elements("".join(g), self.sizes) for g in (groups, kept))
            run = last_run(groups, flags) if flags[-1] and kept and self.target != "xla" else ()
            us = sum_us(
                (read + written) * itemsize(self.dtype),
                read,
                num_elements("".join(run), self.sizes) if run else 0,
                both_ends=flags[0] and bool(run),
            )
            found.append((us, kept))
            groups = kept
        return found


def last_run(groups: Sequence[str], flags: Sequence[object]) -> tuple[str, ...]:
    """The innermost groups whose flags are equal."""
    start = len(groups)
    while start and flags[start - 1] == flags[-1]:
        start -= 1
    return tuple(groups[start:])


def _runs(flags: Sequence[bool]) -> list[tuple[int, ...]]:
    """The runs of adjacent axes whose flag is set."""
    runs: list[tuple[int, ...]] = []
    for axis, flag in enumerate(flags):
        if flag and axis and flags[axis - 1]:
            runs[-1] = (*runs[-1], axis)
        elif flag:
            runs.append((axis,))
    return runs


def alternations(flags: Sequence[object]) -> int:
    """How many runs of equal flags there are."""
    return sum(axis == 0 or flag != flags[axis - 1] for axis, flag in enumerate(flags))
