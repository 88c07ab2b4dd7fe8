"""Where an einsum may stand: wrappers, orders of differentiation, and what is known of shapes.

`tests/test_contexts.py` runs a part of the matrix in the suite, `ci/contexts` all of it.
"""

from __future__ import annotations

import zlib

import numpy as np
import tensorflow as tf

# One for every kind of kernel, among those that native einsum takes.
EQUATIONS = (
    "bi,bi->b",
    "iji->j",
    "ij,k->ijk",
    "bthd,bshd->bhts",
    "bhts,bshd->bthd",
    "bi,ij->bj",
    "ij->i",
    "ij->ji",
    "bij,bj->bi",
    "ij,ij->ij",
    "ab,bc,cd->ad",
    "btd,df->btf",
)
KNOWN = ("static", "batch", "dims", "rank")


def operands(equation, dtype="float32"):
    """Tensors in different sizes for different labels, the same in every process."""
    rng = np.random.default_rng(zlib.crc32(equation.encode()))
    terms = equation.split("->")[0].split(",")
    sizes = {label: 2 + ord(label) % 3 for label in "".join(terms)}
    shapes = [[sizes[label] for label in term] for term in terms]
    return [tf.constant(rng.normal(size=shape), dtype) for shape in shapes]


def specs(equation, known):
    """What a graph is told of the operands."""
    shapes = [x.shape.as_list() for x in operands(equation)]
    forms = {
        "static": shapes,
        "batch": [[None, *shape[1:]] for shape in shapes],
        "dims": [[None] * len(shape) for shape in shapes],
        "rank": [None] * len(shapes),
    }
    return [tf.TensorSpec(shape) for shape in forms[known]]


# Wrappers: a function of operands -> a function of operands -----------------------------------------


def plain(f):
    return f


def cond(f):
    return lambda *x: tf.cond(tf.reduce_sum(x[0]) > -1e9, lambda: f(*x), lambda: 0.5 * f(*x))


def switch_case(f):
    branches = [lambda f, x: 0.5 * f(*x), lambda f, x: f(*x)]
    return lambda *x: tf.switch_case(
        tf.cast(tf.reduce_sum(x[0]) > -1e9, tf.int32),
        [lambda branch=branch: branch(f, x) for branch in branches],
    )


def while_loop(f):
    def wrapped(*x):
        start = tf.zeros_like(f(*x))
        return tf.while_loop(
            lambda i, total: i < 2,
            lambda i, total: [i + 1, total + f(*x)],
            [0, start],
            shape_invariants=[tf.TensorShape([]), start.shape],
            maximum_iterations=2,
        )[1]

    return wrapped


def _factors(x):
    return tf.constant([1.0, 2.0], x[0].dtype)


def map_fn(f):
    return lambda *x: tf.map_fn(
        lambda s: f(s * x[0], *x[1:]), _factors(x), fn_output_signature=x[0].dtype
    )


def scan(f):
    return lambda *x: tf.scan(lambda total, s: f(s * x[0], *x[1:]), _factors(x), initializer=f(*x))


def vectorized_map(f):
    return lambda *x: tf.vectorized_map(lambda s: f(s * x[0], *x[1:]), _factors(x))


def nested_vectorized_map(f):
    return vectorized_map(lambda *x: vectorized_map(f)(*x))


def recompute_grad(f):
    return lambda *x: tf.recompute_grad(f)(*x)


def inner_function(f):
    inner = tf.function(f, autograph=False)
    return lambda *x: inner(*x)


def custom_gradient(f):
    @tf.custom_gradient
    def wrapped(*x):
        def gradient(cotangent):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = f(*x)
            return tape.gradient(y, x, cotangent)

        return f(*x), gradient

    return wrapped


def while_in_cond(f):
    return cond(while_loop(f))


def cond_in_while(f):
    return while_loop(cond(f))


WRAPPERS = (
    plain,
    cond,
    switch_case,
    while_loop,
    map_fn,
    scan,
    vectorized_map,
    nested_vectorized_map,
    recompute_grad,
    inner_function,
    custom_gradient,
    while_in_cond,
    cond_in_while,
)


# Orders: a function of operands -> a function to a list of tensors ----------------------------------


def value(f):
    return lambda *x: [f(*x)]


def first_order(f):
    def gradients(*x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(tf.sin(f(*x)))
        return list(tape.gradient(y, x))

    return gradients


def second_order(f):
    def gradients(*x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            norm = tf.add_n([tf.reduce_sum(g**2) for g in first_order(f)(*x)])
        return list(tape.gradient(norm, x))

    return gradients


def forward_mode(f):
    def tangents(*x):
        with tf.autodiff.ForwardAccumulator(x, tuple(map(tf.cos, x))) as accumulator:
            y = tf.sin(f(*x))
        return [accumulator.jvp(y)]

    return tangents


def forward_over_reverse(f):
    def tangents(*x):
        with tf.autodiff.ForwardAccumulator(x, tuple(map(tf.cos, x))) as accumulator:
            gradients = first_order(f)(*x)
        return [accumulator.jvp(gradient) for gradient in gradients]

    return tangents


ORDERS = (value, first_order, second_order, forward_mode, forward_over_reverse)
# What TensorFlow itself cannot do, whichever einsum it is.
IMPOSSIBLE = {
    cond: (forward_over_reverse,),
    switch_case: (forward_mode, forward_over_reverse),
    while_loop: (forward_over_reverse,),
    map_fn: (forward_mode, forward_over_reverse),
    scan: (forward_mode, forward_over_reverse),
    recompute_grad: (second_order, forward_mode, forward_over_reverse),
    while_in_cond: (forward_over_reverse,),
    cond_in_while: (forward_mode, forward_over_reverse),
}


def orders_of(wrapper):
    """The orders that TensorFlow can do inside a wrapper."""
    return tuple(order for order in ORDERS if order not in IMPOSSIBLE.get(wrapper, ()))


def evaluate(einsum, wrapper, equation, orders):
    """A function of operands to what every order gives, in a flat list."""
    wrapped = wrapper(lambda *x: einsum(equation, *x))
    return lambda *x: [y for order in orders for y in order(wrapped)(*x)]


def trace(einsum, wrapper, equations, known, orders, **keywords):
    """One graph for several equations; of a list of operands for each."""

    def body(*rows):
        pairs = zip(equations, rows, strict=True)
        return [evaluate(einsum, wrapper, equation, orders)(*row) for equation, row in pairs]

    signature = [specs(equation, known) for equation in equations]
    return tf.function(body, input_signature=signature, autograph=False, **keywords)
