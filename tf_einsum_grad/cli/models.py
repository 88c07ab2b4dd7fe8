"""A saved Keras model from the command line: its own modules, the model, and inputs that fit it."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_einsum_grad.cli.arguments import UsageError

__all__ = ["import_modules", "inputs_for", "load", "try_call", "try_trace"]

_BATCH = 2
_OPEN_SIZES = (2, 3, 4, 8, 16, 32, 64, 128, 256)  # tried for what else a model leaves open
_LARGEST_ID = 2  # random integer inputs: small, so that any embedding has them


def import_modules(names: Iterable[str]) -> None:
    """Imports modules by name, from the working directory as well, or by the path of a .py file.

    Raises:
        UsageError: one cannot be imported.
    """
    for name in names:
        path = Path(name)
        is_file = path.suffix == ".py"
        sys.path.insert(0, str(path.resolve().parent if is_file else Path.cwd()))
        try:
            importlib.import_module(path.stem if is_file else name)
        except Exception as error:  # whatever the module raises, it will not do
            raise UsageError(f"--import {name}: {_brief(error)}") from error


def load(path: Path) -> keras.Model:
    """Loads a saved model, in Keras' safe mode.

    Raises:
        UsageError: there is none, or it cannot be loaded.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds; each means that the file will not do
        text = f"{path}: cannot be loaded: {_brief(error)}"
        if "Could not locate class" in str(error):
            text += "; --import MODULE imports the module that it is in"
        raise UsageError(text) from error


def inputs_for(model: keras.Model, path: Path | None, seed: int) -> Any:
    """Returns the model's inputs, in its structure, from a file or drawn to fit its input specs.

    Raises:
        UsageError: the model has no specs, or the file holds something else than they say.
    """
    specs = getattr(model, "inputs", None)
    if not specs:
        raise UsageError(f"model {model.name!r} has no input specs; only built models have")
    if path:
        arrays = _read(path, specs)
    else:
        shapes = _shapes(model, _open_size(model))
        given = enumerate(zip(specs, shapes, strict=True))
        arrays = [_random(np.random.default_rng([seed, i]), s, shape) for i, (s, shape) in given]
    # A sequential model has one, and the attribute only once it was called.
    return keras.tree.pack_sequence_as(getattr(model, "input", specs[0]), arrays)


def try_call(model: keras.Model, inputs: Any, path: Path | None, training: bool) -> None:
    """Calls the model once, so that inputs that it does not take are told from wrong gradients.

    Raises:
        UsageError: it raised, or gave nothing; the message says how the inputs came about.
    """
    from tf_einsum_grad.gradcheck.state import StateGuard

    name, origin = f"model {model.name!r}", f"the inputs of {path}"
    if not path:
        shapes = ", ".join(str(np.shape(x)) for x in keras.tree.flatten(inputs))
        origin = f"random inputs of shape {shapes}"
        if any(None in spec.shape for spec in model.inputs):
            origin += f", where {_open_size(model)} stands for each size that it leaves open"
        origin += " (--inputs gives others)"
    try:
        with StateGuard(seed=0) as guard:
            guard.watch(v.value for v in model.variables)
            outputs = model(inputs, training=training)
    except Exception as error:  # a model may refuse its inputs in any way
        raise UsageError(f"{name} cannot be called with {origin}: {_brief(error)}") from error
    if not any(np.size(y) for y in keras.tree.flatten(outputs)):
        raise UsageError(f"{name} gives an empty output with {origin}")


def try_trace(model: keras.Model, inputs: Any, training: bool) -> None:
    """Traces the model once, so that what TensorFlow's graphs do not take is told from a fault.

    Raises:
        UsageError: it raised.
    """
    step = tf.function(lambda inputs: model(inputs, training=training), autograph=False)
    try:
        step.get_concrete_function(keras.tree.map_structure(tf.convert_to_tensor, inputs))
    except Exception as error:  # a model may refuse in any way
        message = f"model {model.name!r} cannot be traced: {_brief(error)}"
        raise UsageError(message) from error


def _open_size(model: keras.Model) -> int:
    """Returns the first size with which the model's shapes fit together, the smallest if none."""
    for size in _OPEN_SIZES:
        shapes = _shapes(model, size)
        specs = [keras.KerasTensor(s, i.dtype) for s, i in zip(shapes, model.inputs, strict=True)]
        structure = getattr(model, "input", specs[0])
        with suppress(Exception):  # a model says in its own way that a size is too small
            model.compute_output_spec(keras.tree.pack_sequence_as(structure, specs))
            return size
    return _OPEN_SIZES[0]


def _shapes(model: keras.Model, size: int) -> list[tuple[int, ...]]:
    """Returns the inputs' shapes, with a size in the place of each that is left open."""

    def closed(shape: tuple[int | None, ...]) -> tuple[int, ...]:
        sizes = ((_BATCH if axis == 0 else size, known) for axis, known in enumerate(shape))
        return tuple(guess if known is None else known for guess, known in sizes)

    return [closed(spec.shape) for spec in model.inputs]


def _random(
    rng: np.random.Generator, spec: keras.KerasTensor, shape: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    if spec.dtype == "bool" or "int" in spec.dtype:
        return rng.integers(0, _LARGEST_ID, shape).astype(spec.dtype)
    if spec.dtype == "string":
        raise UsageError(f"input {spec.name!r} holds strings; give them with --inputs")
    dtype = "float32" if spec.dtype == "bfloat16" else spec.dtype
    return np.asarray(rng.normal(size=shape)).astype(dtype)


def _read(path: Path, specs: Sequence[keras.KerasTensor]) -> list[np.ndarray[Any, Any]]:
    try:
        # np.load also takes what is no archive, and gives members that are no arrays as bytes.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(array) for name, array in file.items()}
    except Exception as error:  # zlib, zipfile and NumPy raise many kinds; the file will not do
        raise UsageError(f"{path}: not an .npz file: {_brief(error)}") from error
    names = [spec.name for spec in specs]
    if len(arrays) != len(names) and not arrays.keys() >= set(names):
        raise UsageError(f"{path}: holds {sorted(arrays)}, the model's inputs are {names}")
    if arrays.keys() >= set(names):
        arrays = {name: arrays[name] for name in names}
    return [_fitted(path, spec, array) for spec, array in zip(specs, arrays.values(), strict=True)]


def _fitted(
    path: Path, spec: keras.KerasTensor, array: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Returns an array in the dtype that the model wants; its shape and kind have to fit."""
    needs = f"{path}: input {spec.name!r} needs"
    if not tf.TensorShape(spec.shape).is_compatible_with(array.shape):
        raise UsageError(f"{needs} shape {spec.shape}, got {array.shape}")
    if spec.dtype == "string":
        if array.dtype.kind not in "US":
            raise UsageError(f"{needs} strings, got {array.dtype}")
        return array
    if array.dtype.kind not in ("biufc" if "complex" in spec.dtype else "biuf"):
        raise UsageError(f"{needs} {spec.dtype}, got {array.dtype}")
    with np.errstate(over="ignore"):
        fitted = array.astype(tf.as_dtype(spec.dtype).as_numpy_dtype)
    if "int" in spec.dtype or spec.dtype == "bool":
        held = np.array_equal(fitted, array)
    else:  # rounded as they may be, but not to infinity
        held = not np.any(np.isinf(fitted) & np.isfinite(array))
    if not held:
        raise UsageError(f"{needs} {spec.dtype}, got values that it cannot hold, {array.dtype}")
    return fitted


def _brief(error: Exception) -> str:
    from tf_einsum_grad.gradcheck.problem import brief

    return brief(error)
