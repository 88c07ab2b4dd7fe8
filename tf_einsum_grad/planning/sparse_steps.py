"""What an einsum with one sparse operand is made of.

Number the entries of the sparse operand, and let `z` be a label for that number. Then its values
are a dense vector, `z`; and a dense operand, looked up at the indices of every entry, is a dense
tensor that has `z` in the place of the labels that the two share:

    A[ij] B[jk] -> Y[ik]     Y[ik] = sum over entries z at row i:  values[z] B[j(z), k]

So every such einsum is: look up (`Gather`), an einsum with the one more label `z` (`Step`), and a
sum of entries into the places that their indices say (`Scatter`). Gather and scatter are linear,
and each other's transposes, so gradients are made of the same three. A matrix product needs no
tensor of `z` and `k`: TensorFlow's own kernel (`SparseMatMul`) does all three at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.sizes import Binding, Size
from tf_einsum_grad.planning.plan import Plan, Step

__all__ = ["Gather", "Scatter", "SparseMatMul", "SparseOperand", "SparsePlan", "SparseStep"]


@dataclass(frozen=True, slots=True)
class SparseOperand:
    """The sparse operand of an einsum.

    Attributes:
        number: which operand it is.
        index: the labels that its indices are for, each once.
        values: the labels of each entry: none for a SparseTensor, whose entries are numbers.
        nnz: how many entries it has, or about as many; None where that is unknown.
    """

    number: int
    index: str
    values: str
    nnz: int | None

    @classmethod
    def of(cls, binding: Binding, number: int, n_index: int, nnz: int | None) -> SparseOperand:
        """Returns operand `number`, whose indices are for its first `n_index` axes."""
        dropped, subscripts = binding.dropped[number], binding.equation.inputs[number]
        n_kept = n_index - sum(axis < n_index for axis in dropped)
        index = "".join(dict.fromkeys(subscripts[:n_kept]))
        values = "".join([label for label in subscripts[n_kept:] if label not in index])
        return cls(number, index, values, nnz)


@dataclass(frozen=True, slots=True)
class Gather:
    """Looks a dense tensor up at the index of every entry.

    Attributes:
        operand: the number of the tensor.
        labels: those that are looked up, which it has first.
        result: the subscripts of the result: the entry, then what the tensor has besides.
    """

    operand: int
    labels: str
    result: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """Sums entries into the places that their indices say.

    Attributes:
        operand: the number of the tensor, whose first label is the entry.
        labels: those of the indices that the result has.
        result: the subscripts of the result: these labels, then what the tensor has besides.
    """

    operand: int
    labels: str
    result: str


@dataclass(frozen=True, slots=True)
class SparseMatMul:
    """A sparse matrix times a dense one.

    Attributes:
        operand: the number of the values, a number for each entry.
        dense: the number of the dense tensor, which has the labels of the columns first.
        rows: the labels that are the matrix' rows.
        columns: the labels that are its columns; a batch label is in both.
        result: the subscripts of the result: rows, then what the dense tensor has besides.
    """

    operand: int
    dense: int
    rows: str
    columns: str
    result: str


SparseStep = Step | Gather | Scatter | SparseMatMul


@dataclass(frozen=True, slots=True)
class SparsePlan:
    """An einsum with a sparse operand as steps.

    Attributes:
        equation: the einsum, without the entry's label.
        sparse: which operand is sparse.
        entry: the label for the number of an entry.
        likely_sizes: each label with the size to decide with, the entry's too; None without.
        steps: what runs while there are entries; operands are numbered from 0, the sparse one being
            its values, and the result of each step takes the next number.
        rest: what is then a dense einsum.
        operands: the numbers of its operands.
    """

    equation: Equation
    sparse: SparseOperand
    entry: str
    likely_sizes: tuple[tuple[str, Size], ...]
    steps: tuple[SparseStep, ...]
    rest: Plan
    operands: tuple[int, ...]
