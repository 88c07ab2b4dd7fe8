"""The order of a backward pass that computes intermediates again."""

import random

import pytest

from tf_einsum_grad.planning.recompute import runs, schedule, segments


def chain(n_steps):
    """Each step takes the result before it and an operand of its own."""
    n = n_steps + 1
    return ((0, 1), *((n + k - 1, k + 1) for k in range(1, n_steps))), n


def tree(n, seed):
    """Any tree: pairs of what is left, at random."""
    rng, left = random.Random(seed), list(range(n))
    steps = []
    for number in range(n, 2 * n - 1):
        pair = rng.sample(left, 2)
        left = [k for k in left if k not in pair] + [number]
        steps.append(tuple(pair))
    return tuple(steps), n


def held(steps, n, events):
    """How many results are held at most; whether all that an event needs is there is asserted."""
    results, cotangents, most = set(), {n + len(steps) - 1}, 0
    for event in events:
        inner = {k for k in steps[event.position] if k >= n}
        assert inner <= results, event
        number = n + event.position
        if event.pulls:
            cotangents.remove(number)  # each is pulled once, after what uses it
            cotangents |= inner
        else:
            assert number not in results
            results.add(number)
        most = max(most, len(results))
        results -= set(event.drops)
        assert number not in event.drops
    assert not results
    assert not cotangents
    return most


CASES = [chain(n) for n in (1, 2, 3, 31, 64)] + [tree(n, s) for n in (2, 5, 24) for s in range(5)]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_everything_is_there_when_it_is_needed(case):
    steps, n = CASES[case]
    counts, times = [], []
    for segment in segments(len(steps)):
        events = schedule(steps, n, segment)
        assert sorted(e.position for e in events if e.pulls) == list(range(len(steps)))
        counts.append(held(steps, n, events))
        times.append(len(runs(events)))
    assert times[0] == len(steps) - 1
    assert times == sorted(times)
    assert counts[-1] <= counts[0]


def test_a_chain_holds_logarithmically_many_and_runs_logarithmically_often():
    steps, n = chain(64)
    shortest = schedule(steps, n, 1)
    assert held(steps, n, shortest) <= 8
    assert len(runs(shortest)) <= 64 * 6 / 2
    half = schedule(steps, n, 32)
    assert held(steps, n, half) <= 33
    assert len(runs(half)) < 64 * 1.5


def test_segments_of_no_steps_and_of_one():
    assert segments(0) == segments(1) == [1]
    assert schedule((), 1, 1) == ()
