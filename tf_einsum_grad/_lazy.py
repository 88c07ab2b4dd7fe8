"""Packages whose names are imported when they are used (PEP 562), and what follows an import.

`explain`, `--help` and messages about wrong arguments answer without the seconds that importing
TensorFlow takes.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["lazy_names", "when_imported"]


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


def when_imported(name: str, action: Callable[[ModuleType], None]) -> None:
    """Calls `action` with a module: now if it is imported, else once, when someone imports it.

    Where the module cannot be found, or raises, its import fails as ever, and `action` waits for
    the next one. What `action` raises, the import raises.

    Args:
        name: the module's full name.
        action: what is to follow.

    Example:
        >>> when_imported("json", lambda module: print(module.__name__))
        json
    """
    if name in sys.modules:
        action(importlib.import_module(name))  # which waits for another thread's import to end
    else:
        sys.meta_path.insert(0, _Watcher(name, action))


class _Watcher(MetaPathFinder):
    """Finds one module where the finders after it do, and has its loader call `action`."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the spec that the next finders give, if it is of the module waited for."""
        if fullname != self.name:
            return None
        later = itertools.dropwhile(lambda finder: finder is not self, tuple(sys.meta_path))
        found = (
            finder.find_spec(fullname, path, target) for finder in itertools.islice(later, 1, None)
        )
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec


class _Loader(Loader):
    """Loads a module as its own loader does, then calls the action of a `_Watcher`."""

    def __init__(self, own: Loader, watcher: _Watcher) -> None:
        self.own = own
        self.watcher = watcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)  # what whoever looks at the spec of the module asks for

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Returns what the module's own loader makes."""
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Executes the module, whose loader is its own from here on, and then the action."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.own
        self.own.exec_module(module)
        if self.watcher in sys.meta_path:
            sys.meta_path.remove(self.watcher)
            self.watcher.action(module)
