"""The order of contraction that takes few FLOPs, and of those that do the one with the best price.

Of up to ten operands every order is compared, by dynamic programming over sets of operands: that is
exact, outer products included, and takes 0.1 ms for six and 4 for ten. Of more, greedy orders are
improved: parts of six tensors are put into their best order, the costliest first, until none gets
better. Beside two that always are the same, some are drawn at random, the more the more there is to
gain; the best of either kind is improved, if it is near. That takes 20 ms for 30 operands, 20 to 60
for 100.

Labels are bits of integers here, so that sets of them are joined, compared and hashed in one go;
and so that nothing depends on the order in which a process happens to walk a set of strings.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import opt_einsum

from tf_einsum_grad.algebra.equation import Equation

__all__ = ["best_path", "fewest_flops"]

Path = tuple[tuple[int, ...], ...]
# Each step with the two that it contracts: operands are 0 to n - 1, steps n to 2 n - 2, the last of
# which gives the result.
Tree = dict[int, tuple[int, int]]

_MOST_EXACT = 10  # 3**n / 2 splits: 5 ms for ten operands, and three times as many for each more
_PART = 6  # tensors: 300 splits, 0.1 ms
_MOST_PARTS = 512
_MOST_DRAWN = 32  # orders; each takes 0.06 ms an operand
_DRAWN_STEPS = 240  # steps of all of them, for nothing
_FLOPS_EACH = 5e5  # ... and one step more for each so many FLOPs
_PROMISING = 2  # times the FLOPs of the improved one, for another to be improved as well

_MOST_FLOPS = 1.5  # times the fewest
_SPARE_MEMORY = 1 / 8  # of the operands'
_MOST_WEIGHED = 8  # paths; each takes some 2 ms
_TIE = 0.98  # below this share of its cost another path beats that with the fewest FLOPs


def fewest_flops(equation: Equation, sizes: Mapping[str, int]) -> Path:
    """The pairwise path of an equation that takes the fewest FLOPs, however long finding it takes.

    Args:
        equation: explicit, without ellipses, of three operands or more.
        sizes: each label with its size, from 1 on.

    Example:
        >>> fewest_flops(Equation(("i", "ij", "jk"), "k"), {"i": 9, "j": 9, "k": 9})
        ((0, 1), (0, 1))
    """
    return _path(_exact(_Network.of(equation, sizes)))


def best_path(
    equation: Equation, sizes: Mapping[str, int], weigh: Callable[[Path, float], float]
) -> Path:
    """A path of few FLOPs; among similar ones, that which weighs least.

    Similar paths take at most 1.5 times its FLOPs, and no intermediate that is both larger than its
    largest and than an eighth of the operands. They are sought among those that differ in the order
    of three tensors, again from the best of these, and beside the order that native einsum takes.

    Args:
        equation: explicit, without ellipses, of three operands or more.
        sizes: each label with its size, from 1 on.
        weigh: the price of a path, or infinity where that is more than what it is given; asked of
            up to ten operands, at most eight times.
    """
    network = _Network.of(equation, sizes)
    if len(network.terms) > _MOST_EXACT:
        return _path(_best_of_many(network))
    tree = _exact(network)
    best, is_similar = _path(tree), _similarity(network, tree)
    weights = {best: _TIE * weigh(best, math.inf)}
    pending = [network.greedy("memory-removed"), *_neighbors(tree)]
    while pending and len(weights) < _MOST_WEIGHED:
        tree = pending.pop(0)
        path = _path(tree)
        if path not in weights and is_similar(tree):
            weights[path] = weigh(path, weights[best])
            if weights[path] < weights[best]:
                best, pending = path, list(_neighbors(tree))
    return best


def _similarity(network: _Network, best: Tree) -> Callable[[Tree], bool]:
    """Whether a tree takes about as few FLOPs and as little memory as the best."""
    most_flops = _MOST_FLOPS * network.flops(best)
    operands = sum(map(network.elements, network.terms))
    largest = max(network.largest(best), int(operands * _SPARE_MEMORY))
    return lambda tree: network.flops(tree) <= most_flops and network.largest(tree) <= largest


@dataclass(frozen=True, slots=True)
class _Network:
    """An einsum whose labels are bits; `known` remembers how many elements tensors have."""

    terms: tuple[int, ...]
    output: int
    sizes: tuple[int, ...]
    known: dict[int, int] = field(compare=False)

    @classmethod
    def of(cls, equation: Equation, sizes: Mapping[str, int]) -> _Network:
        bits = {label: 1 << axis for axis, label in enumerate(equation.labels)}
        *terms, output = (
            sum(bits[label] for label in set(subscripts))
            for subscripts in (*equation.inputs, equation.output)
        )
        return cls(tuple(terms), output, tuple(sizes[label] for label in bits), {})

    def part(self, terms: Sequence[int], output: int) -> _Network:
        """Some tensors of a network, contracted to these labels."""
        return _Network(tuple(terms), output, self.sizes, self.known)

    def renumbered(self) -> _Network:
        """The same with labels in order of appearance: equal for parts that do the same."""
        axes: dict[int, int] = {}
        rows = []
        for labels in (*self.terms, self.output):
            bits = [1 << axes.setdefault(axis, len(axes)) for axis in _axes(labels)]
            rows.append(sum(bits))
        sizes = tuple([self.sizes[axis] for axis in axes])
        return _Network(tuple(rows[:-1]), rows[-1], sizes, {})

    def elements(self, labels: int) -> int:
        """How many elements a tensor with these labels has."""
        known = self.known.get(labels)
        if known is None:
            known = self.known[labels] = math.prod(self.sizes[axis] for axis in _axes(labels))
        return known

    def results(self, tree: Tree) -> dict[int, int]:
        """The labels of each operand and of each step's result."""
        uses = Counter(axis for term in (*self.terms, self.output) for axis in _axes(term))
        labels = dict(enumerate(self.terms))
        for step in _order(tree):
            lhs, rhs = (labels[k] for k in tree[step])
            labels[step] = lhs | rhs
            for axis in _axes(lhs & rhs):
                uses[axis] -= 1
                if uses[axis] == 1:
                    labels[step] ^= 1 << axis
        return labels

    def flops(self, tree: Tree) -> int:
        """The multiplications and additions of all steps."""
        labels = self.results(tree)
        unions = {step: labels[lhs] | labels[rhs] for step, (lhs, rhs) in tree.items()}
        return sum(self.elements(x) * (1 + (x != labels[step])) for step, x in unions.items())

    def largest(self, tree: Tree) -> int:
        """The elements of the largest tensor between two steps."""
        labels, last = self.results(tree), max(tree)
        return max(self.elements(labels[step]) for step in tree if step != last)

    def greedy(self, cost: str | Callable[..., float]) -> Tree:
        """What opt_einsum's greedy optimiser finds with this cost of a step."""
        path = opt_einsum.paths.greedy(
            [frozenset(_axes(term)) for term in self.terms],
            frozenset(_axes(self.output)),
            dict(enumerate(self.sizes)),
            cost_fn=cost,
        )
        return _tree(opt_einsum.paths.linear_to_ssa(path))


