"""Which reference is chosen, and what is said where none fits."""

import itertools
import os

import numpy as np
import tensorflow as tf

from tests.gradcheck.helpers import x
from tf_einsum_grad.gradcheck import check_gradients
from tf_einsum_grad.gradcheck.oracle import same_values


def test_nondeterministic():
    count = itertools.count(1)
    report = check_gradients(lambda v: v * float(next(count)), x(3))
    assert report.status == "NONDETERMINISTIC"

    def noise():
        return tf.constant(np.frombuffer(os.urandom(2), np.uint16)[0].astype(np.float32))

    report = check_gradients(lambda v: v * tf.py_function(noise, [], tf.float32), x(3))
    assert report.status == "NONDETERMINISTIC" and not report.passed


def test_same_values_are_equal_relative_to_their_size():
    y = np.array([3.0, 4.0])
    assert same_values([y], [y * (1 + 1e-7)], 1e-6, [0.0])
    assert not same_values([y], [y * (1 + 1e-5)], 1e-6, [0.0])
    assert same_values([y], [y * (1 + 1e-5)], 1e-6, [1e3])  # terms that cancel are larger
    assert not same_values([y], [y[:1]], 1e-6, [0.0])
    assert same_values([np.array([np.inf, 1.0])], [np.array([np.inf, 1.0])], 1e-6, [0.0])
