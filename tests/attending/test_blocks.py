"""Whether attention runs in blocks, and in which: a pure decision."""

import dataclasses

import pytest

from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.attending.blocks import Blocks, choose_blocks
from tf_einsum_grad.lowering.machines import CPU, CPU_ONEDNN


def test_short_ones_run_at_once_and_long_ones_in_blocks():
    assert choose_blocks(64, 64, 8, CPU).dense
    assert not choose_blocks(16_384, 16_384, 8, CPU).dense
    assert not choose_blocks(None, 64, 8, CPU).dense


@pytest.mark.parametrize("n", [1024, 4096, 32_768])
@pytest.mark.parametrize("limit", [2**20, 2**24, 2**28])
@pytest.mark.parametrize("machine", [CPU, CPU_ONEDNN])
def test_scores_keep_within_a_limit(n, limit, machine):
    blocks = choose_blocks(n, n, 8, machine, memory_limit=limit)
    alive = n * n if blocks.dense else blocks.rows * blocks.keys
    heads = 1 if blocks.pieces and not blocks.dense else 8
    assert 4 * 4 * heads * alive <= limit


def test_long_rows_are_whole_and_of_one_head_where_nothing_is_masked_by_place():
    assert choose_blocks(8192, 8192, 8, CPU_ONEDNN) == Blocks(False, 512, 8192, True)
    assert choose_blocks(2**15, 2**15, 8, CPU_ONEDNN) == Blocks(False, 256, 2**15, True)
    causal = choose_blocks(8192, 8192, 8, CPU_ONEDNN, seen=0.5)
    assert not causal.pieces and causal.keys < 8192
    assert not choose_blocks(2**17, 2**17, 8, CPU_ONEDNN).pieces
    assert not choose_blocks(8192, 8192, 8, CPU_ONEDNN, memory_limit=2**20).pieces


def test_a_limit_that_cannot_be_met_names_the_least_that_can():
    with pytest.raises(EinsumError, match="at least 128 bytes for a block of scores, got 127"):
        choose_blocks(64, 64, 8, CPU, memory_limit=127)
    assert choose_blocks(64, 64, 8, CPU, memory_limit=128) == Blocks(False, 1, 1)


def test_slow_starts_make_for_no_blocks_and_slow_memory_for_blocks():
    sizes = 2048, 2048, 8
    slow_start = dataclasses.replace(CPU, graph_launch=1e6)
    slow_memory = dataclasses.replace(CPU, stream=10.0, fresh=1.0)
    assert choose_blocks(*sizes, slow_start).dense
    assert not choose_blocks(*sizes, slow_memory).dense


def test_a_block_is_as_long_as_asked_for_and_no_longer_than_there_is():
    assert choose_blocks(100, 1000, 8, CPU, 128) == Blocks(False, 100, 128)
