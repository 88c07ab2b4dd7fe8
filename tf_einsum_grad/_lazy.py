"""Packages whose names are imported when they are used (PEP 562).

`explain`, `--help` and messages about wrong arguments answer without the seconds that importing
TensorFlow takes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package.

    Args:
        package: its `__name__`.
        homes: each public name with the submodule that it is in, or is.

    Example:
        >>> __getattr__, __dir__ = lazy_names("tf_einsum_grad", {"einsum": "ops"})
        >>> __getattr__("einsum").__name__
        'einsum'
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = importlib.import_module(f"{package}.{homes[name]}")
        value = home if homes[name] == name else getattr(home, name)
        setattr(sys.modules[package], name, value)
        return value

    return find, lambda: sorted({*vars(sys.modules[package]), *homes})
