"""What is pure stays pure: planning and explaining never wait for TensorFlow to be imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

PURE = (
    "cost",
    "dot",
    "dtypes",
    "equation",
    "errors",
    "explain",
    "instructions",
    "lowering",
    "path",
    "plan",
    "recipe",
    "render",
    "report",
    "sizes",
    "unary",
)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    ).stdout


@pytest.mark.parametrize(
    "code",
    [
        *(f"import tf_einsum_grad.{name}" for name in PURE),
        "import tf_einsum_grad as t; t.gradient_equations('ij,jk->ik'); t.EinsumError",
        "import tf_einsum_grad as t; str(t.explain('ij,jk->ik', (2, 3), (3, 4)))",
    ],
)
def test_no_tensorflow(code):
    assert run(f"{code}\nimport sys; print('tensorflow' in sys.modules)").split()[-1] == "False"


def test_names_are_found_when_used():
    assert (
        run(
            "import tf_einsum_grad as t; print(t.einsum.__module__, sorted(t.__all__) == sorted(set(t.__all__) & set(dir(t))))"
        )
        == "tf_einsum_grad.ops True\n"
    )


def test_unknown_names_are_attribute_errors():
    code = "import tf_einsum_grad as t\ntry: t.nonsense\nexcept AttributeError as e: print(e)"
    assert "nonsense" in run(code)
