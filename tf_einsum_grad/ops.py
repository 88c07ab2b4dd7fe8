"""The public `einsum`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.names import naming, read_call, read_names
from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.call import run_call, run_eager_call
from tf_einsum_grad.planning.limit import MemoryLimit
from tf_einsum_grad.planning.path import Optimize

__all__ = ["einsum"]


@private.leave_unconverted
def einsum(
    equation: Any,
    *operands: Any,
    optimize: Optimize = "auto",
    sizes: Mapping[Any, Any] | None = None,
    size_hints: Mapping[Any, int] | None = None,
    name: str | None = None,
    dtype: Any = None,
    memory_limit: MemoryLimit = None,
    recompute: bool = False,
) -> tf.Tensor:
    """A drop-in for `tf.einsum` whose gradients are einsums.

    Args:
        equation: what `np.einsum` takes: explicit or implicit output, ellipses, any white space,
            any letters, repeated labels (in the output too: `i->ii` is a diagonal matrix). Or, in
            NumPy's other form, operands each followed by a sublist of labels, integers or names:
            `einsum(a, ["i", "j"], b, ["j", "k"], ["i", "k"])`; then errors say the names.
        *operands: tensors, variables and arrays of one dtype; Python numbers and lists take the
            dtype of the others. Dimensions of size 1 broadcast. One may be a `tf.SparseTensor` or
            `tf.IndexedSlices`, which is never made dense; its values' gradient is the transposed
            equation at their indices.
        optimize: the contraction path: a bool, the name of an opt_einsum optimiser (or a name and
            a memory limit: elements, "max_input", None), a path, what `np.einsum_path` returns, or
            an optimiser. "optimal" takes the fewest FLOPs; "auto" (or True) at most 1.5 times as
            many, by the fastest kernels (of more than ten operands, it does not try every path).
        sizes: sizes of output labels that no operand has, `{"j": 5}`, or `{"j": tf.shape(x)[0]}` in
            a graph; `{"...": (2, 3)}` for an ellipsis that only the output has. In these and
            the next, labels of sublists are keys as they are.
        size_hints: sizes to choose the contraction path and the kernels with where they are
            unknown: `{"b": 32}`. They change the speed, never the result.
        name: a name for the op, in graphs.
        dtype: what to compute in and to return, where that is to be wider than the operands:
            "float32" for float16 or bfloat16, "int32" for int8. Operands may then have several
            dtypes, each held by this one; gradients come back in each operand's own.
        memory_limit: bytes, "512MB" or "1.5GiB": what neither pass may take beyond operands, result
            and gradients. The einsum then runs in slices, one after the other, and each once more
            in the backward pass. Unknown sizes need hints, up to which the limit holds.
        recompute: whether to keep nothing but the operands for the backward pass, which then
            computes the intermediates of several operands again; a memory limit implies it.

    Returns:
        A tensor of the operands' dtype, or of `dtype`. float16 and bfloat16 accumulate in float32,
        to the end where there are several steps.

    Raises:
        EinsumError: before anything is computed; its kinds say what is wrong: EquationError,
            OperandError, SizeError, PathError.
        tf.errors.InvalidArgumentError: sizes that were unknown when a graph was traced differ.

    Example:
        >>> einsum("ij,jk->ik", [[1.0, 2.0]], [[3.0], [4.0]]).numpy()
        array([[11.]], dtype=float32)
    """
    plain = sizes is size_hints is dtype is memory_limit is None and recompute is False
    if plain and type(equation) is type(optimize) is str:
        result = run_eager_call(equation, operands, optimize)
        if result is not None:
            return result
    text, operands = read_call(equation, operands)
    sizes = read_names(text, "sizes", sizes)
    size_hints = read_names(text, "size_hints", size_hints)
    options = optimize, sizes, size_hints, name, dtype, memory_limit, recompute
    with naming(text):
        if any(type(x).__name__ == "KerasTensor" for x in operands):
            return _symbolic_einsum(text, operands, *options)
        return run_call(text, operands, *options)


def _symbolic_einsum(text: str, operands: Sequence[Any], *options: Any) -> tf.Tensor:
    """An einsum of `keras.Input`s; Keras is imported by whoever made them."""
    from tf_einsum_grad.keras.symbolic import EinsumOperation

    result: tf.Tensor = EinsumOperation(text, *options)(*operands)
    return result
