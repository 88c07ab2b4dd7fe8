"""Random einsums of three to ten operands, as people never write them: the search must take all."""

from __future__ import annotations

import random
import string


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
