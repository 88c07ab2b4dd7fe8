"""The cases of tests/gradcheck/cases.py that torch and JAX can express, run with their checkers.

Runs in an environment of its own (`--peers` of ci/gradcheck_comparison): prints one JSON object,
case -> column -> "passes", "flags" or "raises". Inputs are float64 and tolerances the defaults,
which is what these checkers are made for; `large_offset_plus_tanh` is float32, as its point is.
"""

from __future__ import annotations

import json
import sys

import numpy as np


def rng_normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


def ties():
    x = rng_normal(6)
    x[::2] = 0
    return x


SCALE = np.ones(10000)
SCALE[7] = 1.1


def verdict(check):
    try:
        return "passes" if check() is not False else "flags"
    except AssertionError:
        return "flags"
    except Exception as error:
        gradient = "acobian" in str(error) or "Backward is not reentrant" in str(error)
        return "flags" if gradient else "raises"


def torch_cases():
    import torch

    def custom(forward, backward):
        class Fn(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *args):
                ctx.save_for_backward(*args)
                return forward(*args)

            @staticmethod
            def backward(ctx, dy):
                return backward(dy, *ctx.saved_tensors)

        return Fn.apply

    def layernorm(x):
        return (x - x.mean(-1, keepdim=True)) / (
            x.var(-1, keepdim=True, unbiased=False) + 1e-5
        ).sqrt()

    def layernorm_grad(dy, x):
        inverse = 1 / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        y = layernorm(x)
        return inverse * (dy - y * (dy * y).mean(-1, keepdim=True))

    def duplicate(dy, x):
        g = torch.zeros_like(x)
        g[[0, 2, 2]] = dy
        return g

    def loop(x):
        y = x
        for _ in range(4):
            y = torch.sin(y) * x
        return y

    scale = torch.tensor(SCALE)
    cosine = custom(torch.cos, lambda dy, x: dy * torch.sin(x))
    weights = [torch.tensor(np.random.default_rng(i).normal(size=(16, 16))) / 3 for i in range(8)]

    def relus(x):
        for w in weights:
            x = torch.relu(x @ w)
        return x

    r = rng_normal
    return {
        "wrong_tanh_formula": (custom(torch.tanh, lambda dy, x: dy * (1 - torch.tanh(x))), [r(3, 4)], 1),
        "sign_flip_in_one_argument": (
            custom(lambda x, y: x * y.sin(), lambda dy, x, y: (dy * y.sin(), -dy * x * y.cos())),
            [r(5), r(5)], 1),
        "missing_transpose_on_square_matmul": (
            custom(lambda a, b: a @ b, lambda dy, a, b: (dy @ b, a.T @ dy)), [r(4, 4), r(4, 4)], 1),
        "bias_gradient_mean_instead_of_sum": (
            custom(lambda x, b: x + b, lambda dy, x, b: (dy, dy.mean(0))), [r(6, 3), r(3)], 1),
        "one_of_10000_elements_off_by_10_percent": (
            custom(torch.sin, lambda dy, x: dy * x.cos() * scale), [r(10000)], 1),
        "cotangent_ignored": (custom(lambda x: x**2, lambda dy, x: 2 * x), [r(4)], 1),
        "duplicate_gather_indices_not_summed": (custom(lambda x: x[[0, 2, 2]], duplicate), [r(4, 2)], 1),
        "layernorm_without_its_mean_term": (custom(layernorm, layernorm_grad), [r(4, 6)], 1),
        "wrong_second_order_sign": (custom(torch.sin, lambda dy, x: dy * cosine(x)), [r(4)], 2),
        "stop_gradient_inside_a_gradient": (custom(torch.sin, lambda dy, x: dy * x.cos().detach()), [r(4)], 2),
        "relu_at_ties": (torch.relu, [ties()], 1),
        "large_offset_plus_tanh": (lambda x: 1e4 + torch.tanh(x), [r(8).astype(np.float32)], 1),
        "straight_through_estimator": (lambda x: torch.tanh(x + (torch.round(x * 4) / 4 - x).detach()), [r(4)], 1),
        "inputs_at_1e6": (lambda x: torch.sin(x * 1e-6) * x, [r(6) * 1e6], 1),
        "inputs_at_1e_minus_6": (lambda x: torch.tanh(x) / (1 + x**2), [r(6) * 1e-6], 1),
        "complex_fft": (lambda x: torch.fft.fft(x).abs() ** 2, [r(8) + 1j * r(8)], 1),
        "top_k": (lambda x: torch.topk(x, 3).values, [r(2, 8)], 1),
        "while_loop": (loop, [r(5)], 1),
        "deep_relu_stack": (relus, [r(8, 16)], 1),
    }  # fmt: skip


