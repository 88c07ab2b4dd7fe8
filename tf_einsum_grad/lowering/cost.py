"""What a lowering costs on a machine: `price`, an instruction at a time.

A lowering is written first and priced afterwards, so that any lowering can be priced on any
machine; a small model is enough to tell candidates for one contraction apart. Unknown sizes count
as `UNKNOWN_SIZE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tf_einsum_grad.algebra.dtypes import itemsize
from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.contraction import Lowering
from tf_einsum_grad.lowering.einsum_layout import einsum_layout
from tf_einsum_grad.lowering.instructions import Groups, last_run
from tf_einsum_grad.lowering.machine import Machine, MatMulKernel, Target

__all__ = ["Cost", "count_flops", "price", "price_all"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one lowering costs.

    Attributes:
        microseconds: the model's estimate, good for comparing candidates.
        flops: multiplications and additions.
        bytes_moved: read and written by every kernel.
        scratch_bytes: the largest tensor made on the way that is neither operand nor result.
    """

    microseconds: float
    flops: int
    bytes_moved: int
    scratch_bytes: int


def price_all(
    lowerings: Iterable[Lowering], sizes: Mapping[str, Size], machine: Machine
) -> list[Cost]:
    """What each of several lowerings of one contraction costs."""
    pricer = None
    costs = []
    for lowering in lowerings:
        pricer = pricer or _Pricer.of(lowering, sizes, machine)
        costs.append(_price(lowering, pricer))
    return costs


def price(lowering: Lowering, sizes: Mapping[str, Size], machine: Machine) -> Cost:
    """What a lowering costs: the sum over its instructions.

    Args:
        lowering: of a contraction of one or two operands.
        sizes: each label of its equation with its size, None where it is unknown.
        machine: the rates.

    Example:
        >>> from tf_einsum_grad.lowering.machine import CPU
        >>> equation = Equation(("ab",), "ba")
        >>> transpose = Lowering(equation, "float32", "graph", None, ((do.Permute((1, 0)),),))
        >>> price(transpose, {"a": 1000, "b": 3500}, CPU).microseconds
        8001.5
    """
    return _price(lowering, _Pricer.of(lowering, sizes, machine))


def _price(lowering: Lowering, pricer: _Pricer) -> Cost:
    machine = pricer.machine
    stages: list[Sequence[_Charge]] = []
    operands = []
    for term, instructions in zip(lowering.equation.inputs, lowering.prepare, strict=True):
        charges, groups = pricer.follow(tuple(term), instructions)
        stages.append(charges)
        operands.append(groups)
    microseconds = 0.0
    if isinstance(lowering.combine, do.Zeros):
        n_bytes = pricer.bytes(lowering.combine.groups)
        us = machine.launch(lowering.target) + n_bytes / machine.stream
        stages = [[_Charge(us, n_bytes, n_bytes)]]
    elif lowering.combine is not None:
        a, b = operands[::-1] if lowering.swap else operands
        product = lowering.combine.result(a, b)
        charges, _ = pricer.follow(product, lowering.finish)
        made = pricer.combine(lowering.combine, a, b, product)
        if isinstance(lowering.combine, do.Multiply):
            fused = lowering.target == "xla"
            if fused and any(isinstance(instruction, do.Sum) for instruction in lowering.finish):
                made = [charge._replace(microseconds=0.0) for charge in made]
            extra = pricer.fused_permutes if fused else pricer.broadcast_runs
            microseconds += extra(lowering, operands, product)
        stages.append([*made, *charges])
    moved = scratch = 0
    for charges in stages:
        sizes_made = [charge.made for charge in charges if charge.made is not None]
        largest = max(sizes_made[:-1] if charges is stages[-1] else sizes_made, default=0)
        microseconds += sum(charge.microseconds for charge in charges) + pricer.fresh_us(largest)
        moved += sum(charge.moved for charge in charges)
        scratch = max(scratch, largest)
    return Cost(microseconds, pricer.flops, moved, scratch)


def count_flops(equation: Equation, sizes: Mapping[str, Size]) -> int:
    """Multiplications and additions of a contraction of one or two operands."""
    sums = any(label not in equation.output for label in equation.labels)
    if len(equation.inputs) == 1:
        return num_elements(set(equation.inputs[0]), sizes) if sums else 0
    return num_elements(equation.labels, sizes) * (1 + sums)


