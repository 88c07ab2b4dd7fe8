import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad
from tf_einsum_grad.benchmark import Workload
from tf_einsum_grad.benchmark.variants import (
    VARIANTS,
    as_arrays,
    build_passes,
    make_tensors,
    native_einsum,
    native_values,
)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_passes_return_the_result_and_the_gradients(mode):
    w = Workload("", "", "ij,jk->ik", ((2, 3), (3, 4)))
    (a, b), g = make_tensors(w)
    passes = build_passes(VARIANTS["ours"], w.equation, mode, (a, b), g)
    expected = [a.numpy() @ b.numpy(), g.numpy() @ b.numpy().T, a.numpy().T @ g.numpy()]
    for value, right in zip(passes["both"]()(), expected, strict=True):
        np.testing.assert_allclose(value, right, rtol=1e-5)
    for value, right in zip(passes["backward"]()(), expected[1:], strict=True):
        np.testing.assert_allclose(value, right, rtol=1e-5)
    np.testing.assert_allclose(passes["forward"]()(), expected[0], rtol=1e-5)


def test_native_is_tensorflows_also_where_tf_einsum_was_replaced(monkeypatch):
    own = native_einsum()
    assert own.__module__.startswith("tensorflow.")
    monkeypatch.setattr(tf, "einsum", tf_einsum_grad.einsum)
    assert native_einsum() is own
    for name in ("tf.linalg", "tf.compat.v2", "tf.compat.v1"):
        module = eval(name, {"tf": tf})
        monkeypatch.setattr(module, "einsum", tf_einsum_grad.einsum)
    with pytest.raises(RuntimeError, match="has been replaced"):
        native_einsum()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_native_sums_half_precision_in_float32(dtype):
    w = Workload("", "", "i,i->", ((4096,), (4096,)), dtype)
    (a, b), g = make_tensors(w)
    (x, y), (value, *_) = as_arrays((a, b)), native_values(w.equation, (a, b), g)
    assert value.dtype == x.dtype == np.float32
    np.testing.assert_allclose(value, np.dot(np.float64(x), np.float64(y)), rtol=1e-5)


def test_tensors_are_the_same_for_the_same_seed():
    w = Workload("", "", "ij->i", ((2, 3),), "complex64")
    ((a,), g), ((b,), _), ((c,), _) = (make_tensors(w, seed) for seed in (0, 0, 1))
    assert a.dtype == g.dtype == tf.complex64 and g.shape == (2,)
    assert np.array_equal(a, b) and not np.array_equal(a, c)
