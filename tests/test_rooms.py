"""What is pure stays pure: planning and explaining never wait for TensorFlow to be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tf_einsum_grad

PACKAGE = Path(tf_einsum_grad.__file__).parent
PURE = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for room in ("algebra", "lowering", "planning", "explaining")
    for path in sorted((PACKAGE / room).rglob("*.py"))
]


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    ).stdout


@pytest.mark.parametrize(
    "code",
    [
        *(f"import {name}" for name in PURE),
        "import tf_einsum_grad as t; t.gradient_equations('ij,jk->ik'); t.EinsumError",
        "import tf_einsum_grad as t; str(t.explain('ij,jk->ik', (2, 3), (3, 4)))",
    ],
)
def test_no_tensorflow(code):
    assert run(f"{code}\nimport sys; print('tensorflow' in sys.modules)").split()[-1] == "False"


def test_names_are_found_when_used():
    # Whatever was imported before: a module must not hide a function of the same name.
    code = """
import tf_einsum_grad as t
kinds = {name: type(getattr(t, name)).__name__ for name in t.__all__}
again = {name: type(getattr(t, name)).__name__ for name in t.__all__}
print(kinds == again, set(t.__all__) <= set(dir(t)), sorted(set(kinds.values())))
"""
    assert run(code) == "True True ['function', 'module', 'str', 'type']\n"


def test_unknown_names_are_attribute_errors():
    code = "import tf_einsum_grad as t\ntry: t.nonsense\nexcept AttributeError as e: print(e)"
    assert "nonsense" in run(code)
