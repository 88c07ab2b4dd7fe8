import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad
from tests.benchmark.conftest import FAST
from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.benchmark import ResultMismatch, Workload, compare, run_suite, runner
from tf_einsum_grad.benchmark.variants import VARIANTS

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
            assert m.ours.repeats == m.native.repeats >= 2
            assert m.ours.median > 0 and m.native.median > 0
    assert not report.failures
    assert [x.which for x in report.overheads] == ["forward", "both"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64"])
def test_other_dtypes(dtype):
    report = compare("ij,kj->ik", (16, 300), (8, 300), dtype=dtype, **FAST_GRAPH)
    assert report.limits[0].dtype == dtype


def test_a_ratio_says_how_many_times_faster_ours_is(monkeypatch):
    seconds = {"ours": [1.0, 2.0, 4.0], "native": [3.0, 8.0, 12.0]}
    monkeypatch.setattr(
        runner, "interleave", lambda passes, _: {who: seconds[who] for who in passes}
    )
    report = compare("ij,jk->ik", (4, 4), (4, 4), **FAST_GRAPH)
    for m in report.comparisons[0].measurements:
        assert (m.ours.median, m.native.median, m.ratio.value) == (2.0, 8.0, 3.0)
        assert (m.ratio.low, m.ratio.high) == (3.0, 4.0)


def test_a_wrong_result_is_never_timed(monkeypatch):
    monkeypatch.setitem(VARIANTS, "ours", lambda e, *x: 1.01 * tf_einsum_grad.einsum(e, *x))
    monkeypatch.setattr(runner, "interleave", _fail)
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
