import math

import numpy as np
import pytest

from tf_einsum_grad import PathError
from tf_einsum_grad.planning.limit import Memory, read_limit, read_memory


@pytest.mark.parametrize(
    ("limit", "n_bytes"),
    [
        (None, None),
        (1, 1),
        (np.int64(7), 7),
        ("4096", 4096),
        ("3 b", 3),
        ("512MB", 512 * 10**6),
        ("0.5 kB", 500),
        ("2GiB", 2**31),
        ("1.5mib", 3 * 2**19),
        *[(f"1{x}B", 10**n) for n, x in zip((3, 6, 9, 12), "kMGT", strict=True)],
        *[(f"1{x}iB", 2**n) for n, x in zip((10, 20, 30, 40), "KMGT", strict=True)],
    ],
)
def test_a_limit_is_bytes_or_text(limit, n_bytes):
    assert read_limit(limit) == n_bytes


@pytest.mark.parametrize(
    "limit", ["lots", "", "MB", "-1MB", "0", "0.1", "1 PB", 0, -1, math.nan, 1.0, True, [1], "1e3"]
)
def test_anything_else_is_refused_in_words(limit):
    with pytest.raises(PathError, match="requires memory_limit to be bytes, an integer from 1 on"):
        read_limit(limit)


def test_recompute_is_a_bool():
    assert read_memory(None, False) is None
    assert read_memory(None, True) == Memory(None)
    assert read_memory("1kB", False) == read_memory(1000, True) == Memory(1000)
    with pytest.raises(PathError, match="requires recompute to be True or False, got 1"):
        read_memory(None, 1)
