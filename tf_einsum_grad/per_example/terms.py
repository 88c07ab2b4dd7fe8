"""Ops that take a variable and examples, as the einsums that they are."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_letters

import tensorflow as tf

from tf_einsum_grad.algebra.equation import Equation, expand_ellipses, parse_equation
from tf_einsum_grad.execution import private
from tf_einsum_grad.lowering.contraction import Contraction

__all__ = ["Product", "read_product"]


@dataclass(frozen=True, slots=True)
class Product:
    """An op, linear in each of one or two operands, as an einsum of them.

    Attributes:
        equation: with a term for each operand; sizes of 1 broadcast.
        operands: at which of the op's inputs they are.
        is_sum: whether the operands are added, not multiplied.
        sign: -1 for what is subtracted, for each operand.
    """

    equation: Equation
    operands: tuple[int, ...]
    is_sum: bool = False
    sign: tuple[int, ...] = (1, 1)


def read_product(op: tf.Operation) -> Product | None:
    """The einsum that an op is; None where it is none."""
    noted = private.noted(op)
    if noted is not None:
        computed, places = noted
        return Product(computed.equation, places) if isinstance(computed, Contraction) else None
    ranks = [x.shape.rank for x in op.inputs]
    if None in ranks or op.outputs[0].dtype.is_complex:
        return None
    if op.type == "Einsum" and len(op.inputs) <= 2:
        text = tf.compat.as_text(op.get_attr("equation"))
        return Product(
            expand_ellipses(parse_equation(text), tuple(ranks)), tuple(range(len(ranks)))
        )
    if op.type == "MatMul":
        return _matmul(ranks, op.get_attr("transpose_a"), op.get_attr("transpose_b"))
    if op.type in ("BatchMatMulV2", "BatchMatMulV3"):
        return _matmul(ranks, op.get_attr("adj_x"), op.get_attr("adj_y"))
    if op.type in ("Add", "AddV2", "Sub", "Mul"):
        output = ascii_letters[: max(ranks)]
        equation = Equation(tuple(output[len(output) - rank :] for rank in ranks), output)
        sign = (1, -1) if op.type == "Sub" else (1, 1)
        return Product(equation, (0, 1), op.type != "Mul", sign)
    if op.type == "BiasAdd":
        output = ascii_letters[: ranks[0]]
        last = tf.compat.as_text(op.get_attr("data_format")) != "NCHW"
        return Product(Equation((output, output[-1 if last else 1]), output), (0, 1), True)
    return None


def _matmul(ranks: list[int], across: bool, along: bool) -> Product:
    """A product of matrices, each the other way round where it says so, of a batch of both."""
    batch = ascii_letters[3 : 3 + max(ranks) - 2]
    terms = ("ba" if across else "ab", "cb" if along else "bc")
    inputs = tuple(
        batch[len(batch) - rank + 2 :] + term for rank, term in zip(ranks, terms, strict=True)
    )
    return Product(Equation(inputs, batch + "ac"), (0, 1))
