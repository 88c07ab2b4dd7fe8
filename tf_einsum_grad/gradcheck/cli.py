"""The command line of the checker: `tf-einsum-grad check model.keras`, and what its sibling needs.

`check_callable_cli` checks any function and does everything after that: progress bar, table, files,
exit code. The command for equations calls it too.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_einsum_grad.gradcheck.numeric import Array
from tf_einsum_grad.text.terminal import progress

if TYPE_CHECKING:
    import keras

PASSED, FAILED, BAD_USAGE = 0, 1, 2
_UNKNOWN_SIZE = 2  # for a dimension that a model leaves open
_LARGEST_ID = 2  # random integer inputs: small, so that any embedding has them
_PATIENCE = 1.0  # seconds before a progress bar appears


class UsageError(ValueError):
    """Something about the command is wrong; the message is one line."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every kind of check has."""
    parser.add_argument("--order", type=int, choices=(1, 2), default=1)
    parser.add_argument("--variants", nargs="+", default=["eager"], metavar="VARIANT",
                        choices=("eager", "graph", "xla", "forward"))  # fmt: skip
    parser.add_argument("--directions", type=int, default=2, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as HTML")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that only a saved model has."""
    parser.add_argument(
        "--inputs", type=Path, metavar="NPZ",
        help="arrays named as the model's inputs, or in their order; random if not given",
    )  # fmt: skip
    parser.add_argument("--training", action="store_true", help="call the model as in training")


def run(args: argparse.Namespace) -> int:
    """Checks a saved model; returns 0 if it passed, 1 if it failed, 2 for bad usage."""
    try:
        model = _load(Path(args.model))
        inputs = _inputs(model, args.inputs, args.seed)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE
    extra = {"training": True} if getattr(args, "training", False) else {}
    return check_callable_cli(model.name, model, inputs, args, **extra)


def check_callable_cli(
    name: str, fn: Callable[..., Any], inputs: Any, args: argparse.Namespace, **options: Any
) -> int:
    """Checks `fn`, prints the report, writes --html and --json, and returns the exit code.

    Args:
        name: what the report calls it.
        fn, inputs, options: as for `check_gradients`.
        args: parsed options of `add_options`.
    """
    from rich.console import Console

    from tf_einsum_grad.gradcheck.check import PROGRESS, check_gradients

    console = Console()
    options.update(order=args.order, variants=args.variants, n_directions=args.directions)
    try:
        with progress(console, unit="comparisons", patience=_PATIENCE) as advance:
            token = PROGRESS.set(lambda done, total: advance("checking", done, total))
            try:
                report = check_gradients(fn, inputs, seed=args.seed, **options)
            finally:
                PROGRESS.reset(token)
    except ValueError as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return BAD_USAGE
    report = dataclasses.replace(report, name=name)
    console.print(report)
    try:
        if args.html:
            head = f"<!doctype html><meta charset='utf-8'><title>{report.name}</title>"
            args.html.write_text(head + report.to_html(), encoding="utf-8")
        if args.json:
            args.json.write_text(report.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        print(f"error: cannot write the report: {error}", file=sys.stderr)
        return BAD_USAGE
    return PASSED if report.passed else FAILED


def _load(path: Path) -> keras.Model:
    import keras

    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds; each means that the file will not do
        first = (str(error).strip().splitlines() or [""])[0]
        raise UsageError(f"{path}: cannot be loaded: {type(error).__name__}: {first}") from error


def _inputs(model: keras.Model, path: Path | None, seed: int) -> Any:
    """Returns the model's inputs, in its structure, from a file or drawn to fit its input specs."""
    import keras

    specs = getattr(model, "inputs", None)
    if not specs:
        raise UsageError(f"model {model.name!r} has no input specs; only built models have")
    if path is None:
        arrays = [_random(np.random.default_rng([seed, i]), s) for i, s in enumerate(specs)]
    else:
        arrays = _read(path, specs)
    structure = getattr(model, "_inputs_struct", None)
    if structure is None:
        return arrays[0] if len(arrays) == 1 else arrays
    return keras.tree.pack_sequence_as(structure, arrays)


def _random(rng: np.random.Generator, spec: keras.KerasTensor) -> Array:
    shape = [_UNKNOWN_SIZE if size is None else size for size in spec.shape]
    if spec.dtype == "bool" or "int" in spec.dtype:
        return rng.integers(0, _LARGEST_ID, shape).astype(spec.dtype)
    if spec.dtype == "string":
        raise UsageError(f"input {spec.name!r} holds strings; give them with --inputs")
    array = rng.normal(size=shape)
    dtype = "float32" if spec.dtype == "bfloat16" else spec.dtype
    return np.asarray(array.astype(dtype))


def _read(path: Path, specs: Sequence[keras.KerasTensor]) -> list[Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: not an .npz file: {str(error).splitlines()[0]}") from error
    names = [spec.name for spec in specs]
    if all(name in arrays for name in names):
        chosen = [arrays[name] for name in names]
    elif len(arrays) == len(names):
        chosen = list(arrays.values())
    else:
        raise UsageError(f"{path}: holds {sorted(arrays)}, the model's inputs are {names}")
    for spec, array in zip(specs, chosen, strict=True):
        fits = len(array.shape) == len(spec.shape) and all(
            want in (None, have) for want, have in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            raise UsageError(
                f"{path}: input {spec.name!r} needs shape {spec.shape}, got {array.shape}"
            )
    return [
        a.astype(s.dtype) if "float" in s.dtype else a for a, s in zip(chosen, specs, strict=True)
    ]
