"""The order of contraction: opt_einsum's optimisers behind NumPy's `optimize`."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

import opt_einsum

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.errors import PathError
from tf_einsum_grad.algebra.roles import UNKNOWN_SIZE, num_elements
from tf_einsum_grad.algebra.sizes import Size

__all__ = [
    "Optimize",
    "Path",
    "check_optimize",
    "find_path",
    "hashable_optimize",
    "similar_paths",
]

Path = tuple[tuple[int, ...], ...]
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


def find_path(equation: Equation, sizes: Mapping[str, Size], optimize: Optimize) -> Path:
    """A contraction path: at each step the positions of the operands that are contracted.

    As in NumPy and opt_einsum, operands of a step leave the list and its result goes to the end.

    Args:
        equation: explicit, without ellipses.
        sizes: each label with its size; None counts as large, so that a path is never chosen
            because an unknown dimension might be 1.
        optimize: what `hashable_optimize` gave, or an optimiser.

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
    path = optimizer(
        [frozenset(subscripts) for subscripts in equation.inputs],
        frozenset(equation.output),
        _guess(sizes),
        limit,
    )
    return _check_path(_read_path(path), equation)


def _guess(sizes: Mapping[str, Size]) -> dict[str, int]:
    unknown = max([UNKNOWN_SIZE, *(size for size in sizes.values() if size is not None)])
    return {label: unknown if size is None else max(size, 1) for label, size in sizes.items()}


# Of more there are too many to weigh: 3 paths for three operands, 18 for four, 180 for five.
_MOST_OPERANDS = 4
_MOST_FLOPS = 2  # times those of the path that an optimiser found
_SPARE_MEMORY = 1 / 8  # of the operands'


def similar_paths(equation: Equation, sizes: Mapping[str, Size], path: Path) -> list[Path]:
    """The paths that may be as fast as `path`: FLOPs are not all that a path costs.

    They take at most twice its FLOPs, and no intermediate that is both larger than its largest and
    than an eighth of the operands. `path` itself comes first.
    """
    n = len(equation.inputs)
    if not 3 <= n <= _MOST_OPERANDS:
        return [path]
    guessed = _guess(sizes)
    flops, largest = _price(equation, guessed, path)
    elements = sum(num_elements(subscripts, guessed) for subscripts in equation.inputs)
    largest = max(largest, int(elements * _SPARE_MEMORY))
    others = [(other, *_price(equation, guessed, other)) for other in _pairwise_paths(n)]
    similar = [other for other, f, size in others if f <= _MOST_FLOPS * flops and size <= largest]
    return list(dict.fromkeys([path, *similar]))


def _pairwise_paths(n: int) -> Iterator[Path]:
    if n == 1:
        yield ()
        return
    for pair in itertools.combinations(range(n), 2):
        for rest in _pairwise_paths(n - 1):
            yield (pair, *rest)


def _price(equation: Equation, sizes: Mapping[str, int], path: Path) -> tuple[int, int]:
    """The multiplications that a path takes, and the elements of its largest intermediate."""
    terms = [frozenset(subscripts) for subscripts in equation.inputs]
    flops = largest = 0
    for step in path:
        chosen = [terms[p] for p in step]
        terms = [term for p, term in enumerate(terms) if p not in step]
        labels = frozenset().union(*chosen)
        result = labels & frozenset(equation.output).union(*terms)
        flops += num_elements(labels, sizes)
        largest = max(largest, num_elements(result, sizes)) if terms else largest
        terms.append(result)
    return flops, largest


def _left_to_right(n: int) -> Path:
    """Contracts the first two, then the result with the third, and so on."""
    return ((0,),) if n == 1 else ((0, 1), *((0, n - k - 1) for k in range(1, n - 1)))


def _optimizer(optimize: Optimize) -> tuple[Optimizer, float | None]:
    """An optimiser and its memory limit, from a name, a name with a limit, or the optimiser."""
    if callable(optimize):
        return optimize, None
    name, limit = (*optimize, None)[:2] if isinstance(optimize, tuple) else (optimize, None)
    if isinstance(optimize, tuple) and (len(optimize) != 2 or not _is_limit(limit)):
        raise PathError(
            "einsum requires optimize to be (name, memory limit) where it is a tuple that starts "
            f"with a name, got {optimize!r}"
        )
    try:
        return opt_einsum.paths.get_path_fn(name), limit
    except KeyError as error:
        raise PathError(f"einsum requires the name of an optimiser, got {name!r}") from error


def _is_limit(limit: object) -> bool:
    """A number of elements (NumPy's documentation has floats), or None for no limit."""
    return limit is None or (isinstance(limit, int | float) and limit > 0)


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