def jax_cases():
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def custom(forward, backward):
        fn = jax.custom_vjp(forward)
        fn.defvjp(lambda *args: (forward(*args), args), lambda args, dy: backward(dy, *args))
        return fn

    def layernorm(x):
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)

    def layernorm_grad(dy, x):
        y = layernorm(x)
        inverse = 1 / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return (inverse * (dy - y * (dy * y).mean(-1, keepdims=True)),)

    def loop(x):
        return jax.lax.fori_loop(0, 4, lambda i, y: jnp.sin(y) * x, x)

    indices = jnp.array([0, 2, 2])
    cosine = custom(jnp.cos, lambda dy, x: (dy * jnp.sin(x),))
    stop = jax.lax.stop_gradient
    weights = [jnp.array(np.random.default_rng(i).normal(size=(16, 16))) / 3 for i in range(8)]

    def relus(x):
        for w in weights:
            x = jax.nn.relu(x @ w)
        return x

    r = rng_normal
    return {
        "wrong_tanh_formula": (custom(jnp.tanh, lambda dy, x: (dy * (1 - jnp.tanh(x)),)), [r(3, 4)], 1),
        "sign_flip_in_one_argument": (
            custom(lambda x, y: x * jnp.sin(y), lambda dy, x, y: (dy * jnp.sin(y), -dy * x * jnp.cos(y))),
            [r(5), r(5)], 1),
        "missing_transpose_on_square_matmul": (
            custom(lambda a, b: a @ b, lambda dy, a, b: (dy @ b, a.T @ dy)), [r(4, 4), r(4, 4)], 1),
        "bias_gradient_mean_instead_of_sum": (
            custom(lambda x, b: x + b, lambda dy, x, b: (dy, dy.mean(0))), [r(6, 3), r(3)], 1),
        "one_of_10000_elements_off_by_10_percent": (
            custom(jnp.sin, lambda dy, x: (dy * jnp.cos(x) * SCALE,)), [r(10000)], 1),
        "cotangent_ignored": (custom(lambda x: x**2, lambda dy, x: (2 * x,)), [r(4)], 1),
        "duplicate_gather_indices_not_summed": (
            custom(lambda x: x[indices], lambda dy, x: (jnp.zeros_like(x).at[indices].set(dy),)), [r(4, 2)], 1),
        "layernorm_without_its_mean_term": (custom(layernorm, layernorm_grad), [r(4, 6)], 1),
        "wrong_second_order_sign": (custom(jnp.sin, lambda dy, x: (dy * cosine(x),)), [r(4)], 2),
        "stop_gradient_inside_a_gradient": (custom(jnp.sin, lambda dy, x: (dy * stop(jnp.cos(x)),)), [r(4)], 2),
        "relu_at_ties": (jax.nn.relu, [ties()], 1),
        "large_offset_plus_tanh": (lambda x: 1e4 + jnp.tanh(x), [r(8).astype(np.float32)], 1),
        "straight_through_estimator": (lambda x: jnp.tanh(x + stop(jnp.round(x * 4) / 4 - x)), [r(4)], 1),
        "inputs_at_1e6": (lambda x: jnp.sin(x * 1e-6) * x, [r(6) * 1e6], 1),
        "inputs_at_1e_minus_6": (lambda x: jnp.tanh(x) / (1 + x**2), [r(6) * 1e-6], 1),
        "complex_fft": (lambda x: jnp.abs(jnp.fft.fft(x)) ** 2, [r(8) + 1j * r(8)], 1),
        "top_k": (lambda x: jax.lax.top_k(x, 3)[0], [r(2, 8)], 1),
        "while_loop": (loop, [r(5)], 1),
        "deep_relu_stack": (relus, [r(8, 16)], 1),
    }  # fmt: skip


def main():
    results: dict[str, dict[str, str]] = {}
    try:
        import torch
    except ImportError:
        print("torch is not installed", file=sys.stderr)
    else:
        for name, (fn, inputs, order) in torch_cases().items():
            tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
            check = torch.autograd.gradcheck if order == 1 else torch.autograd.gradgradcheck
            for column, fast in (("torch fast", True), ("torch slow", False)):
                if name.startswith("one_of_10000") and not fast:
                    continue  # a dense 10,000 x 10,000 Jacobian, twice
                found = verdict(lambda: check(fn, tensors, fast_mode=fast))  # noqa: B023
                results.setdefault(name, {})[column] = found
    try:
        from jax.test_util import check_grads
    except ImportError:
        print("jax is not installed", file=sys.stderr)
    else:
        for name, (fn, inputs, order) in jax_cases().items():
            found = verdict(lambda: check_grads(fn, inputs, order, modes=("rev",)))  # noqa: B023
            results.setdefault(name, {})["jax"] = found
    print(json.dumps(results))


if __name__ == "__main__":
    main()