def _axes(labels: int) -> Iterator[int]:
    """The bits that are set."""
    while labels:
        low = labels & -labels
        yield low.bit_length() - 1
        labels ^= low


def _log_removed(result: int, lhs: int, rhs: int, *_: object) -> float:
    """A greedy cost by ratios of sizes, where opt_einsum's own goes by differences."""
    return math.log(result) - math.log(lhs * rhs) / 2


def _best_of_many(network: _Network) -> Tree:
    usual = [network.greedy(cost) for cost in ("memory-removed", _log_removed)]
    best = _improve(network, min(usual, key=network.flops))
    flops = network.flops(best)
    for tree in _drawn(network, flops):
        if network.flops(tree) <= _PROMISING * flops:
            best = min(best, _improve(network, tree), key=network.flops)
    return best


def _drawn(network: _Network, flops: float) -> list[Tree]:
    """The best of greedy orders whose costs are drawn, as many as pay; the same ones each time.

    A cost weighs the size of a result against those of what it is made of, one way or another, and
    has Gumbel noise, so that of similar pairs any may come first (J. Gray, S. Kourtis,
    "Hyper-optimized tensor network contraction", 2021).
    """
    steps = _DRAWN_STEPS + flops / _FLOPS_EACH
    count = min(_MOST_DRAWN, int(steps / len(network.terms)))
    rng = random.Random(0)
    trees = [network.greedy(_noisy(rng)) for _ in range(count)]
    return [min(trees, key=network.flops)] if trees else []


def _noisy(rng: random.Random) -> Callable[..., float]:
    temperature, weight = 10 ** rng.uniform(-2, 0), rng.random()

    def cost(result: int, lhs: int, rhs: int, *_: object) -> float:
        noise = -math.log(-math.log(1 - rng.random()) + 1e-300)
        return math.log2(result) - weight * math.log2(lhs + rhs) + temperature * noise

    return cost


