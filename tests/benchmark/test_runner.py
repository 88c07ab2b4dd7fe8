import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad
from tests.benchmark.conftest import FAST
from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.benchmark import ResultMismatch, Workload, compare, run_suite, variants
from tf_einsum_grad.benchmark.variants import VARIANTS, build_passes, make_tensors, native_einsum

FAST_GRAPH = {"modes": ("graph",), "effort": FAST, "memory": False}


def test_every_pass_in_every_mode_is_measured(report):
    for c in report.comparisons:
        found = {(m.mode, m.which) for m in c.measurements}
        assert found == {
            (mode, which)
            for mode in ("eager", "graph", "xla")
            for which in ("forward", "backward", "both")
        }
        for m in c.measurements:
            assert 0 < m.ours.low <= m.ours.median <= m.ours.high
            assert m.ratio.low <= m.ratio.value <= m.ratio.high
            assert m.ours.repeats == m.native.repeats >= 2
    assert not report.failures
    assert [x.which for x in report.overheads] == ["forward", "both"]


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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64"])
def test_other_dtypes(dtype):
    report = compare("ij,kj->ik", (16, 300), (8, 300), dtype=dtype, **FAST_GRAPH)
    assert report.limits[0].dtype == dtype


def test_a_wrong_result_is_never_timed(monkeypatch):
    monkeypatch.setattr(variants, "einsum", None)
    monkeypatch.setitem(VARIANTS, "ours", lambda e, *x: 1.01 * tf_einsum_grad.einsum(e, *x))
    monkeypatch.setattr("tf_einsum_grad.benchmark.runner.interleave", _fail)
    with pytest.raises(ResultMismatch, match=r"graph mode.*the result differs"):
        compare("ij,jk->ik", (8, 8), (8, 8), **FAST_GRAPH)


def test_a_wrong_gradient_is_found_in_a_suite_which_goes_on(monkeypatch):
    @tf.custom_gradient
    def wrong(a, b):
        return a @ b, lambda g: (g @ tf.transpose(b), tf.transpose(a) @ g * 1.001)

    def einsum(equation, *operands):
        right = tf_einsum_grad.einsum
        return wrong(*operands) if equation == "ij,jk->ik" else right(equation, *operands)

    monkeypatch.setitem(VARIANTS, "ours", einsum)
    suite = (
        Workload("bad", "", "ij,jk->ik", ((8, 8), (8, 8))),
        Workload("good", "", "ij,kj->ik", ((8, 8), (8, 8))),
    )
    report = run_suite(suite, **FAST_GRAPH)
    assert [c.workload.name for c in report.comparisons] == ["good"]
    (failure,) = report.failures
    assert failure.name == "bad" and "gradient of operand 1" in failure.message


def _fail(*_):
    raise AssertionError("timed before it was checked")


def test_nan_is_wrong(monkeypatch):
    monkeypatch.setitem(VARIANTS, "ours", lambda e, *x: np.nan * tf_einsum_grad.einsum(e, *x))
    with pytest.raises(ResultMismatch):
        compare("ij,jk->ik", (4, 4), (4, 4), **FAST_GRAPH)


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


@pytest.mark.parametrize(
    "wrong", [{"modes": ("jit",)}, {"passes": ("sideways",)}, {"peers": ("numpy",)}]
)
def test_unknown_names_are_refused(wrong):
    with pytest.raises(ValueError, match=r"unknown .* there are"):
        compare("ij->i", (2, 2), **{**FAST_GRAPH, **wrong})


def test_bad_equations_are_refused_before_anything_runs():
    with pytest.raises(EinsumError):
        compare("ij,jk->ik", (2, 3), (4, 5))


def test_progress_is_told(report):
    told = []
    run_suite(
        [Workload("one", "", "i->", ((4,),))], progress=lambda *x: told.append(x), **FAST_GRAPH
    )
    assert ("one", 0, 1) in told
