"""Random einsums of three to ten operands, as people never write them: the search must take all."""

from __future__ import annotations

import math
import random
import string

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.algebra.sizes import bind_call


def random_network(seed, least=3, most=10, sizes=(1, 2, 3, 5, 8, 20, 50, 100, 300)):
    """An equation and its shapes.

    Labels are of every role, small and large; some terms share a batch label, some repeat a label,
    and one dimension in 20 is 1 and broadcasts.
    """
    rng = random.Random(seed)
    n = rng.randint(least, most)
    letters = string.ascii_lowercase[: rng.randint(2, min(14, 2 * n))]
    size = {label: rng.choice(sizes) for label in letters} | {"z": rng.choice(sizes[:7])}
    batch = rng.random() < 0.3
    terms = []
    for _ in range(n):
        rank = min(rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5)), len(letters))
        term = rng.sample(letters, rank)
        if term and rng.random() < 0.1:
            term.insert(rng.randint(0, rank), rng.choice(term))
        terms.append("z" * (batch and rng.random() < 0.8) + "".join(term))
    used = sorted(set("".join(terms)))
    output = rng.sample(used, min(len(used), rng.choice((0, 1, 1, 2, 2, 3))))
    shapes = []
    for term in terms:
        own = {x: 1 if rng.random() < 0.05 else size[x] for x in dict.fromkeys(term)}
        shapes.append(tuple(own[x] for x in term))
    return f"{','.join(terms)}->{''.join(output)}", tuple(shapes)


def reduced_network(text, shapes):
    """An equation as a search sees it, and sizes: without what a term repeats or has to itself."""
    bound = bind_call(text, shapes)
    equation = bound.equation
    terms = [set(term) for term in (*equation.inputs, equation.output)]
    kept = {x for x in equation.labels if sum(x in term for term in terms) > 1}
    inputs = tuple("".join(sorted(term & kept)) for term in terms[:-1])
    return Equation(inputs, equation.output), dict(bound.sizes)


def count(equation, sizes, path):
    """The FLOPs of a path and the elements of its largest intermediate, from sets of labels."""
    terms = [set(term) for term in equation.inputs]
    flops = largest = 0
    for step in path:
        chosen = [terms[p] for p in step]
        terms = [term for p, term in enumerate(terms) if p not in step]
        union = set().union(*chosen)
        result = union & set(equation.output).union(*terms)
        flops += math.prod(sizes[x] for x in union) * (1 if result == union else 2)
        terms.append(result)
        if len(terms) > 1:
            largest = max(largest, math.prod(sizes[x] for x in result))
    return flops, largest
