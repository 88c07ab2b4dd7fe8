"""directions, localise, statuses, report and render: no TensorFlow needed to test them."""

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from tf_einsum_grad.gradcheck import directions, localise
from tf_einsum_grad.gradcheck.report import GradientCheckError, GradientReport, LeafReport
from tf_einsum_grad.gradcheck.statuses import MEANINGS, Status, worst


def test_pure_modules_do_not_import_tensorflow():
    code = (
        "import sys, types\n"
        "import importlib.machinery as m\n"
        "package = types.ModuleType('tf_einsum_grad.gradcheck')\n"
        "import tf_einsum_grad, os\n"
        "package.__path__ = [os.path.join(tf_einsum_grad.__path__[0], 'gradcheck')]\n"
        "sys.modules['tf_einsum_grad.gradcheck'] = package\n"
        "from tf_einsum_grad.gradcheck import report, render, numeric, statuses, directions, localise\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------ directions


def test_directions_have_random_signs_and_no_small_entry():
    x = np.full((50, 40), 3.0)
    u = directions.direction(np.random.default_rng(0), x, np.float32)
    assert (np.abs(u) >= 1.49).all() and (np.abs(u) <= 4.51).all()
    assert 800 < (u > 0).sum() < 1200


def test_directions_leave_infinite_entries_alone_and_move_zero_leaves():
    u = directions.direction(np.random.default_rng(0), np.array([np.inf, 0.0]), np.float64)
    assert u[0] == 0 and 0.04 < abs(u[1]) < 0.16


def test_cotangents_are_representable_and_do_not_overflow_float16():
    y = np.full(100, 1e-7)
    v = directions.cotangent(np.random.default_rng(0), y, np.float16, half=True)
    assert np.array_equal(v, v.astype(np.float16)) and np.isfinite(v.astype(np.float16)).all()
    assert np.abs(v).max() < 500


def test_rms_neither_overflows_nor_vanishes():
    assert directions.rms(np.array([1e300, 1e300])) == pytest.approx(1e300)
    assert directions.rms(np.array([1e-300])) == pytest.approx(1e-300)
    assert directions.rms(np.zeros(0)) == 0


def test_complex_directions_and_inner_product():
    u = directions.direction(np.random.default_rng(0), np.ones(3, complex), np.complex64)
    assert (u.imag != 0).all()
    assert directions.inner(np.array([1j]), np.array([1j])) == 1.0


# ------------------------------------------------------------------ localise


@pytest.mark.parametrize("wrong", [(0, 0), (3, 4), (6, 8)])
def test_bisection_finds_a_single_wrong_element(wrong):
    rng = np.random.default_rng(0)
    right = rng.normal(size=(7, 9))
    gradient = right.copy()
    gradient[wrong] *= 2
    evaluations = []

    def numeric(u):
        evaluations.append(1)
        return float(np.sum(right * u))

    u = directions.direction(rng, right, np.float64)
    found = localise.bisect(u, lambda w: float(np.sum(gradient * w)), numeric, tolerance=1e-9)
    assert [e.index for e in found] == [wrong]
    assert found[0].analytic == pytest.approx(gradient[wrong])
    assert found[0].numeric == pytest.approx(right[wrong])
    assert len(evaluations) < 12


def test_a_scalar_leaf_is_its_own_worst_element():
    found = localise.bisect(np.array(0.5), lambda w: 2 * float(w), lambda w: float(w), tolerance=0)
    assert [(e.index, e.analytic, e.numeric) for e in found] == [((), 2.0, 1.0)]


def test_ratios():
    assert localise.constant_ratio([(2, 1), (4.01, 2), (-6, -3)]) == pytest.approx(2, rel=0.01)
    assert localise.constant_ratio([(2, 1), (5, 2)]) is None
    assert localise.constant_ratio([(2, 1)]) is None
    assert localise.describe_ratio(-1, [4]) == "the sign is wrong"
    assert localise.describe_ratio(2, []) == "off by a factor of 2"
    assert "1/6: a mean where a sum belongs" in localise.describe_ratio(1 / 6, [3, 6])
    assert "a sum where a mean belongs" in localise.describe_ratio(6, [6])
    assert "and the sign is wrong" in localise.describe_ratio(-3, [])


def test_transposed_and_conjugated_gradients_are_recognised():
    rng = np.random.default_rng(0)
    g, u = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    assert localise.looks_transposed(g.T, u, float(np.sum(g * u)), 1e-9)
    assert not localise.looks_transposed(g, u, float(np.sum(g * u)), 1e-9)
    z, w = g + 1j * u, u - 2j * g
    numeric = directions.inner(z, w)
    assert localise.looks_conjugated(z.conj(), w, numeric, 1e-9)
    assert not localise.looks_conjugated(g, u, 0.0, 1e-9)


# ------------------------------------------------------------------ statuses and report


def test_statuses():
    assert set(MEANINGS) == set(Status)
    assert worst([Status.PASS, Status.FAIL, Status.KINK]) == "FAIL"
    assert worst([Status.PASS, Status.INCONCLUSIVE]) == "INCONCLUSIVE"
    assert worst([]) == "SKIPPED"
    assert {s for s in Status if s.passed} == {"PASS", "PASS_NEARBY", "SKIPPED"}


def leaf(name="dense/kernel", status=Status.FAIL, **changes):
    base = LeafReport(
        name, (3, 4), "float32", status, 2.0, 1.0, 1.0, 1.0, 1e-4, 1e-9, 1e-3,
        worst_indices=((1, 2),), worst_values=((4.0, 2.0),), ratio=2.0,
        cause="off by a factor of 2", variant="eager",
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def report(*leaves, **changes):
    status = worst(x.status for x in leaves)
    base = GradientReport(status, leaves, {"eager": status}, 0, "promote", 12, 2, 0.5)
    return dataclasses.replace(base, **changes)


def test_the_summary_names_leaf_indices_values_tolerance_and_cause():
    text = report(leaf(), leaf("ok", Status.PASS), hints=("look here",), warnings=("w",)).summary()
    for part in (
        "FAIL: gradients of function: 1 FAIL, 1 PASS",
        "dense/kernel (3x4 float32)",
        "analytic 2, numeric 1",
        "tolerance 0.0001",
        "[1, 2]: analytic 4, numeric 2",
        "off by a factor of 2",
        "hint: look here",
        "warning: w",
        "12 evaluations",
    ):
        assert part in text
    assert "ok (" not in text


def test_passed_and_raising():
    good = report(leaf(status=Status.PASS))
    assert good and good.passed and good.raise_if_failed() is good
    bad = report(leaf())
    assert not bad
    with pytest.raises(GradientCheckError, match="dense/kernel") as caught:
        bad.raise_if_failed()
    assert caught.value.report is bad
    assert isinstance(caught.value, AssertionError)
    assert not report(leaf(status=Status.SKIPPED)).passed
    assert not report(leaf(status=Status.INCONCLUSIVE)).passed


def test_reports_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        report(leaf()).seed = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        leaf().name = "x"


def test_json_is_strict():
    data = json.loads(report(leaf(analytic=math.nan, step=math.inf)).to_json())
    assert data["passed"] is False and data["status"] == "FAIL"
    assert data["leaves"][0]["analytic"] is None and data["leaves"][0]["step"] is None
    assert data["leaves"][0]["worst_indices"] == [[1, 2]]
    assert data["variants"] == {"eager": "FAIL"}


def test_html_escapes_names():
    html = report(leaf("<script>")).to_html()
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert report(leaf())._repr_html_().startswith("<div")


def test_rich_rendering_shows_every_leaf():
    from rich.console import Console

    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report(leaf(), leaf("[b]x[/b]", Status.PASS)))
    text = console.export_text()
    assert "dense/kernel" in text and "[b]x[/b]" in text and "12 evaluations" in text


def test_the_table_fits_into_80_columns():
    from rich.console import Console

    small = leaf(analytic=-1.234567e-8, numeric=-1.234567e-8, abs_error=1e-16, tolerance=2.34e-11)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report(small))
    assert "dense/kernel 3×4   float32 FAIL   -1.235e-08 -1.235e-08 1e-16   2.3e-11" in (
        console.export_text()
    )
