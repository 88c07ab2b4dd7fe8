"""Times single products, forward and for each gradient that is needed, and says what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import tensorflow as tf

from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.algebra.errors import EinsumError
from tf_einsum_grad.algebra.sizes import bind_call
from tf_einsum_grad.benchmark.timing import Effort, interleave
from tf_einsum_grad.benchmark.variants import Preparation, make_tensors, native_einsum
from tf_einsum_grad.benchmark.workloads import Mode, Workload
from tf_einsum_grad.explaining.explanation import Explanation, explain
from tf_einsum_grad.explaining.native import drawbacks
from tf_einsum_grad.ops import einsum
from tf_einsum_grad.profiling.graph import Product
from tf_einsum_grad.profiling.result import Row, Time

__all__ = ["measure_row"]

_EFFORT = Effort(repeats=5, seconds=0.1, most=100)
_LOOK = Effort(repeats=2, seconds=0.0)
_LONG, _MOST = 2e-3, 16  # seconds, and calls, that one graph runs for
_SLOWER = 1.1  # from which on native is said to be slow


def measure_row(product: Product, functions: dict[str, Any], modes: Sequence[Mode]) -> Row:
    """Times one product by itself, on random operands, native and ours in turn.

    Args:
        product: what is multiplied.
        functions: what was called, by name.
        modes: how it runs.
    """
    if any(shape is None or None in shape for shape in product.shapes):
        return Row(product, 1, 0, 0, (), "sizes are unknown when it is traced")
    shapes: Any = product.shapes
    try:
        workload = Workload("", "", product.equation, shapes, product.dtype)
        found = explain(product.equation, *shapes, dtype=product.dtype)
    except (EinsumError, ValueError) as error:
        return Row(product, 1, 0, 0, (), str(error))
    operands, cotangent = make_tensors(workload)
    native = functions.get(product.call) or _own(product)
    variants = (
        {"native": native} if product.call == "matmul" else {"native": native, "ours": einsum}
    )
    times = tuple(
        _time(product.equation, variants, mode, operands, cotangent, k)
        for mode in modes
        for k in (None, *product.needed)
    )
    row = Row(product, 1, *_cost(product, found), times, "")
    slow = any(row.native(mode) > _SLOWER * row.ours(mode) for mode in modes)
    return replace(row, why=_why(product, found)) if slow else row


def _own(product: Product) -> Callable[..., Any]:
    """What an op of a graph is called by."""
    if product.call != "matmul":
        return native_einsum()
    first, second = (
        term.endswith(("ji", "kj")) for term in parse_equation(product.equation).inputs
    )
    return lambda _, a, b: tf.matmul(a, b, transpose_a=first, transpose_b=second)


def _time(
    equation: str,
    variants: dict[str, Callable[..., Any]],
    mode: Mode,
    operands: Sequence[tf.Tensor],
    cotangent: tf.Tensor,
    k: int | None,
) -> Time:
    """Times a forward pass, or the gradient of operand `k` alone.

    In a graph it runs several times, one after the other: calling a graph, and handing what it
    does to threads, takes longer than a small einsum, and a step does it once for all.
    """
    calls = {who: partial(variant, equation) for who, variant in variants.items()}
    n = 1
    if mode == "graph":
        once = interleave(
            {"once": _prepare(calls["native"], mode, operands, cotangent, k, 1)}, _LOOK
        )
        n = max(1, min(_MOST, round(_LONG / min(once["once"]))))
    passes = {who: _prepare(call, mode, operands, cotangent, k, n) for who, call in calls.items()}
    if mode != "eager":
        idle = lambda *_: tf.reshape(cotangent, [-1])[:1]  # noqa: E731
        passes["nothing"] = _prepare(idle, mode, operands, cotangent, None, 1)
    best = {who: min(seconds) for who, seconds in interleave(passes, _EFFORT).items()}
    call = best.pop("nothing", 0.0)
    net = {who: max(seconds - call, 0.0) / n for who, seconds in best.items()}
    return Time(mode, "forward" if k is None else f"gradient {k}", net["native"], net.get("ours"))


def _prepare(
    function: Callable[..., Any],
    mode: Mode,
    operands: Sequence[tf.Tensor],
    cotangent: tf.Tensor,
    k: int | None,
    n: int,
) -> Preparation:
    def pulled(*operands: tf.Tensor) -> Callable[[tf.Tensor], Any]:
        assert k is not None
        with tf.GradientTape() as tape:
            tape.watch(operands[k])
            result = function(*operands)
        return lambda cotangent: tape.gradient(result, [operands[k]], [cotangent])

    if mode == "eager":
        if k is None:
            return lambda: lambda: function(*operands)
        return lambda: partial(pulled(*operands), cotangent)

    def several(cotangent: tf.Tensor, *operands: tf.Tensor) -> Any:
        results: list[Any] = []  # all of them: what is not asked for does not run
        for _ in range(n):
            with tf.control_dependencies(results[-1:]):  # else TensorFlow would run one for all
                one = function(*operands) if k is None else pulled(*operands)(cotangent)
            results.append(one)
        return results

    graph = tf.function(several, jit_compile=mode == "xla", autograph=False)
    run: Any = graph.get_concrete_function(cotangent, *operands)
    return lambda: lambda: run(cotangent, *operands)


def _cost(product: Product, found: Explanation) -> tuple[int, int]:
    """FLOPs of a call with its gradients, and bytes of the largest tensor on the way."""
    gradients = [found.gradients[k] for k in product.needed]
    work = [*found.forward, *(step for gradient in gradients for step in gradient.work)]
    largest = max([found.largest_intermediate_bytes, *(step.scratch_bytes for step in work)])
    return sum(step.flops for step in work), largest


def _why(product: Product, found: Explanation) -> str:
    """What native does that is worse than need be, in words."""
    reasons = []
    if product.call.endswith("as matmul"):
        return ""
    if len(product.shapes) == 2:
        shapes: Any = product.shapes
        binding = bind_call(product.equation, shapes)
        reasons += [
            f"forward {reason}"
            for reason in drawbacks(binding.equation, dict(binding.sizes), product.dtype)
        ]
    for k in product.needed:
        native = found.gradients[k].native
        reasons += [f"gradient {k} {reason}" for reason in (native.drawbacks if native else ())]
    return "; ".join(reasons)
