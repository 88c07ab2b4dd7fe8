"""The whole check: seeds, errors."""

import pytest
import tensorflow as tf

from tests.gradcheck.helpers import with_gradient, x
from tf_einsum_grad.gradcheck import GradientCheckError, assert_gradients, check_gradients


def test_the_seed_makes_reports_repeat():
    fn = with_gradient(tf.sin, lambda dy, v: dy)
    a, b, c = (check_gradients(fn, x(5), seed=s).leaves[0] for s in (1, 1, 2))
    assert a == b and a.numeric != c.numeric


def test_raising():
    fn = with_gradient(tf.sin, lambda dy, v: dy)
    with pytest.raises(GradientCheckError, match="FAIL inputs") as caught:
        check_gradients(fn, x(5), raise_on_fail=True)
    assert caught.value.report.status == "FAIL"
    with pytest.raises(AssertionError, match="analytic"):
        assert_gradients(fn, x(5))
    assert assert_gradients(tf.sin, x(5)).passed