def _takes_shape(instruction: do.Transform) -> bool:
    return isinstance(instruction, do.Broadcast | do.Stretch)


class _Charge(NamedTuple):
    """What one kernel costs.

    Attributes:
        microseconds: its start included.
        moved: bytes read and written.
        made: bytes of the tensor that it makes; None for another view of one.
    """

    microseconds: float
    moved: int
    made: int | None


@dataclass(frozen=True, slots=True)
class _Pricer:
    """Prices instructions, for tensors of `item` bytes an element on one target and machine.

    `known` is what was counted already: candidates are made of the same few tensors. `has_unknown`
    is whether a size is not known; `flops` are the contraction's, by whatever kernels.
    """

    sizes: Mapping[str, Size]
    item: int
    target: Target
    machine: Machine
    known: dict[Groups, int]
    has_unknown: bool
    flops: int

    @classmethod
    def of(cls, lowering: Lowering, sizes: Mapping[str, Size], machine: Machine) -> _Pricer:
        """What prices a lowering, and every other of the same contraction."""
        item, flops = itemsize(lowering.dtype), count_flops(lowering.equation, sizes)
        has_unknown = None in sizes.values()
        return cls(sizes, item, lowering.target, machine, {}, has_unknown, flops)

    def elements(self, groups: Groups) -> int:
        count = self.known.get(groups)
        if count is None:
            count = self.known[groups] = num_elements("".join(groups), self.sizes)
        return count

    def bytes(self, groups: Groups) -> int:
        return self.item * self.elements(groups)

    def fresh_us(self, n_bytes: int) -> float:
        """What it costs to have a tensor of this size beside operands and result."""
        return n_bytes / self.machine.fresh if n_bytes > self.machine.fresh_limit else 0.0

    def follow(
        self, groups: Groups, instructions: Sequence[do.Transform]
    ) -> tuple[Sequence[_Charge], Groups]:
        """A charge for each instruction on a tensor, and the groups that they leave."""
        if not instructions:
            return (), groups
        charges, launch = [], self.machine.launch(self.target)
        view = self.machine.launch(self.target, view=True)
        for instruction in instructions:
            result = instruction.result(groups)
            if isinstance(instruction, do.Reshape):
                many = 1
                if self.has_unknown:
                    free = len(result) + 1 if instruction.only_ones(groups) else 2
                    many = self.shape_launches(result, free)
                charges.append(_Charge(view * many, 0, None))
            else:
                us, moved = self.transform(instruction, groups, result)
                if self.has_unknown and _takes_shape(instruction):
                    us += view * (self.shape_launches(result, 1) - 1)
                charges.append(_Charge(launch + us, moved, self.bytes(result)))
            groups = result
        return charges, groups

    def shape_launches(self, groups: Groups, free: int) -> int:
        """How many kernels start for one that takes a shape: itself, and three that make the shape.

        Fewer unknown dimensions than `free` cost nothing; a reshape finds out one by itself.
        """
        unknown = [group for group in groups if any(self.sizes[x] is None for x in group)]
        return 1 if len(unknown) < free else 4

    def transform(
        self, instruction: do.Transform, groups: Groups, result: Groups
    ) -> tuple[float, int]:
        """The microseconds, beside the launch, and the bytes moved of a kernel on one tensor."""
        n_bytes, stream = self.bytes(result), self.machine.stream
        match instruction:
            case do.Permute():
                return self.permute_us(instruction, groups), 2 * n_bytes
            case do.Broadcast():
                return n_bytes / stream, n_bytes
            case do.Stretch():  # passes on what has the size already
                return 0.0, 0
            case do.Sum():
                return self.sum_us(instruction, groups), self.bytes(groups) + n_bytes
            case do.Diagonal():
                return self.machine.diagonal_reads * n_bytes / stream, 2 * n_bytes
            case do.EmbedDiagonal():
                return self.embed_us(instruction, result), 2 * n_bytes
        raise AssertionError(f"{instruction} moves nothing")

    def permute_us(self, instruction: do.Permute, groups: Groups) -> float:
        last, n_bytes = len(groups) - 1, self.bytes(groups)
        if instruction.kernel == "gather":
            return 2 * n_bytes / self.machine.permute_many
        keeps = instruction.axes[-1] == last and self.bytes(groups[-1:]) >= self.machine.short_row
        return 2 * n_bytes / self.machine.permute(self.target, keeps)

    def sum_us(self, instruction: do.Sum, groups: Groups) -> float:
        """A reduction; those over the last dimension go along it in runs."""
        flags = [axis in instruction.axes for axis in range(len(groups))]
        kept = instruction.result(groups)
        moved = self.bytes(groups) + self.bytes(kept)
        if self.target == "xla":
            return moved / self.machine.xla_sum
        if not flags[-1]:
            return moved / self.machine.sum_outer
        if not kept:
            return moved / self.machine.stream
        if flags[0]:
            return moved / self.machine.sum_both_ends
        return moved / self.machine.stream + self.runs_us(groups, flags)

    def runs_us(self, groups: Groups, flags: Sequence[object]) -> float:
        """What it costs, beside the stream, to start on each run of innermost dimensions."""
        run = self.elements(last_run(groups, flags))
        short = 0 < run < self.machine.long_run
        return self.machine.run * self.elements(groups) / run if short else 0.0

    def embed_us(self, instruction: do.EmbedDiagonal, result: Groups) -> float:
        """Zeros are set in place in a graph, in a copy in eager mode; XLA fuses a select."""
        n_bytes, m = self.bytes(result), self.machine
        match instruction.kernel:
            case "select":
                return n_bytes / m.stream
            case "segment_sum":
                return 2 * n_bytes / m.stream
            case "set_diag":
                zeros = self.fresh_us(n_bytes) if self.target == "eager" else 0.0
                return m.launch(self.target) + 2 * n_bytes / m.stream + zeros
            case "diag":
                return n_bytes / (m.diag if self.elements(result[:-2]) > 1 else m.diag_one)

    def combine(
        self, instruction: do.Combine, a: Groups, b: Groups, product: Groups
    ) -> list[_Charge]:
        """The kernel that makes one tensor of two, and what it permutes inside."""
        launch = self.machine.launch(self.target)
        if isinstance(instruction, do.NativeEinsum):
            return self.native_einsum(instruction, a, b, product)
        if isinstance(instruction, do.MatMul):
            m, k = a[-2:] if not instruction.transpose_a else a[:-3:-1]
            n = b[-2] if instruction.transpose_b else b[-1]
            batch, (rows, depth, columns) = a[:-2], [self.elements((side,)) for side in (m, k, n)]
            shape = (self.elements(batch), rows, depth, columns)
            flags = instruction.transpose_a, instruction.transpose_b
            alone = instruction.batched and not batch
            kernel: MatMulKernel = "batch" if shape[0] > 1 or alone else "matmul"
            us, moved = self.matmul(shape, flags, "xla" if self.target == "xla" else kernel)
            us += self.machine.batch_start if alone else 0.0
        else:
            moved = self.bytes(a) + self.bytes(b) + self.bytes(product)
            us = moved / self.multiply_rate(a, b, product)
        return [_Charge(launch + us, moved, self.bytes(product))]

    def multiply_rate(self, a: Groups, b: Groups, product: Groups) -> float:
        """bytes/us of an elementwise product."""
        outer = self.elements(product) > max(self.elements(a), self.elements(b))
        return self.machine.stream_outer if outer else self.machine.stream

    def native_einsum(
        self, instruction: do.NativeEinsum, a: Groups, b: Groups, product: Groups
    ) -> list[_Charge]:
        """TensorFlow's own op: one launch, whatever it has to permute on the device."""
        equation = parse_equation(instruction.equation)
        layout = einsum_layout(equation)
        groups = dict(zip("".join(equation.inputs), a + b, strict=True))

        def size(letters: Iterable[str]) -> int:
            return self.elements(tuple([groups[letter] for letter in letters]))

        roles = layout.roles
        shape = (
            size(roles.batch), size(roles.lhs_free), size(roles.contracting), size(roles.rhs_free)
        )  # fmt: skip
        us, moved = self.matmul(shape, layout.transposed, "batch" if shape[0] > 1 else "einsum")
        charges = []
        for term in layout.permuted:
            n_bytes = self.item * size(term)
            slow = self.machine.einsum_permute_factor / self.machine.permute("graph", False)
            start = self.machine.device_launch
            charges.append(_Charge(start + 2 * n_bytes * slow, 2 * n_bytes, n_bytes))
        launch = self.machine.launch(self.target)
        return [*charges, _Charge(launch + us, moved, self.bytes(product))]

    def matmul(
        self,
        shape: tuple[int, int, int, int],
        transposed: tuple[bool, bool],
        kernel: MatMulKernel,
    ) -> tuple[float, int]:
        """The microseconds and bytes of a batch of b products of (m, k) and (k, n) matrices.

        Products with a vector are bound by memory. Matrices with a short side reach a fraction of
        the rate of large ones; transposes cost what it takes to read across rows.
        """
        b, m, k, n = shape
        machine, item = self.machine, self.item
        memory, start = item * b * (m * k + k * n + m * n), machine.matmul_start * b
        if k == 1:
            small = item * m * n < machine.large_outer_limit
            return start + memory / (machine.outer if small else machine.large_outer), memory
        if m == 1 or n == 1:
            rate = self.vector_rate(m, n, transposed, kernel)
            short = machine.dot_run * b * max(m, n) if k < machine.long_dot else 0.0
            return start + memory / rate + short, memory
        side, depth = machine.matmul_side, machine.matmul_depth
        blocking = (1 + side / max(m, 1)) * (1 + side / max(n, 1)) * (1 + depth / max(k, 1))
        compute = 2 * b * m * k * n * blocking / machine.flops * (item / 4)
        bound, (left, right) = max(compute, memory / machine.stream), machine.across(kernel)
        long_rows = min(1.0, k / machine.long_row)
        across = m * k * transposed[0] / left + k * n * transposed[1] * long_rows / right
        bound *= machine.einsum_matmul_factor if kernel == "einsum" else 1.0
        return start + bound + item * b * across, memory

    def vector_rate(
        self, m: int, n: int, transposed: tuple[bool, bool], kernel: MatMulKernel
    ) -> float:
        """bytes/us of a product with a vector, or of two."""
        machine = self.machine
        if m == n:
            rate = machine.dot
        elif m == 1:
            rate = machine.vecmat_across if transposed[1] else machine.vecmat
        else:
            rate = machine.matvec_across if transposed[0] else machine.matvec
        return rate / machine.einsum_vector_factor if kernel == "einsum" else rate

    def broadcast_runs(
        self, lowering: Lowering, operands: Sequence[Groups], product: Groups
    ) -> float:
        """What it costs to start on each run of what the operands of a product have alike."""
        flags = [
            tuple([group[0] in term for term in lowering.equation.inputs]) for group in product
        ]
        return self.runs_us(product, flags) if len(set(flags)) > 1 else 0.0

    def fused_permutes(
        self, lowering: Lowering, operands: Sequence[Groups], product: Groups
    ) -> float:
        """What permutes cost that XLA makes no tensor of, beside a product.

        It reads a permuted operand where it stands, for each element of the product; and makes one
        loop of a product, its sum and a permute of that, in the result's order: `eac,a->ce` of
        (1024, 4, 512) takes 7.3 ms, and 2.2 as a matmul.
        """
        across, us = 2 / self.machine.permute("graph", False), 0.0
        for term, groups, instructions in zip(
            lowering.equation.inputs, operands, lowering.prepare, strict=True
        ):
            before = tuple(term)
            for instruction in instructions:
                if isinstance(instruction, do.Permute) and instruction.axes[-1] != len(before) - 1:
                    span = self.bytes(before[instruction.axes[-1] :])
                    if span > self.machine.cache:
                        us += across * (self.bytes(product) - self.bytes(groups))
                before = instruction.result(before)
        kinds = [type(instruction) for instruction in lowering.finish]
        if do.Sum in kinds and do.Permute in kinds:
            us += across * self.bytes(product)
        return us