def _exact(network: _Network) -> Tree:
    """The tree of fewest FLOPs: that of a set of operands is that of its best split into two."""
    n, terms = len(network.terms), network.terms
    elements = replace(network, known={}).elements  # which a cache would keep
    every = (1 << n) - 1
    union = [0] * (every + 1)
    for chosen in range(1, every + 1):
        union[chosen] = union[chosen & (chosen - 1)] | terms[(chosen & -chosen).bit_length() - 1]
    # What a set is contracted to: the labels that something else has too.
    labels = [
        union[chosen] & (union[every ^ chosen] | network.output) for chosen in range(every + 1)
    ]
    for k, term in enumerate(terms):
        labels[1 << k] = term
    sizes = [elements(x) for x in labels]
    fewest: list[float] = [0] * (every + 1)
    split = [0] * (every + 1)
    for chosen in range(1, every + 1):
        # The last is in the rest, so each split comes once; ties go from left to right.
        part = others = chosen ^ 1 << chosen.bit_length() - 1
        least = math.inf if part else 0
        while part:
            rest = chosen ^ part
            flops = fewest[part] + fewest[rest]
            if flops < least:
                lhs, rhs = labels[part], labels[rest]
                products = sizes[part] * sizes[rest] // elements(lhs & rhs)
                flops += products if lhs | rhs == labels[chosen] else 2 * products
                if flops < least:
                    least, split[chosen] = flops, part
            part = (part - 1) & others
        fewest[chosen] = least
    # Sets as numbers: operands, then splits, those of parts before those of the whole.
    sets = [1 << k for k in range(n)]
    splits, pending = [], [every]
    while pending:
        chosen = pending.pop()
        if split[chosen]:
            splits.append(chosen)
            pending += [split[chosen], chosen ^ split[chosen]]
    numbers = {chosen: k for k, chosen in enumerate([*sets, *reversed(splits)])}
    pairs = [(numbers[split[x]], numbers[x ^ split[x]]) for x in reversed(splits)]
    return _tree(pairs)


_exact_part = lru_cache(maxsize=1024)(_exact)


def _improve(network: _Network, tree: Tree) -> Tree:
    """Puts parts of a tree into their best order, the costliest first, until none gets better."""
    tree, labels = dict(tree), network.results(tree)
    known: set[tuple[int, ...]] = set()
    changed = True
    while changed:
        changed = False
        unions = {step: labels[lhs] | labels[rhs] for step, (lhs, rhs) in tree.items()}
        for step in sorted(tree, key=lambda step: -network.elements(unions[step])):
            steps, tensors = _part(network, tree, labels, step)
            seen = (step, *sorted(tensors)) in known
            if len(tensors) < 3 or seen or len(known) == _MOST_PARTS:
                continue
            known.add((step, *sorted(tensors)))
            part = network.part([labels[k] for k in tensors], labels[step])
            numbers = [*tensors, *steps]
            own = {number: k for k, number in enumerate(numbers)}
            best = _exact_part(part.renumbered())
            if part.flops(best) < part.flops({own[k]: _pair(own, tree[k]) for k in steps}):
                tree |= {numbers[k]: _pair(numbers, pair) for k, pair in best.items()}
                labels |= {numbers[k]: x for k, x in part.results(best).items()}
                changed = True
    return tree


def _part(
    network: _Network, tree: Tree, labels: Mapping[int, int], step: int
) -> tuple[list[int], list[int]]:
    """The steps that lead to one from six tensors, the largest steps first; and these tensors."""
    steps, tensors = [step], list(tree[step])
    while len(tensors) < _PART and any(k in tree for k in tensors):
        largest = max(
            (k for k in tensors if k in tree),
            key=lambda k: network.elements(labels[tree[k][0]] | labels[tree[k][1]]),
        )
        tensors.remove(largest)
        tensors += tree[largest]
        steps.insert(0, largest)
    return steps, tensors


def _neighbors(tree: Tree) -> Iterator[Tree]:
    """The trees that contract three tensors of this one in another order."""
    for step, pair in tree.items():
        for inner, third in (pair, pair[::-1]):
            if inner in tree:
                a, b = tree[inner]
                yield {**tree, inner: (a, third), step: (inner, b)}
                yield {**tree, inner: (b, third), step: (inner, a)}


def _pair(numbers: Mapping[int, int] | Sequence[int], pair: tuple[int, int]) -> tuple[int, int]:
    return numbers[pair[0]], numbers[pair[1]]


def _tree(pairs: Sequence[Sequence[int]]) -> Tree:
    return {len(pairs) + 1 + k: (a, b) for k, (a, b) in enumerate(pairs)}


def _order(tree: Tree) -> list[int]:
    """The steps, each after those whose results it takes."""
    order, pending = [], [max(tree)]
    while pending:
        step = pending.pop()
        if step in tree:
            order.append(step)
            pending += tree[step]
    return order[::-1]


def _path(tree: Tree) -> Path:
    """A tree as a path: the same one, however the tree is written."""
    n = min(tree)
    first = {k: k for k in range(n)}  # the first operand of each
    for step in _order(tree):
        first[step] = min(first[k] for k in tree[step])
    ordered = {step: (a, b) if first[a] < first[b] else (b, a) for step, (a, b) in tree.items()}
    numbers = {k: k for k in range(n)}
    for step in _order(ordered):
        numbers[step] = len(numbers)
    pairs = [_pair(numbers, ordered[step]) for step in list(numbers)[n:]]
    return tuple(tuple(sorted(step)) for step in opt_einsum.paths.ssa_to_linear(pairs))
