"""No trace is left: variables, seeds and policies are afterwards what they were before."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_einsum_grad.gradcheck import private
from tf_einsum_grad.gradcheck.numeric import Array


class StateGuard:
    """Snapshots state on entry, restores it on exit, also when the body raises.

    In between float32 is float32: GPUs multiply it in TensorFloat-32 unless told otherwise, whose
    10 bits are too few to tell a derivative by differences.

    Args:
        seed: the global seed for every evaluation, where `reseed` is set.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.reseed = True  # clears TensorFlow's kernel caches: only where something draws
        self._saved: dict[Any, Array] = {}  # by the variables' `ref()`

    def __enter__(self) -> StateGuard:
        self._seeds = private.seed_state()
        self._python = random.getstate()
        self._numpy = np.random.get_state()
        self._policy, self._floatx = keras.config.dtype_policy(), keras.config.floatx()
        self._tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        return self

    def __exit__(self, *_: object) -> None:
        self.restore_variables()
        private.restore_seed_state(self._seeds)
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        keras.config.set_floatx(self._floatx)
        keras.config.set_dtype_policy(self._policy)
        tf.config.experimental.enable_tensor_float_32_execution(self._tf32)

    def watch(self, variables: Iterable[tf.Variable]) -> None:
        """Snapshots variables that are not yet snapshotted."""
        for variable in variables:
            if variable.ref() not in self._saved:
                self._saved[variable.ref()] = variable.numpy()

    def base(self, variable: tf.Variable) -> Array:
        """Returns the value that the variable had when it was first seen."""
        return self._saved[variable.ref()]

    def reset(self) -> None:
        """Makes the next evaluation start where every other one did."""
        self.restore_variables()
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        if self.reseed:
            tf.random.set_seed(self.seed)

    def restore_variables(self) -> None:
        """Assigns every watched variable its value at the snapshot."""
        for key, value in self._saved.items():
            key.deref().assign(value)
