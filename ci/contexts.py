"""What `ci/contexts` runs: see there."""

from __future__ import annotations

import collections
import sys

import numpy as np
import tensorflow as tf

import tf_einsum_grad as teg
from tests import contexts


def run(einsum, wrapper, equation, known, order, compiled):
    """What one case gives, or the error that it raises."""
    row = contexts.operands(equation)
    try:
        function = contexts.trace(
            einsum, wrapper, [equation], known, (order,), jit_compile=compiled
        )
        return [tensor.numpy() for tensor in function(row)[0]]
    except Exception as error:  # whatever TensorFlow raises is what is counted here
        return error


def judge(ours, native) -> str:
    """One word for a case."""
    if isinstance(ours, Exception):
        return "both fail" if isinstance(native, Exception) else "fails"
    if isinstance(native, Exception):
        return "native fails"
    right = all(np.allclose(a, b, 1e-3, 1e-3) for a, b in zip(ours, native, strict=True))
    return "right" if right else "wrong"


def main(names: list[str]) -> int:
    """Prints every case that is not right, and a table; 1 where ours alone fails."""
    wrappers = [w for w in contexts.WRAPPERS if not names or w.__name__ in names]
    table: dict[tuple[str, str], collections.Counter[str]] = {}
    for wrapper in wrappers:
        for compiled in (False, True):
            place = wrapper.__name__, "XLA" if compiled else "graph"
            counts = table[place] = collections.Counter()
            for order in contexts.ORDERS:
                for equation in contexts.EQUATIONS:
                    native = run(tf.einsum, wrapper, equation, "static", order, compiled)
                    for known in contexts.KNOWN:
                        ours = run(teg.einsum, wrapper, equation, known, order, compiled)
                        if isinstance(ours, Exception) and not isinstance(native, Exception):
                            native = run(tf.einsum, wrapper, equation, known, order, compiled)
                        word = judge(ours, native)
                        counts[word] += 1
                        if word in ("fails", "wrong"):
                            said = str(ours).replace("\n", " ")[:200] if word == "fails" else ""
                            print(*place, order.__name__, equation, known, word, said, flush=True)
            print(*place, dict(counts), flush=True)
    bad = sum(counts[word] for counts in table.values() for word in ("fails", "wrong"))
    print(sum(map(sum, (c.values() for c in table.values()))), "cases,", bad, "not right")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
