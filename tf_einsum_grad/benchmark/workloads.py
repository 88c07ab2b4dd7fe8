"""What is measured: an equation with shapes and a dtype, and what it costs at the very least."""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal, get_args

import numpy as np
import opt_einsum

from tf_einsum_grad.algebra.dtypes import DTYPES, is_differentiable, itemsize
from tf_einsum_grad.algebra.equation import Equation, expand_ellipses, parse_equation
from tf_einsum_grad.algebra.sizes import bind_sizes
from tf_einsum_grad.benchmark.decoding import decode

__all__ = [
    "DIFFERENTIABLE",
    "MODES",
    "PASSES",
    "PEERS",
    "Mode",
    "Pass",
    "PeerName",
    "Workload",
    "load_workloads",
    "real_products",
]

Mode = Literal["eager", "graph", "xla"]
Pass = Literal["forward", "backward", "both"]
PeerName = Literal["torch", "jax"]

MODES: tuple[Mode, ...] = get_args(Mode)
PASSES: tuple[Pass, ...] = get_args(Pass)
PEERS: tuple[PeerName, ...] = get_args(PeerName)

# The dtypes that have gradients.
DIFFERENTIABLE = tuple(name for name in DTYPES if is_differentiable(name))


@dataclass(frozen=True, slots=True)
class Workload:
    """One einsum to measure.

    Attributes:
        name: short, for tables.
        category: what kind of computation it is.
        equation: as `tf.einsum` takes it.
        shapes: one for each operand, every size known.
        dtype: of every operand; one that has gradients.

    Raises:
        EinsumError: the equation cannot be read, or the shapes do not fit it.
        ValueError: a dtype that has no gradients, or a size below 1.

    Example:
        >>> Workload("mm", "matmul", "ij,jk->ik", ((2, 3), (3, 4))).flops("forward")
        48.0
    """

    name: str
    category: str
    equation: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DIFFERENTIABLE:
            raise ValueError(
                f"the benchmark requires a dtype with gradients ({', '.join(DIFFERENTIABLE)}), got "
                f"{self.dtype!r}"
            )
        if any(size < 1 for shape in self.shapes for size in shape):
            raise ValueError(f"the benchmark requires sizes from 1 on, got {self.shapes}")
        n_inputs = len(parse_equation(self.equation).inputs)
        if n_inputs != len(self.shapes):
            raise ValueError(
                f"{self.equation!r} requires {n_inputs} shapes, one for each operand, got "
                f"{len(self.shapes)}"
            )
        _sizes(self)

    @property
    def explicit(self) -> Equation:
        """The equation without ellipses; dimensions of size 1 that broadcast keep their label."""
        parsed = parse_equation(self.equation)
        return expand_ellipses(parsed, tuple(map(len, self.shapes)))

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each label."""
        return _sizes(self)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(self.sizes[label] for label in self.explicit.output)

    @property
    def input_bytes(self) -> int:
        """The operands' size in bytes."""
        return sum(map(math.prod, self.shapes)) * itemsize(self.dtype)

    @property
    def output_bytes(self) -> int:
        """The result's size in bytes."""
        return math.prod(self.output_shape) * itemsize(self.dtype)

    def flops(self, which: Pass) -> float:
        """Multiplications and additions of a pass, along the cheapest path.

        Counted by opt_einsum, so that the package is not measured by its own planner. Each of the
        two gradients of a pairwise contraction costs what the contraction costs. A reduction or a
        permutation of one operand counts as none: memory is what bounds it.
        """
        factor = {"forward": 1, "backward": 2, "both": 3}[which]
        return factor * _forward_flops(self) * real_products(self.dtype)

    def compulsory_bytes(self, which: Pass) -> int:
        """What a pass has to read and write at least.

        Forward: the operands and the result. Backward: the operands (unless there is only one,
        whose gradient does not depend on it), the incoming gradient, and each gradient. Both: the
        sum, since an incoming gradient depends on the whole result. Of an operand with a repeated
        label only the diagonal has to be read.
        """
        item = itemsize(self.dtype)
        read = item * sum(
            math.prod(dict(zip(term, shape, strict=True)).values())
            for term, shape in zip(self.explicit.inputs, self.shapes, strict=True)
        )
        forward = read + self.output_bytes
        backward = self.output_bytes + self.input_bytes + (read if len(self.shapes) > 1 else 0)
        return {"forward": forward, "backward": backward, "both": forward + backward}[which]

    def make_inputs(self, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
        """Normally distributed operands and an incoming gradient, the same for the same seed.

        Scaled so that results stay near 1 however many terms are summed. The half-precision
        dtypes are drawn in float32.

        Returns:
            An array for each operand, of its shape, and one of the result's.
        """
        rng = np.random.default_rng([seed, zlib.crc32(self.equation.encode())])
        kept = set(self.explicit.output)
        terms = math.prod(size for label, size in self.sizes.items() if label not in kept)
        scale = float(terms) ** (-0.5 / len(self.shapes))
        dtype = np.dtype(DTYPES[self.dtype].accumulates_in)
        operands = [_normal(rng, shape, dtype, scale) for shape in self.shapes]
        return operands, _normal(rng, self.output_shape, dtype, 1.0)


def real_products(dtype: str) -> int:
    """How many products of real numbers one product is."""
    return 4 if DTYPES[dtype].kind == "complex" else 1


@lru_cache(maxsize=4096)
def _sizes(workload: Workload) -> dict[str, int]:
    bound = bind_sizes(workload.explicit, workload.shapes, original=workload.equation)
    return {label: size for label, size in bound.sizes if size is not None}


@lru_cache(maxsize=4096)
def _forward_flops(workload: Workload) -> float:
    if len(workload.shapes) == 1:
        return 0.0
    bound = bind_sizes(workload.explicit, workload.shapes)
    sizes = dict(bound.sizes)
    shapes = [tuple(sizes[x] for x in term) for term in bound.equation.inputs]
    return float(opt_einsum.contract_path(str(bound.equation), *shapes, shapes=True)[1].opt_cost)


def _normal(
    rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype, scale: float
) -> np.ndarray:
    real = np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype
    x = np.asarray(rng.standard_normal(shape, dtype=real))
    if dtype.kind == "c":
        x = (x + 1j * rng.standard_normal(shape, dtype=real)).astype(dtype)
    return np.asarray(x * real.type(scale), dtype)


def load_workloads(names: Sequence[str] = (), dtype: str | None = None) -> tuple[Workload, ...]:
    """The workloads that the package ships.

    Args:
        names: those wanted, by name or category; all where empty.
        dtype: in place of each one's own.

    Raises:
        ValueError: a name that is neither.

    Example:
        >>> [w.name for w in load_workloads(["matmul"])][:2]
        ['matvec', 'matmul']
    """
    text = resources.files(__package__).joinpath("workloads.json").read_text("utf-8")
    shipped = decode(tuple[Workload, ...], json.loads(text))
    known = {name for w in shipped for name in (w.name, w.category)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown workload or category {unknown[0]!r}; there are {sorted(known)}")
    wanted = (w for w in shipped if not names or w.name in names or w.category in names)
    return tuple(dataclasses.replace(w, dtype=dtype or w.dtype) for w in wanted)
