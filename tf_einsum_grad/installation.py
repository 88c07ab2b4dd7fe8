"""Puts `tf_einsum_grad.einsum` in the place of TensorFlow's and Keras' own, and takes it out again.

Existing layers and models gain without a change: `tf.einsum`, `tf.linalg.einsum`,
`tf.experimental.numpy.einsum` (under `tf` and `tf.compat.v2`) and, where Keras runs on TensorFlow,
what `keras.ops.einsum` calls; layers with LoRA run their factors apart from the kernel where that
costs less (`keras/lora.py`). What was traced before, and names bound before (`from tensorflow
import einsum`), keep what they had.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from tf_einsum_grad.algebra.errors import OperandError
from tf_einsum_grad.algebra.names import read_call
from tf_einsum_grad.execution import private
from tf_einsum_grad.ops import einsum
from tf_einsum_grad.planning.path import Optimize

__all__ = ["install", "installed", "replaced", "uninstall"]

_Einsum = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class _Patch:
    """One attribute that is replaced."""

    name: str
    owner: object
    attribute: str
    original: Callable[..., Any]
    replacement: Callable[..., Any]


@dataclass(slots=True)
class _Group:
    """What is replaced together, and by whom it is wanted; `_lock` is held wherever it changes.

    Attributes:
        find: finds what is to be replaced, or raises.
        patches: what is replaced now.
        permanent: whether `install` was called.
        blocks: how many `with installed():` blocks are running, in any thread.
    """

    find: Callable[[], tuple[_Patch, ...]]
    patches: tuple[_Patch, ...] = ()
    permanent: bool = False
    blocks: int = 0

    def apply(self) -> None:
        """Replaces everything, or raises before anything is replaced."""
        patches = self.find()
        for patch in patches:
            setattr(patch.owner, patch.attribute, patch.replacement)
        self.patches = patches

    def revert(self) -> None:
        """Restores everything, or raises before anything is restored."""
        for patch in self.patches:
            if getattr(patch.owner, patch.attribute) is not patch.replacement:
                raise RuntimeError(
                    f"uninstall() requires {patch.name} to be what install() put there, got "
                    "another function: whatever replaced it later has to be undone first"
                )
        for patch in self.patches:
            setattr(patch.owner, patch.attribute, patch.original)
        self.patches = ()


_lock = threading.Lock()


def install(attention: bool = False) -> None:
    """Makes `tf.einsum`, `tf.linalg.einsum` and `keras.ops.einsum` run this package's einsum.

    Calling it again changes nothing, but for adding attention.

    Args:
        attention: whether `keras.ops.dot_product_attention`, and so Keras' `MultiHeadAttention` and
            `GroupQueryAttention` where they have no dropout and return no scores, run this
            package's `attention`, in memory that does not grow with the square of the length.

    Raises:
        RuntimeError: TensorFlow or Keras lacks what is to be replaced. Nothing is replaced then.

    Example:
        >>> install()
        >>> tf.einsum("i->ii", tf.constant([1, 2])).numpy()  # TensorFlow's own cannot
        array([[1, 0],
               [0, 2]], dtype=int32)
        >>> uninstall()
    """
    with _lock:
        groups = _groups(attention)
        _apply(groups)
        for group in groups:
            group.permanent = True


def uninstall() -> None:
    """Undoes `install`; blocks of `installed` that are still running keep theirs to their end.

    Does nothing where nothing is installed.

    Raises:
        RuntimeError: someone else has replaced one of the functions since. Nothing is undone then,
            since that would throw their function away; call it again when theirs is undone. A block
            of `installed` raises it at its end, too.
    """
    with _lock:
        for group in _groups(attention=True)[::-1]:
            if not group.blocks:
                group.revert()
            group.permanent = False


@contextmanager
def installed(attention: bool = False) -> Iterator[None]:
    """Installs for the length of a block; blocks nest, and an exception restores as well.

    The functions that are replaced belong to the process, not to a thread: with blocks in several
    threads the first to enter replaces and the last to leave restores.

    Args:
        attention: as for `install`.

    Raises:
        RuntimeError: as `install` and `uninstall` do.

    Example:
        >>> with installed():
        ...     int(tf.einsum("ij->", tf.ones([2, 2], tf.int8)))  # no kernel of TensorFlow's
        4
    """
    groups = _groups(attention)
    with _lock:
        _apply(groups)
        for group in groups:
            group.blocks += 1
    try:
        yield
    finally:
        with _lock:
            for group in groups[::-1]:
                group.blocks -= 1
                if not group.blocks and not group.permanent:
                    group.revert()


@contextmanager
def replaced(wrap: Callable[[str, _Einsum], _Einsum]) -> Iterator[None]:
    """Puts wrappers in the place of every einsum that `install` replaces, for a block.

    Args:
        wrap: is given the name of a function and the function, and returns what stands for it.

    Raises:
        RuntimeError: as `install` and `uninstall` do, and where something is installed.
    """

    def find() -> tuple[_Patch, ...]:
        found = [patch for patch in _find_einsum() if patch.attribute == "einsum"]
        # A module that was imported by its own name may be there twice.
        wrappers = {patch.name: wrap(patch.name, patch.original) for patch in found}
        return tuple([replace(patch, replacement=wrappers[patch.name]) for patch in found])

    group = _Group(find)
    with _lock:
        if _EINSUM.patches:
            raise RuntimeError("profile requires that nothing is installed: call uninstall() first")
        group.apply()
    try:
        yield
    finally:
        with _lock:
            group.revert()


def _groups(attention: bool) -> tuple[_Group, ...]:
    return (_EINSUM, _ATTENTION) if attention else (_EINSUM,)


def _apply(groups: tuple[_Group, ...]) -> None:
    """Replaces everything, or raises with everything as it was; the lock is held."""
    applied = []
    try:
        for group in groups:
            if not group.patches:
                group.apply()
                applied.append(group)
    except BaseException:
        for group in applied:
            group.revert()
        raise


@private.leave_unconverted
def _numpy_einsum(
    subscripts: Any,
    *operands: Any,
    optimize: Optimize = "auto",
    casting: str = "safe",
    **options: Any,
) -> tf.Tensor:
    """`tf.experimental.numpy.einsum`: operands are promoted as all of that module promotes them.

    Args:
        subscripts: an equation, or operands and sublists.
        *operands: whatever `tf.experimental.numpy.asarray` takes.
        optimize: as in `einsum`, but False is "auto": it is what TensorFlow's own has by default.
        casting: "safe" to promote dtypes; "no" for operands of one dtype, and an error otherwise.
        **options: those of `einsum`.

    Raises:
        EinsumError: as `einsum` does, or `casting` is neither.
    """
    text, operands = read_call(subscripts, operands)
    numpy = tf.experimental.numpy
    if casting not in ("safe", "no"):
        raise OperandError(f"einsum {text!r} requires casting 'safe' or 'no', got {casting!r}")
    dtype = numpy.result_type(*operands) if casting == "safe" else None
    arrays = [numpy.asarray(x, dtype) for x in operands]
    return einsum(text, *arrays, optimize="auto" if optimize is False else optimize, **options)


_MODULES: dict[str, Callable[..., Any]] = {
    "tf": einsum,
    "tf.linalg": einsum,
    "tf.experimental.numpy": _numpy_einsum,
    "tf.compat.v2": einsum,
    "tf.compat.v2.linalg": einsum,
    "tf.compat.v2.experimental.numpy": _numpy_einsum,
}


def _tensorflow_owners() -> Iterator[tuple[str, object, str, Callable[..., Any]]]:
    """What `install` replaces in TensorFlow: name for messages, owner, attribute, and ours.

    `import tensorflow.linalg` makes another module than the attribute `tf.linalg` was before, and
    so it is with the others; each is imported here, before anyone can copy names from it.
    """
    tensorflow: Any = tf
    for name, ours in _MODULES.items():
        path = name.split(".")[1:]
        owners = [
            functools.reduce(lambda owner, part: getattr(owner, part, None), path, tensorflow)
        ]
        if path and owners[0] is not None:
            owners.append(importlib.import_module(".".join(["tensorflow", *path])))
        for owner in owners:
            yield f"{name}.einsum", owner, "einsum", ours


def _find_einsum() -> tuple[_Patch, ...]:
    wanted = list(_tensorflow_owners())
    if keras.backend.backend() == "tensorflow":  # another's einsum is no business of ours
        from tf_einsum_grad.keras.private import replacements

        wanted += replacements()
    return tuple([_patch(*one) for one in wanted])


def _find_attention() -> tuple[_Patch, ...]:
    if keras.backend.backend() != "tensorflow":
        return ()
    from tf_einsum_grad.keras.private import attention_replacement

    return (_patch(*attention_replacement()),)


def _patch(name: str, owner: object, attribute: str, replacement: Callable[..., Any]) -> _Patch:
    original = getattr(owner, attribute, None)
    if not callable(original):
        raise RuntimeError(
            f"install() requires {name}, which TensorFlow {tf.__version__} with Keras "
            f"{keras.__version__} lacks; nothing was replaced"
        )
    return _Patch(name, owner, attribute, original, replacement)


_EINSUM, _ATTENTION = _Group(_find_einsum), _Group(_find_attention)
