"""Einsums of many operands: as people never write them, and tensor networks as they do.

The random ones are of three to ten operands: the search must take all.
"""

from __future__ import annotations

import itertools
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


def _labels():
    """Letters, as many as it takes."""
    return (chr(c) for c in itertools.count(ord("a")) if chr(c).isalpha())


def ring(n: int, bond: int, open_: int):
    """A tensor train that is closed, with an open leg at each tensor, summed but for three."""
    names = _labels()
    bonds, legs = (list(itertools.islice(names, n)) for _ in range(2))
    terms = [bonds[i] + legs[i] + bonds[(i + 1) % n] for i in range(n)]
    return ",".join(terms) + "->" + "".join(legs[:3]), [(bond, open_, bond)] * n


def train_norm(n: int, bond: int, leg: int):
    """The norm of a tensor train: two rows of n tensors."""
    names = _labels()
    legs = [next(names) for _ in range(n)]
    terms, shapes = [], []
    for _ in range(2):
        bonds = ["", *(next(names) for _ in range(n - 1)), ""]
        for k, label in enumerate(legs):
            terms.append(bonds[k] + label + bonds[k + 1])
            shapes.append((bond,) * len(bonds[k]) + (leg,) + (bond,) * len(bonds[k + 1]))
    return ",".join(terms) + "->", shapes


def circuit(n: int, depth: int, dimension: int):
    """An amplitude of a circuit: gates on neighbors, in a brick wall, between two product states."""
    names = _labels()
    wires = [next(names) for _ in range(n)]
    terms = list(wires)
    for layer in range(depth):
        for k in range(layer % 2, n - 1, 2):
            before = wires[k] + wires[k + 1]
            wires[k], wires[k + 1] = next(names), next(names)
            terms.append(before + wires[k] + wires[k + 1])
    terms += wires
    return ",".join(terms) + "->", [(dimension,) * len(term) for term in terms]


def regular(n: int, bond: int, seed: int):
    """A network in which each tensor is bound to three others at random."""
    rng, names = random.Random(seed), _labels()
    ends = [k for k in range(n) for _ in range(3)]
    pairs: list[tuple[int, int]] = []
    while len({tuple(sorted(p)) for p in pairs}) < len(ends) // 2 or any(a == b for a, b in pairs):
        rng.shuffle(ends)
        pairs = list(zip(ends[::2], ends[1::2], strict=True))
    terms = [""] * n
    for a, b in pairs:
        label = next(names)
        terms[a] += label
        terms[b] += label
    return ",".join(terms) + "->", [(bond,) * 3] * n


def patch(side: int, bond: int):
    """A patch of a projected entangled pair state, contracted to a number."""
    names = _labels()
    right = {(r, c): next(names) for r in range(side) for c in range(side - 1)}
    down = {(r, c): next(names) for r in range(side - 1) for c in range(side)}
    terms = [
        "".join(
            edges[place]
            for edges, place in (
                (right, (r, c - 1)), (right, (r, c)), (down, (r - 1, c)), (down, (r, c))
            )
            if place in edges
        )
        for r in range(side)
        for c in range(side)
    ]  # fmt: skip
    return ",".join(terms) + "->", [(bond,) * len(term) for term in terms]
