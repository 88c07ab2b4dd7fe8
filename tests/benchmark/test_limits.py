import pytest
import tensorflow as tf

from tests.benchmark.conftest import FAST
from tf_einsum_grad.benchmark import limits
from tf_einsum_grad.benchmark.limits import measure_limit

# The best of them: 2 s for a product, and 1 s for reading and writing once.
SECONDS = {"matmul": [9.0, 2.0, 3.0], "add": [3.0], "negate": [5.0, 1.0], "sum": [4.0]}


@pytest.mark.parametrize(("dtype", "products"), [("float32", 1), ("bfloat16", 1), ("complex64", 4)])
def test_rates_are_those_of_the_best_call(dtype, products, monkeypatch):
    made = []

    def interleave(passes, effort):
        made.extend((name, prepare()()) for name, prepare in passes.items())
        return {name: SECONDS[name] for name in passes}

    monkeypatch.setattr(limits, "interleave", interleave)
    limit = measure_limit(dtype, FAST, sides=(8, 16), lengths=(1 << 8, 1 << 10))
    assert limit.flops_per_second == products * 2 * 16**3 / 2.0
    assert limit.bytes_per_second == 2 * (1 << 10) / 1.0
    sizes = {(name, *x.shape): x.shape.num_elements() * x.dtype.size for name, x in made}
    assert {("matmul", 8, 8), ("matmul", 16, 16)} <= set(sizes)
    streamed = {n for (name, *_), n in sizes.items() if name in ("add", "negate")}
    assert streamed == {1 << 8, 1 << 10}, "bytes of the tensors that are streamed through"
    assert all(x.dtype == tf.as_dtype(dtype) for _, x in made)


def test_rates_are_measured():
    limit = measure_limit("float32", FAST, sides=(64,), lengths=(1 << 16,))
    assert limit.flops_per_second > 0 and limit.bytes_per_second > 0
