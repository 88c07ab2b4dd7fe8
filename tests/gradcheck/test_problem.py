"""The options of a check."""

import pytest
import tensorflow as tf

from tests.gradcheck.helpers import x
from tf_einsum_grad.gradcheck import check_gradients


@pytest.mark.parametrize(
    "options",
    [
        {"order": 3}, {"variants": ("fast",)}, {"variants": ()}, {"reference": "x"}, {"kinks": "x"},
        {"stop_gradient": "x"}, {"n_directions": 0}, {"rtol": -1.0}, {"atol": float("nan")},
        {"variants": 3}, {"n_directions": 1.5}, {"rtol": "1"}, {"seed": -1}, {"seed": "a"},
        {"max_evaluations": 0}, {"seconds": -1}, {"seconds": "1"}, {"variables": 3}, {"loss": ("mse",)},
    ],
)  # fmt: skip
def test_bad_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        check_gradients(tf.sin, x(2), **options)
