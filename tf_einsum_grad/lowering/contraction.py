"""What is lowered, a contraction of one or two operands, and what it is lowered to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tf_einsum_grad.algebra.equation import Equation, canonical
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.machine import CPU, Machine, Target

__all__ = ["Contraction", "Lowering", "signature"]


def signature(
    equation: Equation, sizes: Iterable[tuple[str, Size]], dtype: str, target: Target
) -> str:
    """An equation, its sizes, dtype and target in a line: what something measured is filed under.

    Example:
        >>> from tf_einsum_grad.algebra.equation import parse_equation
        >>> signature(parse_equation("ik,kj->ij"), {"i": 2, "k": 3, "j": 4}.items(), "int32", "xla")
        'ab,bc->ac a=2 b=3 c=4 int32 xla'
    """
    renamed, known = canonical(equation), dict(sizes)
    names = zip(renamed.labels, equation.labels, strict=True)
    return " ".join([str(renamed), *(f"{new}={known[old]}" for new, old in names), dtype, target])


@dataclass(frozen=True, slots=True)
class Contraction:
    """A contraction of one or two operands, with all that a lowering may depend on.

    Attributes:
        equation: one or two inputs; of two, neither repeats a label nor has one to itself.
        sizes: each label with its size, None where it is unknown.
        dtype: of the operands and the result.
        target: "eager", "graph", or "xla" where XLA compiles.
        hints: sizes to decide with where they are unknown.
        machine: what kernels are priced on.
        elastic: labels of both operands whose sizes are only known when the tensors are there, and
            may then be 1 in one operand and not in the other.
    """

    equation: Equation
    sizes: tuple[tuple[str, Size], ...]
    dtype: str
    target: Target = "graph"
    hints: tuple[tuple[str, int], ...] = ()
    machine: Machine = CPU
    elastic: str = ""

    @classmethod
    def of(
        cls,
        equation: Equation,
        sizes: Mapping[str, Size],
        dtype: str,
        target: Target = "graph",
        hints: Mapping[str, int] | None = None,
        machine: Machine = CPU,
        elastic: str = "",
    ) -> Contraction:
        """A contraction with its labels renamed in order of appearance.

        So contractions that do the same are equal, and share one lowering: `bij,bjk->bik`, and the
        gradients `aik,aij->ajk` of it and of its like.
        """
        renamed = canonical(equation)
        names = tuple(zip(renamed.labels, equation.labels, strict=True))
        known = tuple([(new, sizes[old]) for new, old in names])
        guessed = tuple(
            [(new, hints[old]) for new, old in names if sizes[old] is None and old in hints]
            if hints
            else ()
        )
        shared = "".join(
            [new for new, old in names if old in elastic and all(old in t for t in equation.inputs)]
            if elastic and len(equation.inputs) == 2
            else []
        )
        return cls(renamed, known, dtype, target, guessed, machine, shared)

    @property
    def signature(self) -> str | None:
        """What it is filed under; None where sizes are not known, and nothing was measured."""
        if any(size is None for _, size in self.sizes):
            return None
        return signature(self.equation, self.sizes, self.dtype, self.target)

    @property
    def likely_sizes(self) -> dict[str, Size]:
        """The sizes to decide with: those that are known, and the hints."""
        return dict(self.sizes) | dict(self.hints)

    @lru_cache(maxsize=16384)  # noqa: B019 - contractions are few, and kept by others too
    def transpose(self, k: int) -> Contraction:
        """The contraction that computes the VJP with respect to operand `k`.

        Its labels are renamed in order of appearance; `transposed_labels` says which is which.
        """
        return Contraction.of(
            self.equation.transpose(k),
            dict(self.sizes),
            self.dtype,
            self.target,
            dict(self.hints),
            self.machine,
            # What is contracted stands in one operand and the result of the transpose, which
            # then has the size that this operand has.
            "".join([label for label in self.elastic if label in self.equation.output]),
        )

    def stretches(self, k: int) -> bool:
        """Whether operand `k` may be stretched, or the other one along what both contract."""
        return any(label in self.equation.inputs[k] for label in self.elastic)

    @lru_cache(maxsize=16384)  # noqa: B019
    def transposed_labels(self, k: int) -> dict[str, str]:
        """Each label of `transpose(k)` with the label of this contraction that it stands for."""
        own = self.equation.transpose(k)
        return dict(zip(canonical(own).labels, own.labels, strict=True))


_NAMES: dict[type[do.Transform], str] = {
    do.Diagonal: "diagonal",
    do.Sum: "sum",
    do.Permute: "permute",
    do.Broadcast: "broadcast",
    do.Stretch: "stretch",
    do.EmbedDiagonal: "embed diagonal",
}


@dataclass(frozen=True, slots=True)
class Lowering:
    """What runs: `combine(prepare[0](lhs), prepare[1](rhs))`, then `finish`.

    Attributes:
        equation: what it computes.
        dtype: of the operands and the result.
        target: where it runs.
        compute_dtype: what operands are cast to, and the result back from; None for no cast.
        prepare: the instructions for each operand, in the operands' order.
        combine: how two become one, or all become zeros; None for a unary contraction.
        swap: whether the right operand goes first into `combine`.
        finish: the instructions for the result.
    """

    equation: Equation
    dtype: str
    target: Target
    compute_dtype: str | None
    prepare: tuple[tuple[do.Transform, ...], ...]
    combine: do.Combine | None = None
    swap: bool = False
    finish: tuple[do.Transform, ...] = ()

    @property
    def kernel(self) -> str:
        """Its name, for people: "matmul", "einsum", "multiply and sum", "diagonal + sum", ..."""
        if isinstance(self.combine, do.MatMul):
            return "matmul"
        if isinstance(self.combine, do.NativeEinsum):
            return "einsum"
        if isinstance(self.combine, do.Zeros):
            return "zeros"
        if isinstance(self.combine, do.Multiply):
            sums = any(isinstance(instruction, do.Sum) for instruction in self.finish)
            return "multiply and sum" if sums else "multiply"
        kinds = dict.fromkeys(map(type, self.prepare[0]))
        return " + ".join(_NAMES[kind] for kind in kinds if kind in _NAMES) or "identity"

    @property
    def recipe(self) -> str:
        """All that runs, as a line that tells it from every other candidate of its contraction."""
        return f"{self.kernel}: {self.prepare} {self.combine} swap={self.swap} {self.finish}"

    @property
    def is_identity(self) -> bool:
        """Whether the result is the operand itself."""
        return self.combine is None and not self.prepare[0]
