"""NumPy's and opt_einsum's `optimize`: what it may be, and the contraction path that it means."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, SupportsIndex

import opt_einsum

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.errors import PathError
from tf_einsum_grad.algebra.roles import UNKNOWN_SIZE, num_elements
from tf_einsum_grad.algebra.sizes import Size
from tf_einsum_grad.planning.search import Path, best_path, fewest_flops

__all__ = [
    "Optimize",
    "Path",
    "check_optimize",
    "find_path",
    "hashable_optimize",
]

# opt_einsum's: of inputs, output, sizes and a memory limit.
Optimizer = Callable[..., Sequence[Sequence[SupportsIndex]]]
# NumPy's: whether, a name, a name and a memory limit, a path, or what `einsum_path` returns.
Optimize = bool | str | Sequence[Any] | Optimizer | None


def hashable_optimize(optimize: Optimize) -> Optimize:
    """`optimize` in a form that can be a cache key, or None where it must be asked each time.

    Raises:
        PathError: it is none of the things that `optimize` may be.
    """
    if optimize is None or isinstance(optimize, str | bool):  # None as in opt_einsum, and natively
        return "auto" if optimize is None or optimize is True else optimize
    if callable(optimize):
        return None
    if not isinstance(optimize, Sequence) or not optimize:
        raise PathError(
            "einsum requires optimize to be a bool, the name of an optimiser, a contraction path "
            f"or an opt_einsum optimiser, got {optimize!r}"
        )
    if optimize[0] == "einsum_path":
        return _read_path(optimize[1:])
    if isinstance(optimize[0], str):
        _optimizer(tuple(optimize))
        return tuple(optimize)
    return _read_path(optimize)


def check_optimize(optimize: Optimize) -> None:
    """Finds what is wrong with `optimize` before there is an equation with sizes.

    Raises:
        PathError: it is none of the things that `optimize` may be.
    """
    key = hashable_optimize(optimize)
    if isinstance(key, str):
        _optimizer(key)


def _read_path(path: Iterable[Any]) -> Path:
    try:
        return tuple(tuple(_position(position) for position in step) for step in path)
    except TypeError as error:
        raise PathError(
            "einsum requires a contraction path to be a list of tuples of operand positions, got "
            f"{path!r}"
        ) from error


def _position(position: SupportsIndex) -> int:
    if isinstance(position, bool):
        raise TypeError("a bool is not a position")
    return operator.index(position)


def find_path(
    equation: Equation,
    sizes: Mapping[str, Size],
    optimize: Optimize,
    weigh: Callable[[Path, float], float] = lambda path, most: 0.0,
) -> Path:
    """A contraction path: at each step the positions of the operands that are contracted.

    As in NumPy and opt_einsum, operands of a step leave the list and its result goes to the end.

    Args:
        equation: explicit, without ellipses.
        sizes: each label with its size; None counts as large, so that a path is never chosen
            because an unknown dimension might be 1.
        optimize: what `hashable_optimize` gave, or an optimiser.
        weigh: the price of a path, or infinity where that is more than what it is given, by which
            "auto" chooses among those of few FLOPs.

    Raises:
        PathError: `optimize` is no optimiser, or no path for this equation.
    """
    n = len(equation.inputs)
    if optimize is False:
        return _left_to_right(n)
    if isinstance(optimize, tuple) and not (optimize and isinstance(optimize[0], str)):
        return _check_path(optimize, equation)
    optimizer, limit = _optimizer(optimize)
    if n <= 2:
        return _left_to_right(n)
    guessed = _guess(sizes)
    own = limit is None and not callable(optimize)
    if own and optimizer is opt_einsum.paths.auto:
        return best_path(equation, guessed, weigh)
    if own and optimizer is opt_einsum.paths.optimal:
        return fewest_flops(equation, guessed)
    terms = [frozenset(subscripts) for subscripts in (*equation.inputs, equation.output)]
    if limit == "max_input":
        limit = max(num_elements(term, guessed) for term in terms)
    path = optimizer(terms[:-1], terms[-1], guessed, limit)
    return _check_path(_read_path(path), equation)


def _guess(sizes: Mapping[str, Size]) -> dict[str, int]:
    unknown = max([UNKNOWN_SIZE, *(size for size in sizes.values() if size is not None)])
    return {label: unknown if size is None else max(size, 1) for label, size in sizes.items()}


def _left_to_right(n: int) -> Path:
    """Contracts the first two, then the result with the third, and so on."""
    return ((0,),) if n == 1 else ((0, 1), *((0, n - k - 1) for k in range(1, n - 1)))


def _optimizer(optimize: Optimize) -> tuple[Optimizer, Any]:
    """An optimiser and its memory limit, from a name, a name with a limit, or the optimiser."""
    if callable(optimize):
        return optimize, None
    name, limit = (*optimize, None)[:2] if isinstance(optimize, tuple) else (optimize, None)
    if isinstance(optimize, tuple) and (len(optimize) != 2 or not _is_limit(limit)):
        raise PathError(
            "einsum requires optimize to be (name, memory limit) where it is a tuple that starts "
            "with a name; the limit is how many elements a tensor between two steps may have, from "
            "1 on, or 'max_input' for as many as the largest operand or the result has, or None or "
            f"-1 for no limit; got {optimize!r}"
        )
    try:
        return opt_einsum.paths.get_path_fn(name), None if limit == -1 else limit
    except KeyError as error:
        raise PathError(f"einsum requires the name of an optimiser, got {name!r}") from error


def _is_limit(limit: object) -> bool:
    """One of opt_einsum's; NumPy's documentation has floats."""
    if limit is None or isinstance(limit, str):
        return limit in (None, "max_input")
    if isinstance(limit, bool) or not isinstance(limit, Real):
        return False
    return limit == -1 or float(limit) >= 1


def _check_path(path: Path, equation: Equation) -> Path:
    remaining = len(equation.inputs)
    for step in path:
        if len(set(step)) != len(step) or not step or not all(0 <= p < remaining for p in step):
            raise PathError(
                f"einsum {str(equation)!r} requires each step of its path to name different "
                f"positions below {remaining}, got {step} in {path}"
            )
        remaining -= len(step) - 1
    if remaining > 1:
        # NumPy contracts what a path leaves over in one last step.
        path = (*path, tuple(range(remaining)))
    return path
