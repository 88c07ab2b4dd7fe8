import numpy as np
import pytest
import tensorflow as tf

from tf_einsum_grad.algebra.dtypes import (
    DTYPES,
    compute_dtype,
    dtype_name,
    is_differentiable,
    itemsize,
)


@pytest.mark.parametrize("name", DTYPES)
def test_facts_are_tensorflows(name):
    dtype, facts = tf.as_dtype(name), DTYPES[name]
    assert itemsize(name) == dtype.size
    kinds = {
        "bool": dtype.is_bool,
        "integer": dtype.is_integer,
        "float": dtype.is_floating,
        "complex": dtype.is_complex,
    }
    assert [kind for kind, holds in kinds.items() if holds] == [facts.kind]
    assert is_differentiable(name) == (dtype.is_floating or dtype.is_complex)


@pytest.mark.parametrize("name", [name for name, facts in DTYPES.items() if facts.epsilon])
def test_epsilon_is_the_gap_above_1(name):
    one = tf.ones([], name)
    step = tf.cast(DTYPES[name].epsilon, name)
    assert bool(one + step != one) and bool(one + step / tf.cast(2, name) == one)


@pytest.mark.parametrize("name", [name for name, facts in DTYPES.items() if not facts.epsilon])
def test_exact_dtypes_compute_in_as_many_bits_at_least(name):
    assert DTYPES[DTYPES[name].computes_in].itemsize >= DTYPES[name].itemsize
    assert DTYPES[name].computes_in in ("int32", "int64")  # what TensorFlow has kernels for


@pytest.mark.parametrize(
    ("dtype", "sums_products", "expected"),
    [
        ("float16", True, "float32"),
        ("float16", False, None),
        ("float32", True, None),
        ("complex64", True, None),
        ("int32", True, None),
        ("int8", False, "int32"),
        ("bool", True, "int64"),
    ],
)
def test_compute_dtype(dtype, sums_products, expected):
    assert compute_dtype(dtype, sums_products) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.dtype("float32"), tf.float32, "float32"])
def test_dtype_name(dtype):
    assert dtype_name(dtype) == "float32"
