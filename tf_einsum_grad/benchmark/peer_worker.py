"""A process that runs einsums in torch or JAX; needs NumPy and that library, nothing else.

Started by path with the peer's name and the number of threads. Reads a request a line from stdin:

* `{"load": path, "equation": ..., "dtype": ...}`: reads operands and incoming gradient from an
  .npz file, and writes the result and the gradients into another, `{"values": path}`.
* `{"repeats": n, "seconds": s}`: times forward and backward together, `{"samples": [...]}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Call = Callable[[], Sequence[Any]]


def make_torch(threads: int) -> tuple[str, Callable[..., Call], Callable[[Any], np.ndarray]]:
    """torch: its version, how to prepare a call, and how to read a tensor."""
    import torch

    torch.set_num_threads(threads)

    def prepare(equation: str, arrays: Sequence[np.ndarray], dtype: str) -> Call:
        kind = getattr(torch, dtype)
        *operands, cotangent = (torch.from_numpy(x).to(kind) for x in arrays)
        for x in operands:
            x.requires_grad_()

        def call() -> Sequence[Any]:
            result = torch.einsum(equation, *operands)
            return [result, *torch.autograd.grad(result, operands, cotangent)]

        return call

    def read(x: Any) -> np.ndarray:
        x = x.detach().resolve_conj()
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        return np.asarray(wide.numpy())

    return torch.__version__, prepare, read


def make_jax(threads: int) -> tuple[str, Callable[..., Call], Callable[[Any], np.ndarray]]:
    """JAX, compiled; its CPU client takes the number of threads from the environment."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def prepare(equation: str, arrays: Sequence[np.ndarray], dtype: str) -> Call:
        *operands, cotangent = (jnp.asarray(x).astype(dtype) for x in arrays)
        # JAX's gradients of complex functions are the conjugates of TensorFlow's and torch's.
        flip = jnp.conj if np.dtype(arrays[-1].dtype).kind == "c" else lambda x: x

        def both(cotangent: Any, *operands: Any) -> Sequence[Any]:
            result, pull = jax.vjp(lambda *xs: jnp.einsum(equation, *xs), *operands)
            return [result, *map(flip, pull(flip(cotangent)))]

        compiled = jax.jit(both)
        return lambda: jax.block_until_ready(compiled(cotangent, *operands))

    def read(x: Any) -> np.ndarray:
        wide = x.astype("float32") if x.dtype.itemsize == 2 else x
        return np.asarray(wide)

    return jax.__version__, prepare, read


def sample(call: Call, repeats: int, seconds: float) -> list[float]:
    """Seconds of each call; short calls are timed several at once."""
    start = time.perf_counter()
    call()
    n_calls = max(1, round(0.5e-3 / max(time.perf_counter() - start, 1e-6)))
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < repeats or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(n_calls):
            call()
        samples.append((time.perf_counter() - start) / n_calls)
    return samples


def main(name: str, threads: int) -> None:
    """Serves requests until stdin ends."""
    version, prepare, read = {"torch": make_torch, "jax": make_jax}[name](threads)
    print(json.dumps({"version": version}), flush=True)
    call: Call = list
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "load" in request:
                with np.load(request["load"]) as file:
                    arrays = [file[key] for key in file.files]
                call = prepare(request["equation"], arrays, request["dtype"])
                path = request["load"].replace(".npz", f"-{name}.npz")
                np.savez(path, *map(read, call()))
                answer: dict[str, Any] = {"values": path}
            else:
                answer = {"samples": sample(call, request["repeats"], request["seconds"])}
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            # The library cannot run this equation or dtype; the next one may be fine.
            answer = {"error": f"{name}: {str(error).splitlines()[0]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
