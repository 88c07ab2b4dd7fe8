"""Random calls of `einsum`: equation, kinds of operands, options, spelling, and where it stands."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import keras
import numpy as np
import tensorflow as tf

from tests import contexts
from tests.corpus import Case, random_case
from tests.modes import Mode
from tests.reference import Reference
from tf_einsum_grad import EinsumError, einsum

NAMES = {"a": "rows", "b": ("b", 1), "c": frozenset("c"), "d": b"d", "e": ("e",)}
OPTIMIZE = (True, False, "greedy", "optimal", "branch-2", "auto", ("greedy", 100))
DTYPES = ("float64", "complex128", "float32")


def keras_model(f):
    def wrapped(*x):
        inputs = [keras.Input(batch_shape=y.shape, dtype=y.dtype.name) for y in x]
        return keras.Model(inputs, f(*inputs))(list(x))

    return wrapped


def summed(wrapper):
    """A wrapper that stacks `f` and twice `f`, and their sum, which is three times `f`."""
    return lambda f: lambda *x: tf.reduce_sum(wrapper(f)(*x), 0)


# A wrapper and what it multiplies the result by.
CONTEXTS = {
    "cond": (contexts.cond, 1),
    "switch_case": (contexts.switch_case, 1),
    "while_loop": (contexts.while_loop, 2),
    "map_fn": (summed(contexts.map_fn), 3),
    "scan": (summed(contexts.scan), 3),
    "vectorized_map": (summed(contexts.vectorized_map), 3),
    "recompute_grad": (contexts.recompute_grad, 1),
    "inner_function": (contexts.inner_function, 1),
    "custom_gradient": (contexts.custom_gradient, 1),
    "keras_model": (keras_model, 1),  # in none of the others, and of what is known
}
NESTING = [name for name in CONTEXTS if name != "keras_model"]


class Scaled(Reference):
    """The oracle of an einsum times a number."""

    factor = 1

    def value(self, operands):
        return self.factor * super().value(operands)

    def vjp(self, k, operands, cotangent):
        return self.factor * super().vjp(k, operands, cotangent)


@dataclass(frozen=True)
class Call(Case):
    dtype: str = "float64"
    kinds: tuple[str, ...] = ()  # of operands, each "tensor" where there are none
    options: tuple[tuple[str, object], ...] = ()
    sublists: bool = False
    within: tuple[str, ...] = ()  # contexts, the outermost last

    @property
    def kwargs(self):
        return super().kwargs | dict(self.options)

    @property
    def reference(self):
        scaled = Scaled(self.equation, self.shapes, dict(self.sizes))
        for name in self.within:
            scaled.factor *= CONTEXTS[name][1]
        return scaled

    def draw(self, dtype="", what=""):
        return super().draw(self.dtype, what)

    def draw_cotangent(self, dtype=""):
        return super().draw_cotangent(dict(self.options).get("dtype", self.dtype))

    @property
    def plain(self):
        """Whether TensorFlow itself can differentiate this twice, and forward."""
        return self.dtype == "float64" and not self.within and "sparse" not in self.kinds

    def __call__(self, *operands):
        def call(*x):
            try:
                return self._call(x, self.kwargs)
            except EinsumError as error:
                least = re.search(r"memory_limit of (\d+) bytes or more", str(error))
                if "memory_limit" not in self.kwargs or not least:
                    raise
                return self._call(x, self.kwargs | {"memory_limit": int(least[1])})

        for name in self.within:
            call = CONTEXTS[name][0](call)
        return call(*operands)

    def _call(self, operands, options):
        kinds = self.kinds or ["tensor"] * len(operands)
        operands = [KINDS[kind](x) for kind, x in zip(kinds, operands, strict=True)]
        if not self.sublists:
            return einsum(self.equation, *operands, **options)
        left, _, output = self.equation.partition("->")
        pairs = zip(operands, map(_names, left.split(",")), strict=True)
        for option in {"sizes", "size_hints"} & options.keys():
            options[option] = {NAMES.get(x, x): n for x, n in options[option].items()}
        return einsum(*(y for pair in pairs for y in pair), _names(output), **options)


def _names(term):
    return [Ellipsis if x == "..." else NAMES[x] for x in re.findall(r"\.\.\.|.", term)]


def _sparse(x):
    """Each entry as two halves, in no order."""
    index = np.argwhere(np.ones(x.shape)).reshape(-1, x.shape.rank)
    order = np.random.default_rng(0).permutation(2 * len(index))
    values = tf.reshape(x, [-1]) / 2
    values = tf.gather(tf.concat([values, values], 0), order)
    return tf.SparseTensor(np.concatenate([index, index])[order], values, x.shape)


KINDS = {"tensor": lambda x: x, "sparse": _sparse}


def random_call(rng: random.Random, mode: Mode) -> Call:
    """One that is right, of what a mode can do."""
    case = random_case(rng, rng.choice((1, 2, 2, 2, 2, 3, 3, 3, 4, 8)))
    call = Call(case.equation, case.shapes, case.sizes, rng.choice(DTYPES))
    eager, static = mode.shape is None, "unknown" not in mode.name
    if len(call.shapes) > 4 and call.dtype == "float32":
        call = replace(call, dtype="float64")  # whose products are exact
    options, kind = {}, rng.randrange(30)
    places = [k for k, shape in enumerate(call.shapes) if shape]
    if rng.random() < 0.3:
        options["optimize"] = rng.choice(OPTIMIZE)
    if kind < 3 and static and places:
        sparse = rng.choice(places)
        kinds = ["sparse" if k == sparse else "tensor" for k in range(len(call.shapes))]
        return replace(call, kinds=tuple(kinds), options=tuple(options.items()))
    slow = 0.02 if eager else 0.2  # for what makes a graph, eagerly
    if rng.random() < slow:
        options["recompute"] = True
    if rng.random() < 0.2 and "complex" not in call.dtype:
        options["dtype"] = "float64"
    if rng.random() < 0.1 and "..." not in call.equation:
        options["size_hints"] = {
            x: max(n, 1) for x, n in call.reference.sizes.items() if x in call.equation
        }
        if rng.random() < slow:
            options["memory_limit"] = rng.choice((64, 256, 1024, "16KiB"))
    call = replace(call, options=tuple(options.items()))
    if rng.random() < 0.2 and "->" in call.equation:
        call = replace(call, sublists=True)
    if kind == 3 and rng.random() < slow * 5 and call.dtype == "float64" and call.shapes:
        within = tuple(rng.sample(NESTING, rng.choice((1, 1, 2))))
        if eager and rng.random() < 0.1:
            within = ("keras_model",)
        call = replace(call, within=within)
    return call


def simpler(call: Call) -> Iterator[Call]:
    """The same with one thing left out."""
    for option in call.options:
        yield replace(call, options=tuple(x for x in call.options if x is not option))
    for name in ("kinds", "within", "sublists", "dtype"):
        plain = next(field.default for field in fields(call) if field.name == name)
        if getattr(call, name) != plain:
            yield replace(call, **{name: plain})
    for name in call.within:
        yield replace(call, within=tuple(x for x in call.within if x is not name))
