"""Everything here that TensorFlow does not export, each behind a guard.

- Looking up an op's definition and its CPU kernels: says which ops have no float64 kernel. No
  public function does.
- Registering a function from a FunctionDef: `tf.graph_util.import_graph_def` imports the nodes
  that call a rewritten function, but in TensorFlow 2 not the function.
- The graph of a function that a graph calls: `as_graph_def` has it without Python's tracebacks.
- What a gradient that TensorFlow lacks is called in its messages.
- Reading and restoring the global seed: `tf.random.set_seed` has no getter.

Where one is missing, `Unavailable` is raised (the caller falls back to another reference) or, for
seeds and inner graphs, the state is left alone and nothing is said.
"""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Iterable
from functools import cache
from typing import Any


class Unavailable(RuntimeError):
    """This TensorFlow lacks a private function that the float64 promotion needs."""


def _private(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(f"tensorflow.python.{module}"), name)
    except (ImportError, AttributeError) as error:
        raise Unavailable(f"tensorflow.python.{module} is missing") from error


def _context() -> Any:
    return _private("eager.context", "context")()


@cache
def op_def(name: str) -> Any:
    """Returns the OpDef of an op.

    Raises:
        Unavailable: the op or the registry is unknown.
    """
    definition = _private("framework.op_def_registry", "get")(name)
    if definition is None:
        raise Unavailable(f"op {name} is not registered")
    return definition


@cache
def cpu_constraints(name: str) -> tuple[dict[str, frozenset[int]], ...] | None:
    """Returns, for each CPU kernel of an op, the dtypes that it allows per attribute.

    None means that nothing is known and any dtype may be tried.
    """
    found = _private("framework.kernels", "get_registered_kernels_for_op")(name).kernel
    constraints = tuple(
        {c.name: frozenset(c.allowed_values.list.type) for c in kernel.constraint}
        for kernel in found
        if kernel.device_type == "CPU"
    )
    return constraints or None


def register_functions(definitions: Iterable[Any]) -> None:
    """Makes FunctionDefs callable by name, in the order given (callees first)."""
    context = _context()
    if not hasattr(context, "add_function_def"):
        raise Unavailable("this TensorFlow cannot register a FunctionDef")
    for definition in definitions:
        context.add_function_def(definition)


def unregister_functions(names: Iterable[str]) -> None:
    """Forgets functions that `register_functions` made known."""
    context = _context()
    for name in names:
        if context.has_function(name):
            context.remove_function(name)


def function_graph(graph: Any, name: str) -> Any:
    """Returns the graph of a function that a graph calls; None where it is not kept."""
    get = getattr(graph, "_get_function", None)
    return getattr(get(name), "graph", None) if get else None


def without_gradient(error: BaseException) -> str | None:
    """Returns the kind of op that has no gradient, if that is what an error says; else None.

    "" where it does not name the op.
    """
    if isinstance(error, NotImplementedError) or "Gradient explicitly disabled" in str(error):
        return ""
    message = r"gradient registry has no entry for: (\w+)|No gradient defined.*\(op type: (\w+)\)"
    found = re.search(message, str(error))
    return next(filter(None, found.groups())) if found else None


def seed_state() -> Any:
    """Returns the global seed and the state of its generator, for `restore_seed_state`.

    None where this TensorFlow keeps them elsewhere: they then stay as the check leaves them.
    """
    try:
        context = _context()
        seed = context._seed
    except (Unavailable, AttributeError):
        return None
    generator = getattr(context, "_rng", None)
    return seed, generator if generator is None else generator.getstate()


def restore_seed_state(state: Any) -> None:
    """Puts back what `seed_state` read, without clearing caches of kernels as set_seed does."""
    if state is None:
        return
    context = _context()
    context._seed, generator = state
    context._rng = random.Random()
    if generator is not None:
        context._rng.setstate(generator)
