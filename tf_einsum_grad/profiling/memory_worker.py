"""A process that measures the peak memory of a step that was saved: its folder is the argument."""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf

from tf_einsum_grad.benchmark.memory_worker import peak_of

__all__ = ["main"]


def main(folder: Path) -> None:
    """Prints the bytes, the largest of several calls, each by itself."""
    loaded = tf.saved_model.load(str(folder / "step"))
    leaves = [x.read_value() for x in loaded.leaves]
    for _ in range(2):
        loaded.step(*leaves)
    print(max(peak_of(lambda: loaded.step(*leaves)) for _ in range(3)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
