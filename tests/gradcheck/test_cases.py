"""Planted bugs and correct functions, over five seeds each."""

import numpy as np
import pytest
import tensorflow as tf

from tests.gradcheck.cases import BUGS, CORRECT
from tf_einsum_grad.gradcheck import check_gradients

SEEDS = range(5)


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name):
    make, statuses = BUGS[name]
    for seed in SEEDS:
        fn, inputs, options = make(seed)
        report = check_gradients(fn, inputs, seed=seed, **options)
        assert not report.passed, f"seed {seed}\n{report.summary()}"
        assert report.status in statuses, f"seed {seed}\n{report.summary()}"


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_gradient_is_not_flagged(name):
    make, statuses = CORRECT[name]
    for seed in SEEDS:
        fn, inputs, options = make(seed)
        report = check_gradients(fn, inputs, seed=seed, **options)
        assert report.passed, f"seed {seed}\n{report.summary()}"
        assert report.status in statuses, f"seed {seed}\n{report.summary()}"


def test_tf_norm_at_zero_is_nonfinite():
    report = check_gradients(tf.norm, tf.zeros(3))
    assert report.status == "NONFINITE"
    assert not report.passed
    assert "3 of 3 entries" in report.summary()
    assert np.isnan(report.leaves[0].numeric)
