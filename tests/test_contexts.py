"""An einsum inside control flow, differentiated, where shapes are unknown: against native einsum."""

import numpy as np
import pytest
import tensorflow as tf

from tests import contexts
from tf_einsum_grad import einsum

# Wrappers in each other take several times as long.
NESTED = (contexts.nested_vectorized_map, contexts.while_in_cond, contexts.cond_in_while)


def part(wrapper, known):
    """A part of the equations for each combination; `ci/contexts` has all of them."""
    start = contexts.KNOWN.index(known) + contexts.WRAPPERS.index(wrapper)
    step = 12 if wrapper in NESTED else 4
    return contexts.EQUATIONS[start % step :: step]


def assert_as_native(wrapper, known, orders, **keywords):
    equations = part(wrapper, known)
    rows = [contexts.operands(equation) for equation in equations]
    found = contexts.trace(einsum, wrapper, equations, known, orders, **keywords)(*rows)
    native = contexts.trace(tf.einsum, wrapper, equations, "static", orders)(*rows)
    for equation, own, other in zip(equations, found, native, strict=True):
        for got, wanted in zip(own, other, strict=True):
            np.testing.assert_allclose(got, wanted, 1e-3, 1e-3, err_msg=equation)


@pytest.mark.parametrize("known", contexts.KNOWN[1:])
@pytest.mark.parametrize("wrapper", contexts.WRAPPERS, ids=lambda wrapper: wrapper.__name__)
def test_every_order_in_every_context(wrapper, known):
    assert_as_native(wrapper, known, contexts.orders_of(wrapper))


@pytest.mark.parametrize("known", ["batch", "dims", "rank"])
@pytest.mark.parametrize(
    "wrapper",
    [contexts.cond, contexts.while_loop, contexts.vectorized_map],
    ids=lambda wrapper: wrapper.__name__,
)
def test_gradients_in_every_context_under_xla(wrapper, known):
    orders = (contexts.value, contexts.first_order)
    assert_as_native(wrapper, known, orders, jit_compile=True)
