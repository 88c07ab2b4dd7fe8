"""Whether attention runs at once or a block at a time, and in which blocks. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.lowering.machine import Machine

__all__ = ["Blocks", "choose_blocks"]

# Tensors of scores that are alive at once: scores, weights, and their gradients.
_ALIVE = 4
# Passes over scores that a training step makes, forward and backward, beside its products.
_PASSES = 24
# Kernels that start for each block, forward and backward.
_KERNELS = 60
# Of a block, all heads together: so that what is done to it stays in a cache.
_BLOCK_BYTES = 2**23
# Of a block of whole rows of one head: their softmax is one kernel, and products of long rows run
# at the highest rate; of fewer rows than 256 they do not.
_ROW_BYTES, _FEWEST_ROWS, _LONGEST_ROW = 2**24, 256, 2**16
_LEAST, _MOST = 16, 1024
# What all scores may take where nobody says: more is neither fast nor comfortable.
_COMFORTABLE = 2**31


@dataclass(frozen=True, slots=True)
class Blocks:
    """How attention runs.

    Attributes:
        dense: at once, with a tensor of all scores.
        rows, keys: how many rows and keys a block has.
        pieces: whether a block is of one of batch and heads, rather than of all.
    """

    dense: bool
    rows: int
    keys: int
    pieces: bool = False


def choose_blocks(
    n_rows: Size,
    n_keys: Size,
    others: int,
    machine: Machine,
    block: str | int = "auto",
    memory_limit: int | None = None,
    *,
    depth: int = 64,
    seen: float = 1.0,
) -> Blocks:
    """Chooses by price among what fits.

    Args:
        n_rows, n_keys: of scores; None where unknown.
        others: the product of what else scores have: batch and heads.
        machine: what passes over memory cost.
        block: "auto", or how many rows and keys a block has.
        memory_limit: bytes that scores may take in all; by default all of them up to 2 GiB.
        depth: what a score sums over.
        seen: the share of scores in blocks that are not empty.

    Raises:
        EinsumError: `block` is neither; or even the smallest blocks take more than the limit.

    Example:
        >>> from tf_einsum_grad.lowering.machines import CPU
        >>> choose_blocks(16, 16, 8, CPU).dense, choose_blocks(32_768, 32_768, 8, CPU).dense
        (True, False)
    """
    if block != "auto":
        if isinstance(block, bool) or not isinstance(block, int) or block < 1:
            raise EinsumError(f"attention requires block='auto' or at least 1, got {block!r}")
        return Blocks(False, min(block, n_rows or block), min(block, n_keys or block))
    largest = _BLOCK_BYTES if memory_limit is None else min(_BLOCK_BYTES, memory_limit // _ALIVE)
    side = _power(math.isqrt(max(largest // (4 * max(others, 1)), 1)))
    if memory_limit is not None and 4 * side * side * others * _ALIVE > memory_limit:
        least = 4 * others * _ALIVE
        raise EinsumError(
            f"attention requires a memory_limit of at least {least:,} bytes for a block of scores, "
            f"got {memory_limit:,}"
        )
    blocks = Blocks(False, min(side, n_rows or side), min(side, n_keys or side))
    if n_rows is None or n_keys is None:
        return blocks
    if seen == 1 and n_rows and 0 < n_keys <= _LONGEST_ROW:
        whole = max(_ROW_BYTES // (4 * n_keys), _FEWEST_ROWS)
        rows = min(1 << (whole.bit_length() - 1), n_rows)
        if memory_limit is None or 4 * rows * n_keys * _ALIVE <= memory_limit:
            blocks = Blocks(False, rows, n_keys, True)
    scores = 4 * n_rows * n_keys * others
    if scores * _ALIVE > (_COMFORTABLE if memory_limit is None else memory_limit):
        return blocks
    fresh = scores / machine.fresh if scores > machine.fresh_limit else 0.0
    dense_us = _PASSES * scores / machine.stream + _ALIVE * fresh
    n_blocks = math.ceil(n_rows / blocks.rows) * math.ceil(n_keys / blocks.keys)
    n_blocks *= others if blocks.pieces else 1
    # Blocks compute scores twice.
    again = 2 * (scores / 4) * depth / machine.flops
    blocks_us = _PASSES * scores / machine.stream + again
    blocks_us = seen * (blocks_us + n_blocks * _KERNELS * machine.launch("graph"))
    return replace(blocks, dense=dense_us <= blocks_us)


def _power(n: int) -> int:
    """The largest power of two up to n, within limits."""
    return max(min(1 << (n.bit_length() - 1), _MOST), 1 if n < _LEAST else _LEAST)
