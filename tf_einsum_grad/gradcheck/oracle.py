"""Which reference to hold a variant against: the first that works and computes the same values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck.analytic import Backward, BackwardError, Variant, VariantError
from tf_einsum_grad.gradcheck.numeric import EPS, Array, Arrays, rms, wide
from tf_einsum_grad.gradcheck.points import shaken
from tf_einsum_grad.gradcheck.problem import Options, Point, Problem, brief
from tf_einsum_grad.gradcheck.promote import PromotionError, low_dtypes
from tf_einsum_grad.gradcheck.references import Clone, ExactGradient, Native, Promoted, Reference
from tf_einsum_grad.gradcheck.replay import Drawn, drawn_by_xla, draws, seed_as_eager
from tf_einsum_grad.gradcheck.state import StateGuard

_CANCELLED = 1e-9  # outputs below this, relative to what is largest, may be all rounding
_ALL_NOISE = 1e-2  # relative: more than rounding does to an output of any other kind
_SHAKES = 2


class NondeterministicError(RuntimeError):
    """The function gives other values for the same inputs and seeds."""


class Oracle:
    """Builds references as they are needed, in the order of their quality."""

    def __init__(self, problem: Problem, options: Options, guard: StateGuard) -> None:
        self.problem, self.options, self.guard = problem, options, guard
        self.warnings: list[str] = []  # what makes the references weaker than they could be
        self.used: set[str] = set()  # the kinds of reference that were chosen
        self._references: dict[str, Reference | None] = {}
        self._exact: dict[str, ExactGradient | None] = {}
        self._at: dict[str, Point] = {}
        self._extra = 0
        self._drawn: Drawn | None = None
        self.random = self._implicit_seeds = False
        self._graph_eps = 0.0
        if (concrete := problem.concrete) is not None:
            self.random = draws(concrete, stateless=True)
            self._implicit_seeds = seed_as_eager(concrete.graph.as_graph_def(), guard.seed)
            self._graph_eps = max((EPS[name] for name in low_dtypes(concrete)), default=0.0)

    @property
    def evaluations(self) -> int:
        """Forward evaluations of all references so far."""
        return self._extra + sum(reference.evaluations for reference in self._built())

    def close(self) -> None:
        """Releases what the references registered."""
        for reference in self._built():
            reference.close()

    def _built(self) -> Iterator[Reference]:
        return filter(None, (*self._references.values(), *self._exact.values()))

    def eps(self, leaf: int) -> float:
        """Returns the precision of the narrowest dtype between a leaf and the outputs."""
        return self._coarsest([self.problem.leaves[leaf].dtype, *self.problem.output_dtypes])

    @property
    def coarsest_eps(self) -> float:
        """Precision of the narrowest dtype in the graph and among the outputs."""
        return self._coarsest(self.problem.output_dtypes)

    def _coarsest(self, dtypes: Iterable[tf.DType]) -> float:
        return max([self._graph_eps, *(EPS.get(d.name, EPS["bfloat16"]) for d in dtypes)])

    def _rounding(self) -> float:
        """Returns by how much outputs may differ without a second look."""
        largest = self.coarsest_eps
        return (1e3 if largest <= EPS["float32"] else 16) * largest

    def first_outputs(self, point: Point, variant: Variant) -> list[Array]:
        """Returns the outputs at a new point, from the best reference that works at all.

        Raises:
            ValueError: the reference that was asked for does not, or nothing can be differentiated.
        """
        if not self.problem.output_dtypes:  # it could not be traced
            self._extra += 1
            outputs = variant.forward(variant.prepare(point.values))
            self.problem.output_dtypes = [y.dtype for y in outputs]
            if not outputs:
                raise ValueError("nothing to differentiate: no floating or complex output")
            self._graph_eps = self._seen_eps(point, variant, [wide(y) for y in outputs])
        reference = next(self._working(variant), None)
        if reference is None:
            choice = self.options.reference
            raise ValueError(f"reference={choice!r} does not work here: {self.warnings[-1]}")
        return self.move_to(reference, point)

    def _seen_eps(self, point: Point, variant: Variant, outputs: Arrays) -> float:
        """Returns the precision that a function computes in which cannot be traced; 0 for its own.

        Its dtypes are unknown then, but not their stairs: what a step does differs from an eighth
        of what eight times the step does by the square of the step where the function is smooth,
        and by no less than the step where its values come in stairs.
        """

        def moved(step: float) -> list[Array]:
            rng = np.random.default_rng(self.options.seed)  # the same way each time
            return self._native(variant, [shaken(rng, x, step) for x in point.values])

        def bend(step: float) -> float:
            pairs = zip(outputs, moved(step), moved(8 * step), strict=True)
            same = [(y, a, b) for y, a, b in pairs if y.shape == a.shape == b.shape]
            return math.hypot(*(_distance(a - y, (b - y) / 8) for y, a, b in same))

        budget = self.options.used_up(self.evaluations)
        if budget or not all(map(np.array_equal, outputs, moved(0.0))):
            return 0.0  # or it does not give the same twice
        size = math.hypot(*(rms(y) * math.sqrt(y.size) for y in outputs))
        for eps in (EPS["bfloat16"], EPS["float16"], EPS["float32"]):
            bent = bend(eps / 4)
            if bent > eps / 16 * size and bend(eps / 16) > bent / 8:
                return eps
        return 0.0

    def move_to(self, reference: Reference, point: Point) -> list[Array]:
        """Makes a point the reference's base; returns its outputs there."""
        if self._at.get(reference.name) is not point:
            point.outputs[reference.name] = reference.rebase(point.values)
            self._at[reference.name] = point
        return point.outputs[reference.name]

    def sizes(self, point: Point, variant: Variant, outputs: Arrays) -> list[float]:
        """Returns the size of the terms that each output sums: its own, unless they cancel.

        An output far smaller than all else may be zero but for rounding, as is the gradient of a
        bias before a BatchNorm. Then rounding in the function's own dtype is all that it holds
        there, and tells how large the terms are.
        """
        sizes = [rms(y) for y in outputs]
        largest = max([*map(rms, point.values), *sizes], default=0.0)
        small = [i for i, size in enumerate(sizes) if size <= _CANCELLED * largest]
        for k in range(_SHAKES if small else 0):
            try:
                native = self._native(variant, self.shaken(point, k))
            except VariantError:  # reported by the backward pass
                return sizes
            for i in small:
                noise = rms(native[i] - outputs[i]) if native[i].shape == outputs[i].shape else 0
                if noise > _ALL_NOISE * rms(outputs[i]):
                    eps = self._coarsest([self.problem.output_dtypes[i]])
                    sizes[i] = max(sizes[i], noise / eps)
        return sizes

    def shaken(self, point: Point, number: int) -> list[Array]:
        """Returns every leaf moved by about an ulp of the narrowest dtype."""
        rng = np.random.default_rng([self.options.seed, number])
        return [
            leaf.rounded(shaken(rng, x, self.eps(i)))
            for i, (x, leaf) in enumerate(zip(point.values, self.problem.leaves, strict=True))
        ]

    def shaken_pass(
        self, point: Point, variant: Variant, number: int = 0, shake: int = 0
    ) -> Backward:
        """Runs the backward pass with every leaf moved by about an ulp, one way or another."""
        return variant.backward(self.shaken(point, shake), point.cotangents[number])

    def _native(self, variant: Variant, values: Arrays) -> list[Array]:
        self._extra += 1
        return [wide(y) for y in variant.forward(variant.prepare(values))]

    def choose(self, point: Point, variant: Variant, backward: Backward) -> Reference:
        """Returns the first reference with the same outputs; else, with a warning, the last.

        Raises:
            NondeterministicError: not even the function itself has the same outputs twice.
        """
        refused: list[str] = []
        for reference in self._working(variant):
            outputs = self.move_to(reference, point)
            same = same_values(backward.outputs, outputs, self._rounding(), point.sizes)
            # Where rounding may be large, see how large; but first, whether it is rounding.
            repeats = same or self._repeats(point, variant)
            accepted = same or (repeats and self._close(point, variant, backward, outputs))
            if not repeats or (accepted and not self._steady(point, reference, outputs)):
                raise NondeterministicError("two evaluations at the same point and seed differ")
            if accepted:
                break
            refused.append(reference.name)
        else:
            if not refused:
                raise ValueError(f"reference={self.options.reference!r} does not work here")
        names = ", ".join(refused)
        if not accepted:
            which = f"{variant.name}: the {names} reference"
            self.warn(f"{which} computes other values than the function")
        elif refused:
            why = f"{variant.name}: {names} computes other values; used {reference.name}"
            self.warn(why.replace("native:" + variant.name, "native"))
        self.used.add(reference.kind)
        return reference

    def other_values(self, point: Point, variant: Variant, backward: Backward) -> str:
        """Says so where a variant computes other values than the first one, by more than rounding.

        Random numbers differ from one variant to another, and nothing is wrong about that.
        """
        point.first = point.first or (variant.name, backward.outputs)
        name, first = point.first
        if name == variant.name or self.random:
            return ""
        limits = self._rounding(), point.sizes
        if same_values(backward.outputs, first, *limits) or not self._repeats(point, variant):
            return ""
        if self._close(point, variant, backward, first):
            return ""
        return f"the function computes other values in variant {variant.name} than in {name}"

    def _repeats(self, point: Point, variant: Variant) -> bool:
        if variant.name not in point.repeats:
            one, two = (self._native(variant, point.values) for _ in range(2))
            same = same_values(one, two, self._rounding() / 16, point.sizes)
            point.repeats[variant.name] = same
        return point.repeats[variant.name]

    def _steady(self, point: Point, reference: Reference, outputs: Arrays) -> bool:
        if reference.name not in point.repeats:
            again = reference.outputs(point.values)
            same = same_values(outputs, again, 1e3 * reference.eps, point.sizes)
            point.repeats[reference.name] = same
        return point.repeats[reference.name]

    def _close(self, point: Point, variant: Variant, backward: Backward, outputs: Arrays) -> bool:
        """Whether the difference is no larger than what moving the inputs by an ulp does."""
        with suppress(BackwardError, VariantError):
            shaken = self.shaken_pass(point, variant).outputs
            return all(
                a.shape == b.shape and _distance(a, b) <= 16 * _distance(a, c)
                for a, b, c in zip(backward.outputs, outputs, shaken, strict=True)
            )
        return False

    def _working(self, variant: Variant) -> Iterator[Reference]:
        """Yields the references that work, the best first, each built when it is asked for."""
        kind, choice = self.drawn_like(variant), self.options.reference
        promote, native = f"promote:{kind}" if kind else "promote", f"native:{variant.name}"
        names = {"promote": promote, "clone": "clone", "native": native}
        wanted = names.values() if choice == "auto" else [names[choice]]
        return filter(None, (self._get(name, variant) for name in wanted))

    def drawn_like(self, variant: Variant) -> str:
        """Returns which way of drawing random numbers a variant has, "" for the trace's."""
        if self._implicit_seeds and variant.name in ("eager", "forward"):
            return "eager"
        return "xla" if self.random and variant.name == "xla" else ""

    def exact_gradient(self, variant: Variant, outputs: Arrays) -> ExactGradient | None:
        """Returns the traced gradient in float64 that draws what the variant draws, if it works.

        Args:
            variant: the variant.
            outputs: of any point, for the shapes of cotangents.
        """
        kind = self.drawn_like(variant)
        if kind not in self._exact:
            self._exact[kind], drawn = None, self._drawn_for(kind)
            with suppress(PromotionError, BackwardError, tf.errors.OpError):
                found = ExactGradient(self.problem, self.guard, outputs, kind == "eager", drawn)
                self._exact[kind] = found
        return self._exact[kind]

    def _drawn_for(self, kind: str) -> Drawn | None:
        """Returns what XLA draws, where that is wanted.

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
            self._references[name] = None
            try:
                self._references[name] = self._build(name, variant)
            except (PromotionError, tf.errors.OpError) as error:
                why = str(error) if isinstance(error, PromotionError) else brief(error)
                automatic = self.options.reference == "auto"
                if name != "clone" or not automatic or self.problem.model is not None:
                    self.warn(f"no {name} reference: {why}")
        return self._references[name]

    def _build(self, name: str, variant: Variant) -> Reference:
        problem, guard, (kind, _, drawn_like) = self.problem, self.guard, name.partition(":")
        if kind == "clone":
            return Clone(problem, guard)
        if kind == "native":
            return Native(problem, guard, name, self.coarsest_eps, variant.forward)
        if problem.concrete is None:
            raise PromotionError(f"the function cannot be traced: {problem.untraceable}")
        freeze, eager = self.options.stop_gradient == "freeze", drawn_like == "eager"
        drawn = self._drawn_for(drawn_like)
        built = Promoted(problem, guard, problem.concrete, name, freeze, eager, drawn)
        built.rebase(problem.base())  # kernels are only found when they run
        if built.native_ops and built.eps > EPS["float64"]:
            kept = ", ".join(sorted(built.native_ops))
            self.warn(f"kept in their own dtype in the float64 reference: {kept}")
        return built

    def warn(self, text: str) -> None:
        """Says what makes the result weaker than it could be, once."""
        if text not in self.warnings:
            self.warnings.append(text)


def _distance(a: Array, b: Array) -> float:
    finite = np.isfinite(a) & np.isfinite(b)
    return float(np.linalg.norm(np.ravel(np.where(finite, a, 0) - np.where(finite, b, 0))))


def same_values(a: Arrays, b: Arrays, limit: float, sizes: Sequence[float]) -> bool:
    """Whether all outputs are equal to an accuracy relative to their sizes, in the 2-norm."""
    return all(
        x.shape == y.shape
        and not _distance(x, y) > limit * max(rms(x), size) * np.sqrt(np.isfinite(x).sum())
        for x, y, size in zip(a, b, sizes, strict=True)
    )
