"""Follows a lowering in NumPy, so that what lowerings compute is tested without TensorFlow."""

import math

import numpy as np

from tf_einsum_grad.lowering import instructions as do


def dims(groups, sizes):
    return tuple(math.prod(sizes[label] for label in group) for group in groups)


def transform(instruction, x, sizes):
    match instruction:
        case do.Permute():
            return x.transpose(instruction.axes)
        case do.Reshape():
            return x.reshape(dims(instruction.groups, sizes))
        case do.Broadcast():
            return np.broadcast_to(x, dims(instruction.groups, sizes))
        case do.Sum():
            return x.sum(instruction.axes)
    small = list(range(len(instruction.groups)))
    large = [*small[: instruction.second], instruction.first, *small[instruction.second :]]
    if isinstance(instruction, do.Diagonal):
        return np.einsum(x, large, small)
    embedded = np.zeros([x.shape[axis] for axis in large], x.dtype)
    np.einsum(embedded, large, small)[...] = x  # a view
    return embedded


def combine(instruction, a, b):
    match instruction:
        case do.MatMul():
            assert instruction.batched == (a.ndim > 2)
            a = a.swapaxes(-1, -2) if instruction.transpose_a else a
            return a @ (b.swapaxes(-1, -2) if instruction.transpose_b else b)
        case do.NativeEinsum():
            return np.einsum(instruction.equation, a, b)
    return a * b


def run(lowering, operands, sizes):
    """The result of a lowering; what instructions say that they leave is compared on the way."""

    def follow(x, groups, instructions):
        for instruction in instructions:
            x, groups = transform(instruction, x, sizes), instruction.result(groups)
            assert x.shape == dims(groups, sizes)
        return x, groups

    prepared = [
        follow(x, tuple(term), instructions)
        for x, term, instructions in zip(
            operands, lowering.equation.inputs, lowering.prepare, strict=True
        )
    ]
    if lowering.combine is None:
        return prepared[0][0]
    (a, a_groups), (b, b_groups) = prepared[::-1] if lowering.swap else prepared
    product, groups = combine(lowering.combine, a, b), lowering.combine.result(a_groups, b_groups)
    assert product.shape == dims(groups, sizes)
    return follow(product, groups, lowering.finish)[0]
