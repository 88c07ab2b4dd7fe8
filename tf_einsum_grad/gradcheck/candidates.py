"""Which reference to hold a variant against: the first that works and computes the same values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.analytic import Backward, BackwardError, Variant, VariantError
from tf_einsum_grad.gradcheck.clone import Clone
from tf_einsum_grad.gradcheck.directions import Array, rms, wide
from tf_einsum_grad.gradcheck.precision import EPS
from tf_einsum_grad.gradcheck.problem import Problem, brief
from tf_einsum_grad.gradcheck.promote import PromotionError, low_dtypes
from tf_einsum_grad.gradcheck.randomness import Drawn, drawn_by_xla, draws, seed_as_eager
from tf_einsum_grad.gradcheck.reference import Native, Promoted, Reference
from tf_einsum_grad.gradcheck.state import StateGuard

if TYPE_CHECKING:
    from tf_einsum_grad.gradcheck.findings import Point

_CANCELLED = 1e-9  # outputs below this, relative to what is largest, may be all rounding
_ALL_NOISE = 1e-2  # relative: more than rounding does to an output of any other kind
_SHAKES = 2


class Candidates:
    """Builds references as they are needed, in the order of their quality."""

    def __init__(
        self, problem: Problem, guard: StateGuard, choice: str, freeze: bool, warnings: list[str]
    ) -> None:
        self.problem, self.guard, self.choice = problem, guard, choice
        self.freeze, self.warnings = freeze, warnings
        self._references: dict[str, Reference | None] = {}
        self._at: dict[str, int] = {}
        self._extra = 0
        self._drawn: Drawn | None = None
        self.random = problem.concrete is not None and draws(problem.concrete, stateless=True)
        self._implicit_seeds = problem.concrete is not None and seed_as_eager(
            problem.concrete.graph.as_graph_def(), guard.seed
        )
        self._repeated: dict[tuple[str, int], bool] = {}
        names = [] if problem.concrete is None else low_dtypes(problem.concrete)
        self._graph_eps = max((EPS[n] for n in names if n in EPS), default=0.0)

    @property
    def evaluations(self) -> int:
        """Forward evaluations of all references."""
        return self._extra + sum(r.evaluations for r in self._references.values() if r is not None)

    def close(self) -> None:
        """Release what the references registered."""
        for reference in self._references.values():
            if isinstance(reference, Promoted):
                reference.function.close()

    def eps(self, leaf: int) -> float:
        """Precision of the narrowest dtype between a leaf and the outputs."""
        dtypes = [self.problem.leaves[leaf].dtype, *self.problem.output_dtypes]
        return max(self._graph_eps, *(EPS.get(d.name, EPS["bfloat16"]) for d in dtypes))

    def first_outputs(self, point: Point, variant: Variant) -> list[Array]:
        """Outputs at a new point, from the best reference that works at all."""
        if not self.problem.output_dtypes:  # it could not be traced
            self._extra += 1
            self.guard.reset()
            self.problem.assign(point.values)
            outputs = variant.forward(self.problem.native_args(point.values))
            self.problem.output_dtypes = [y.dtype for y in outputs]
        for name in self._names(variant):
            reference = self._get(name, variant)
            if reference is not None:
                return self.move_to(reference, point)
        raise ValueError(f"reference={self.choice!r} does not work here: {self.warnings[-1]}")

    def move_to(self, reference: Reference, point: Point) -> list[Array]:
        """Make a point the reference's base; return its outputs there."""
        if self._at.get(reference.name) != id(point):
            point.outputs[reference.name] = reference.rebase(point.values)
            self._at[reference.name] = id(point)
        return point.outputs[reference.name]

    def sizes(
        self,
        point: Point,
        variant: Variant,
        outputs: Sequence[Array],
        moved: Callable[[Point, int], list[Array]],
    ) -> list[float]:
        """Size of the terms that each output is the sum of: its own, unless they cancel.

        An output far smaller than all else may be zero but for rounding, as is the gradient of a
        bias before a BatchNorm. Then rounding in the function's own dtype is all that it holds
        there, and tells how large the terms are.
        """
        sizes = [rms(y) for y in outputs]
        largest = max([*map(rms, point.values), *sizes], default=0.0)
        small = [i for i, size in enumerate(sizes) if size <= _CANCELLED * largest]
        for k in range(_SHAKES if small else 0):
            try:
                native = self._native(variant, moved(point, k))
            except VariantError:  # reported by the backward pass
                return sizes
            for i in small:
                noise = rms(native[i] - outputs[i]) if native[i].shape == outputs[i].shape else 0
                if noise > _ALL_NOISE * rms(outputs[i]):
                    sizes[i] = max(sizes[i], noise / self._output_eps(i))
        return sizes

    def _native(self, variant: Variant, values: Sequence[Array]) -> list[Array]:
        self._extra += 1
        return [wide(y) for y in variant.forward(variant.prepare(values))]

    def choose(
        self,
        point: Point,
        variant: Variant,
        backward: Backward,
        moved: Callable[[Point, Variant], Backward],
    ) -> Reference | str:
        """Return a reference with the same outputs, or why the function is not deterministic."""
        refused: list[str] = []
        for name in self._names(variant):
            reference = self._get(name, variant)
            if reference is None:
                continue
            outputs = self.move_to(reference, point)
            same = same_values(backward.outputs, outputs, self._rounding(), point.sizes)
            # Where rounding may be large, see how large; but first, whether it is rounding.
            if not same and not self._repeats(point, variant):
                return "two evaluations at the same point and seed differ"
            if same or self._close(point, variant, backward, outputs, moved):
                if not self._steady(point, reference, outputs):
                    return "two evaluations at the same point and seed differ"
                if refused:
                    why = f"{variant.name}: {', '.join(refused)} computes other values; used {name}"
                    self._warn(why.replace("native:" + variant.name, "native"))
                return reference
            refused.append(name)
        self._warn(
            f"{variant.name}: the {', '.join(refused)} reference computes other values than"
            " the function"
        )
        if not refused:
            raise ValueError(f"reference={self.choice!r} does not work here")
        return self._get(refused[-1], variant)  # type: ignore[return-value]

    def _repeats(self, point: Point, variant: Variant) -> bool:
        if (key := (variant.name, id(point))) not in self._repeated:
            self._repeated[key] = self._repeats_now(point, variant)
        return self._repeated[key]

    def _steady(self, point: Point, reference: Reference, outputs: Sequence[Array]) -> bool:
        if (key := (reference.name, id(point))) not in self._repeated:
            again = reference.outputs(point.values)
            self._repeated[key] = same_values(outputs, again, 1e3 * reference.eps, point.sizes)
        return self._repeated[key]

    def _repeats_now(self, point: Point, variant: Variant) -> bool:
        runs = [self._native(variant, point.values) for _ in range(2)]
        return same_values(runs[0], runs[1], self._rounding() / 16, point.sizes)

    def _rounding(self) -> float:
        """By how much outputs may differ without a second look."""
        largest = self.coarsest_eps
        return (1e3 if largest <= EPS["float32"] else 16) * largest

    @property
    def coarsest_eps(self) -> float:
        """Precision of the narrowest dtype in the graph and among the outputs."""
        return max(map(self._output_eps, range(len(self.problem.output_dtypes))))

    def _output_eps(self, i: int) -> float:
        return max(self._graph_eps, EPS.get(self.problem.output_dtypes[i].name, EPS["bfloat16"]))

    def _close(
        self,
        point: Point,
        variant: Variant,
        backward: Backward,
        outputs: Sequence[Array],
        moved: Callable[[Point, Variant], Backward],
    ) -> bool:
        """Whether the difference is no larger than what moving the inputs by an ulp does."""
        try:
            shaken = moved(point, variant).outputs
        except (BackwardError, VariantError):
            return False
        return all(
            a.shape == b.shape and _distance(a, b) <= 16 * _distance(a, c)
            for a, b, c in zip(backward.outputs, outputs, shaken, strict=True)
        )

    def _names(self, variant: Variant) -> list[str]:
        native = f"native:{variant.name}"
        kind = self.drawn_like(variant)
        promote = f"promote:{kind}" if kind else "promote"
        if self.choice == "auto":
            return [promote, "clone", native]
        return [{"native": native, "promote": promote}.get(self.choice, self.choice)]

    def drawn_like(self, variant: Variant) -> str:
        """Which way of drawing random numbers a variant has, if it is not the trace's."""
        if self._implicit_seeds and variant.name in ("eager", "forward"):
            return "eager"
        return "xla" if self.random and variant.name == "xla" else ""

    def drawn(self, kind: str) -> Drawn | None:
        """What XLA draws, where that is wanted.

        Raises:
            PromotionError: XLA cannot compile the function.
        """
        if kind != "xla" or self._drawn is not None:
            return self._drawn
        self._extra += 1
        self.guard.reset()
        self.problem.assign(self.problem.base())
        try:
            self._drawn = drawn_by_xla(self.problem.traced or self.problem.call, self.problem.args)
        except Exception as error:  # whatever XLA or the function raises while it is compiled
            raise PromotionError(f"XLA: {brief(error)}") from error
        return self._drawn

    def _get(self, name: str, variant: Variant) -> Reference | None:
        if name not in self._references:
            if name == "clone" and self.choice == "auto" and self.problem.model is None:
                self._references[name] = None
            else:
                self._references[name] = self._build(name, variant)
        return self._references[name]

    def _build(self, name: str, variant: Variant) -> Reference | None:
        problem = self.problem
        if name.startswith("native"):
            eps = max(self._graph_eps, *(EPS.get(d.name, 1e-2) for d in problem.output_dtypes))
            reference = Native(problem, self.guard, eps, variant.forward)
            reference.name = name
            return reference
        try:
            if name == "clone":
                return Clone(problem, self.guard)
            if problem.concrete is None:
                raise PromotionError(f"the function cannot be traced: {problem.untraceable}")
            built = Promoted(
                problem,
                self.guard,
                problem.concrete,
                freeze=self.freeze,
                primal=problem.primal,
                eager=name == "promote:eager",
                drawn=self.drawn(name.partition(":")[2]),
            )
            built.name = name
            built.rebase(problem.base())  # kernels are only found when they run
        except (PromotionError, tf.errors.OpError) as error:
            why = str(error) if isinstance(error, PromotionError) else brief(error)
            self._warn(f"no {name} reference: {why}")
            return None
        if built.native_ops:
            kept = ", ".join(sorted(built.native_ops))
            if built.eps > EPS["float64"]:
                self._warn(f"kept in their own dtype in the float64 reference: {kept}")
        return built

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _distance(a: Array, b: Array) -> float:
    finite = np.isfinite(a) & np.isfinite(b)
    return float(np.linalg.norm(np.ravel(np.where(finite, a, 0) - np.where(finite, b, 0))))


def same_values(
    a: Sequence[Array], b: Sequence[Array], limit: float, sizes: Sequence[float]
) -> bool:
    """Whether all outputs are equal to an accuracy relative to their sizes, in the 2-norm."""
    for x, y, size in zip(a, b, sizes, strict=True):
        if x.shape != y.shape:
            return False
        if _distance(x, y) > limit * max(rms(x), size) * np.sqrt(np.isfinite(x).sum()):
            return False
    return True
