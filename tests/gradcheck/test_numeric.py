"""Sizes of arrays."""

import numpy as np
import pytest

from tf_einsum_grad.gradcheck import numeric


def test_rms_neither_overflows_nor_vanishes():
    assert numeric.rms(np.array([1e300, 1e300])) == pytest.approx(1e300)
    assert numeric.rms(np.array([1e-300])) == pytest.approx(1e-300)
    assert numeric.rms(np.zeros(0)) == 0
