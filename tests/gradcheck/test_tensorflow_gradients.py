"""What docs/tensorflow_gradients.md says, as far as seconds allow; `ci/tensorflow_gradients` does all."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

CI = Path(__file__).parents[2] / "ci"
if not CI.is_dir():
    pytest.skip("the scripts of ci/ are not part of an installation", allow_module_level=True)
sys.path.insert(0, str(CI))
import tensorflow_gradients as script  # noqa: E402

FOUND = [(kind, finding) for kind, found in script.FOUND.items() for finding in found]
CASES = list(script.cases())
PAGE = CI.parent / "docs" / "tensorflow_gradients.md"
SAME_VERSION = f"TensorFlow {tf.__version__}," in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("kind", "finding"), FOUND, ids=lambda value: getattr(value, "code", None))
def test_what_is_called_right_agrees_with_differences(kind, finding):
    right = np.asarray(finding.right(*finding.arrays().values()))
    assert np.allclose(right, script.by_differences(finding), 1e-4, 1e-6)


@pytest.mark.skipif(not SAME_VERSION, reason="the page is about another version of TensorFlow")
@pytest.mark.parametrize(("kind", "finding"), FOUND, ids=lambda value: getattr(value, "code", None))
def test_what_is_called_a_fault_is_there_and_on_the_page(kind, finding):
    row = script.table(["a"], [script.verified(kind, finding)]).splitlines()[-1]
    assert row in PAGE.read_text(encoding="utf-8")


def test_a_finding_that_is_repaired_or_misjudged_is_noticed():
    right = script.findings.Finding("tf.sin(x)", {"x": [0.3]}, "x", np.cos, "", ())
    with pytest.raises(AssertionError, match="is right"):
        script.verified("wrong", right)
    wrong = script.findings.Finding("tf.sin(x)", {"x": [0.3]}, "x", np.sin, "", ())
    with pytest.raises(AssertionError, match=r"\?"):
        script.verified("wrong", wrong)


@pytest.mark.skipif(not SAME_VERSION, reason="the findings are about another version")
@pytest.mark.parametrize("case", CASES[::61], ids=lambda case: case.text)
def test_calls_are_right_or_explained(case):
    result = script.run(case)
    assert script.explain(case, result) != "open", result["text"]


@pytest.mark.parametrize(
    ("text", "status", "said", "meaning"),
    [
        ("tf.sin(x)", "PASS", "", "right"),
        ("tf.sin(x)", "PASS_NEARBY", "", "right"),
        ("tf.sin(x)", "FAIL", "", "open"),
        ("tf.sin(x)", "MISSING", "the gradient is None", "open"),
        ("tf.sin(x)", "MISSING", "TensorFlow has no gradient for Sin here", "says"),
        ("tf.sin(x)", "INCONCLUSIVE", "", "inconclusive"),
        ("tf.math.cumprod(x0, axis=1)", "FAIL", "", "fault"),
        ("tf.linalg.norm(zeros)", "NONFINITE", "", "meant"),
        ("tf.sin(x)", "cannot", "", "cannot"),
    ],
)
def test_what_a_result_means(text, status, said, meaning):
    case = script.Case("tf.math", text, tf.float64)
    assert script.explain(case, {"status": status, "text": said}) == meaning


@pytest.mark.parametrize("text", ["tf.math.cumprod(x0, axis=1)", "tf.math.zeta(p + 1, q)"])
def test_a_fault_that_passes_is_missed(text):
    case, passed = script.Case("tf.math", text, tf.float64), {"status": "PASS", "text": ""}
    assert script.explain(case, passed) == "open"
    float64_only = script.Case("tf.image", 'tf.image.resize(image, [9, 8], "lanczos3")', tf.float32)
    assert script.explain(float64_only, passed) == "right"


def test_a_fault_of_second_order_excuses_nothing_in_first():
    case = script.Case("tf.math", "tf.math.reduce_prod(x0, 1)", tf.float64)
    failed = {"status": "FAIL", "text": ""}
    assert script.explain(case, failed) == "open"
    assert script.explain(script.replace(case, order=2), failed) == "fault"


@pytest.mark.skipif(not SAME_VERSION, reason="the page is about other versions")
def test_every_layer_loss_and_activation_is_called():
    assert script.uncovered() == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "None"), ([1.0, 0.5], "[1, 0.5]"), (1 - 2j, "1-2j"), (3 + 0j, "3"), (-0.0, "0")],
)
def test_values_are_shown_in_a_line(value, text):
    assert script.show(value) == text
