"""What shapes `EinsumDense` infers, and which `output_shape`s it refuses."""

import keras
import numpy as np
import pytest

import tf_einsum_grad as teg
from tf_einsum_grad.keras import EinsumDense
from tf_einsum_grad.keras.dense_shapes import DenseShapes, dense_shapes

SHAPES = [  # equation, inputs without batch, output_shape, kernel, output without batch
    ("abc,cd->abd", (32, 128), (None, 64), (128, 64), (32, 64)),
    ("abc,cd->abd", (32, 128), (32, 64), (128, 64), (32, 64)),
    ("abc,cd->abd", (None, 128), (None, 64), (128, 64), (None, 64)),
    ("abc,cd->adb", (32, 128), (64, None), (128, 64), (64, 32)),
    ("abc,cde->abde", (32, 128), (None, 4, 16), (128, 4, 16), (32, 4, 16)),
    ("abc,bcd->abd", (32, 128), (None, 64), (32, 128, 64), (32, 64)),
    ("abc,bcd->abd", (None, 128), (32, 64), (32, 128, 64), (32, 64)),
    ("...x,xy->...y", (7, None, 128), 64, (128, 64), (7, None, 64)),
    ("...x,xyz->...yz", (7, 128), (4, 16), (128, 4, 16), (7, 4, 16)),
    ("...tx,txy->...ty", (7, 5, 128), (None, 64), (5, 128, 64), (7, 5, 64)),
    ("ab...,bc->ac...", (4, 6, 7), 5, (4, 5), (5, 6, 7)),
    ("ab...,bc->ac...", (4,), 5, (4, 5), (5,)),
]


@pytest.mark.parametrize(("equation", "inputs", "output_shape", "kernel", "output"), SHAPES)
def test_shapes_are_what_a_call_gives(equation, inputs, output_shape, kernel, output):
    layer = EinsumDense(equation, output_shape)
    assert layer.compute_output_shape((None, *inputs)) == (None, *output)
    assert layer(keras.Input(inputs)).shape == (None, *output)
    assert tuple(layer.kernel.shape) == kernel
    own = [size or (kernel[0] if axis == 0 else 3) for axis, size in enumerate(inputs)]
    result = layer(np.ones((2, *own), "float32")).shape
    assert len(result) == len(output) + 1
    assert all(size in (None, n) for size, n in zip(output, result[1:], strict=True))


@pytest.mark.parametrize("axes", ["bd", "b", "d"])
def test_a_bias_over_an_axis_that_output_shape_leaves_out(axes):
    layer = EinsumDense("abc,cd->abd", (None, 4), bias_axes=axes)
    expected = keras.layers.EinsumDense("abc,cd->abd", (3, 4), bias_axes=axes)
    layer.build((None, 3, 5)), expected.build((None, 3, 5))
    assert layer.bias.shape == expected.bias.shape


def test_what_was_given_is_what_is_saved():
    layer = EinsumDense("abc,cd->abd", (None, 4))
    layer.build((None, 3, 5))
    assert layer.get_config()["output_shape"] == (None, 4)
    assert layer.compute_output_shape((None, 9, 5)) == (None, 9, 4)
    assert layer(np.ones((2, 9, 5), "float32")).shape == (2, 9, 4)
    with pytest.raises(teg.SizeError):
        refused = EinsumDense("abc,cd->abd", (None, 4, 3))
        refused.build((None, 3, 5))
    assert refused.get_config()["output_shape"] == (None, 4, 3)


@pytest.mark.parametrize(
    ("equation", "inputs", "output_shape", "message"),
    [
        (
            "abc,cd->abd",
            (32, 128),
            (None, 64, 32),
            r"each of the labels 'bd', got \(None, 64, 32\)",
        ),
        ("abc,cd->abd", (32, 128), 64, r"one size for each of the labels 'bd', got \(64,\)"),
        ("abc,cde->abde", (32, 128), (None, 4), r"each of the labels 'bde', got \(None, 4\)"),
        ("...x,xy->...y", (32, 128), (32, 64), r"each of the labels 'y', got \(32, 64\)"),
        ("ab...,bc->ac...", (4, 6), (5, 6), r"each of the labels 'c', got \(5, 6\)"),
        (
            "abc,cd->abd",
            (32, 128),
            (31, 64),
            r"label 'b', got 32 in its inputs .* and 31 in output",
        ),
        (
            "abc,cd->abd",
            (None, 128),
            (32, 64),
            r"label 'b', got None in its inputs .* and 32 in out",
        ),
        ("abc,cd->abd", (32, 128), (None, None), r"size for label 'd' of its kernel, got none in"),
        ("abc,bcd->abd", (None, 128), (None, 64), r"size for label 'b' of its kernel, got none in"),
        ("abc,cd->abd", (128,), (None, 64), r"requires rank 3 for operand 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(equation, inputs, output_shape, message):
    layer = EinsumDense(equation, output_shape)
    for call in (
        lambda: layer(keras.Input(inputs)),
        lambda: layer.build((None, *inputs)),
        lambda: layer.compute_output_shape((None, *inputs)),
    ):
        with pytest.raises(teg.SizeError, match=message):
            call()


@pytest.mark.parametrize("equation", ["ab->a", "a...c,cd->a...d", "...x,xy->y...", "ab,b...->a"])
def test_equations_that_keras_refuses_are_left_to_it(equation):
    assert dense_shapes(equation, (None, 3, 4), (5,)) is None
    with pytest.raises(ValueError, match="Invalid einsum equation"):
        EinsumDense(equation, 5).compute_output_shape((None, 3, 4))


def test_shapes_hold_all_that_is_known():
    shapes = dense_shapes("abc,bcd->abd", (None, None, 128), (32, 64))
    assert shapes == DenseShapes((None, 32, 128), (32, 64), (None, 32, 64))
