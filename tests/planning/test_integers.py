"""What float32 adds up exactly: counted, and tried at the limit."""

import numpy as np
import pytest

from tf_einsum_grad.planning.integers import adds_up_in_float32


@pytest.mark.parametrize(
    ("text", "shapes", "exact"),
    [
        ("ij,jk->ik", ((3, 1024), (1024, 5)), True),
        ("ij,jk->ik", ((3, 1025), (1025, 5)), False),
        ("ijk,jkl->il", ((3, 32, 32), (32, 32, 5)), True),
        ("ijk,jkl->il", ((3, 32, 33), (32, 33, 5)), False),
        ("...k,kn->...n", ((None, None, 64), (64, 5)), True),
        ("ij,kj->ik", ((3, None), (4, None)), False),
        ("ij,ij->ij", ((3, 4000), (3, 4000)), True),
        ("ij,jk,kl->il", ((2, 2), (2, 2), (2, 2)), False),
        ("ij,jk->ik", ((2, 3), (4, 5)), False),  # an error, which is said elsewhere
    ],
)
def test_counts_products_for_each_result(text, shapes, exact):
    assert adds_up_in_float32(text, shapes) == exact


def test_the_limit_is_float32s():
    """The largest product, as often as that: still exact, and no longer with an odd number more."""
    total = np.float32(0)
    for _ in range(1024):
        total += np.float32(-128) * np.float32(-128)
    assert total == 1024 * 2**14 == 2**24
    assert np.float32(2**24) + np.float32(1) == 2**24
