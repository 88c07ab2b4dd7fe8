"""A drop-in `tf.einsum` whose gradients are einsums.

    import tf_einsum_grad as teg
    teg.einsum("ijkm,ijkn->imn", a, b)         # values, gradients of any order, clear errors
    teg.gradient_equations("ijkm,ijkn->imn")   # ('imn,ijkn->ijkm', 'ijkm,imn->ijkn')
    teg.explain("ijkm,ijkn->imn", a.shape, b.shape)

Names are imported when they are used, so that `explain` and `gradient_equations` answer without the
seconds that importing TensorFlow takes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tf_einsum_grad._lazy import lazy_names, when_imported
from tf_einsum_grad._version import __version__

if TYPE_CHECKING:
    from tf_einsum_grad import benchmark, draw, gradcheck, keras
    from tf_einsum_grad.algebra.equation import gradient_equations
    from tf_einsum_grad.algebra.errors import (
        EinsumError,
        EquationError,
        MachineError,
        OperandError,
        PathError,
        SizeError,
    )
    from tf_einsum_grad.attending.attend import attention
    from tf_einsum_grad.execution.machines import machine
    from tf_einsum_grad.explaining.einsum_path import einsum_path
    from tf_einsum_grad.explaining.explanation import Explanation, explain
    from tf_einsum_grad.gradcheck import (
        GradientCheckError,
        GradientReport,
        assert_gradients,
        check_gradients,
    )
    from tf_einsum_grad.installation import install, installed, uninstall
    from tf_einsum_grad.ops import einsum
    from tf_einsum_grad.per_example import per_example_gradients
    from tf_einsum_grad.profiling.profile import profile
    from tf_einsum_grad.profiling.report import Profile
    from tf_einsum_grad.tuning.result import Tuning
    from tf_einsum_grad.tuning.tune import tune

_HOME = {
    "EinsumError": "algebra.errors",
    "EquationError": "algebra.errors",
    "Explanation": "explaining.explanation",
    "GradientCheckError": "gradcheck",
    "GradientReport": "gradcheck",
    "MachineError": "algebra.errors",
    "OperandError": "algebra.errors",
    "PathError": "algebra.errors",
    "Profile": "profiling.report",
    "SizeError": "algebra.errors",
    "Tuning": "tuning.result",
    "assert_gradients": "gradcheck",
    "attention": "attending.attend",
    "benchmark": "benchmark",
    "check_gradients": "gradcheck",
    "draw": "draw",
    "einsum": "ops",
    "einsum_path": "explaining.einsum_path",
    "explain": "explaining.explanation",
    "gradcheck": "gradcheck",
    "gradient_equations": "algebra.equation",
    "install": "installation",
    "installed": "installation",
    "keras": "keras",
    "per_example_gradients": "per_example",
    "machine": "execution.machines",
    "profile": "profiling.profile",
    "tune": "tuning.tune",
    "uninstall": "installation",
}

__all__ = [
    "EinsumError",
    "EquationError",
    "Explanation",
    "GradientCheckError",
    "GradientReport",
    "MachineError",
    "OperandError",
    "PathError",
    "Profile",
    "SizeError",
    "Tuning",
    "__version__",
    "assert_gradients",
    "attention",
    "benchmark",
    "check_gradients",
    "draw",
    "einsum",
    "einsum_path",
    "explain",
    "gradcheck",
    "gradient_equations",
    "install",
    "installed",
    "keras",
    "machine",
    "per_example_gradients",
    "profile",
    "tune",
    "uninstall",
]


__getattr__, __dir__ = lazy_names(__name__, _HOME)


def _register_classes(keras: Any) -> None:
    """Keras finds the classes that a saved model names among those that are registered with it."""
    if keras.backend.backend() == "tensorflow":
        importlib.import_module(f"{__name__}.keras")


when_imported("keras", _register_classes)
