"""The reference of second choice: a float64 copy of a Keras model, for what cannot be promoted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_einsum_grad.gradcheck.directions import Array, wide
from tf_einsum_grad.gradcheck.problem import Problem, brief
from tf_einsum_grad.gradcheck.promote import PromotionError, wider
from tf_einsum_grad.gradcheck.state import StateGuard

_FLOATS = ("float16", "bfloat16", "float32", "mixed_float16", "mixed_bfloat16")


class Clone:
    """A copy made from the model's config, with float64 policies and the model's own weights.

    Raises:
        PromotionError: not a Keras model, or one that cannot be copied.
    """

    name = "clone"
    eps = 2.0**-52

    def __init__(self, problem: Problem, guard: StateGuard) -> None:
        if problem.model is None or problem.call_with is None:
            raise PromotionError("only a Keras layer or model can be cloned")
        self.problem, self.guard, self.evaluations = problem, guard, 0
        model = problem.model
        try:
            self.model = type(model).from_config(_widened(model.get_config()))
            self._args = [tf.cast(a, wider(a.dtype)) for a in problem.args]
            problem.call_with(self.model, self._args)  # builds it
        except Exception as error:  # any model may refuse to be copied, in its own way
            raise PromotionError(f"cloning failed: {brief(error)}") from error
        theirs, ours = model.variables, self.model.variables
        if [tuple(v.shape) for v in theirs] != [tuple(v.shape) for v in ours]:
            raise PromotionError("the clone has other variables than the model")
        self._pairs = {id(a.value): (a.value, b) for a, b in zip(theirs, ours, strict=True)}

    def rebase(self, values: Sequence[Array]) -> list[Array]:
        """Return the outputs; a clone has nothing to record."""
        return self.outputs(values)

    def outputs(self, values: Sequence[Array]) -> list[Array]:
        """Return the clone's outputs with the leaves at these values."""
        assert self.problem.call_with is not None
        self.evaluations += 1
        self.guard.reset()
        args = list(self._args)
        for variable, copy in self._pairs.values():
            copy.assign(self.guard.base(variable))
        for leaf, value in zip(self.problem.leaves, values, strict=True):
            if leaf.position is not None:
                args[leaf.position] = tf.constant(value)
            elif id(leaf.variable) in self._pairs:
                self._pairs[id(leaf.variable)][1].assign(value)
        return [wide(y) for y in self.problem.call_with(self.model, args)]


def _widened(config: Any) -> Any:
    """Replace every floating dtype or policy in a Keras config, at any depth."""
    if isinstance(config, str):
        return "float64" if config in _FLOATS else config
    if isinstance(config, dict):
        return {key: _widened(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_widened(value) for value in config)
    if isinstance(config, keras.DTypePolicy) and config.name in _FLOATS:
        return keras.DTypePolicy("float64")
    return config
