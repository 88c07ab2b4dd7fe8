"""What eager mode takes without a conversion, and what it says no to."""

import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.execution import private

MATRIX = np.random.default_rng(0).normal(size=(3, 3)).astype("float32")


@pytest.mark.parametrize("kinds", ["tt", "tv", "vt", "vv", "ta", "av", "aa"])
def test_tensors_variables_and_arrays_need_no_more_than_a_look(kinds, monkeypatch):
    made = {"t": tf.constant(MATRIX), "v": tf.Variable(MATRIX), "a": MATRIX}
    given = [made[kind] for kind in kinds]
    monkeypatch.setattr("tf_einsum_grad.execution.call.convert_operands", None)
    np.testing.assert_allclose(teg.einsum("ij,jk->ik", *given), MATRIX @ MATRIX, rtol=1e-5)


def test_a_variable_is_read_once_for_each_operand_and_followed_by_tapes():
    variable = tf.Variable(MATRIX.astype("float64"))
    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            result = teg.einsum("ij,jk->", variable, variable)
        assert tape.watched_variables() == (variable,)
        gradient = tape.gradient(result, variable)
    m = variable.numpy()
    expected = np.ones([3, 1]) * m.sum(1) + m.sum(0)[:, np.newaxis]
    np.testing.assert_allclose(gradient, expected)
    assert outer.gradient(gradient, variable).shape == (3, 3)


def test_what_was_read_does_not_change_with_the_variable():
    variable = tf.Variable(MATRIX)
    with tf.GradientTape() as tape:
        result = teg.einsum("ij,ij->", variable, variable)
    variable.assign(tf.zeros_like(variable))
    np.testing.assert_allclose(tape.gradient(result, variable), 2 * MATRIX, rtol=1e-6)


def test_a_variable_that_is_not_trainable_is_not_watched():
    variable = tf.Variable(MATRIX, trainable=False)
    with tf.GradientTape() as tape:
        result = teg.einsum("ij,jk->ik", variable, variable)
    assert tape.watched_variables() == () and tape.gradient(result, variable) is None


@pytest.mark.parametrize(
    "others",
    [
        [np.ones([3, 3])],  # of float64, which takes the tensor's dtype
        [[[1.0] * 3] * 3],
        [np.ones([3, 3], "float32").tolist()],
    ],
)
def test_what_takes_the_dtype_of_others_is_converted_as_before(others):
    result = teg.einsum("ij,jk->ik", tf.constant(MATRIX), *others)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, MATRIX @ np.ones([3, 3]), rtol=1e-5)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (np.array(["a"]), "one dtype, got float32 for operand 0 and string for operand 1"),
        (np.ones([3, 3], "datetime64[s]"), "convert to a tensor, got ndarray for operand 1: "),
        (tf.Variable(MATRIX.astype("float64")), "one dtype, got float32 for operand 0 and float64"),
    ],
)
def test_what_is_wrong_is_said_as_before(other, said):
    with pytest.raises(teg.OperandError, match=said):
        teg.einsum("ij,jk->ik", tf.constant(MATRIX), other)


def test_where_the_class_of_variables_is_not_to_be_had(monkeypatch):
    monkeypatch.setattr(private, "VARIABLE", type(None))
    variable = tf.Variable(MATRIX)
    np.testing.assert_allclose(teg.einsum("ij,jk->ik", variable, MATRIX), MATRIX @ MATRIX, 1e-5)
