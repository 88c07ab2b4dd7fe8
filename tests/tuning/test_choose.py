"""What is better is a pure function of times: a made-up clock."""

import numpy as np
import pytest

from tf_einsum_grad.tuning.choose import choose


def noisy(center, n=40, spread=0.02, seed=0):
    return list(center * (1 + spread * np.random.default_rng(seed).standard_normal(n)))


def test_the_fastest_is_chosen_where_it_is_not_what_runs():
    samples = {"a": noisy(3.0), "b": noisy(1.0, seed=1), "c": noisy(2.0, seed=2)}
    choice = choose(samples, "a")
    assert choice.best == "b"
    assert choice.before == pytest.approx(3, rel=0.02)
    assert choice.after == pytest.approx(1, rel=0.02)
    assert choice.ratio.low < 3 < choice.ratio.high * 1.01
    assert choose(samples, "b") is None


@pytest.mark.parametrize(("gain", "chosen"), [(1.0, False), (1.01, False), (1.1, True)])
def test_what_is_hardly_faster_stays_as_it_is(gain, chosen):
    samples = {"old": noisy(gain), "new": noisy(1.0, seed=1)}
    assert (choose(samples, "old") is not None) == chosen


def test_a_gain_that_may_be_noise_is_none():
    slow, fast = noisy(1.2, n=5, spread=0.3), noisy(1.0, n=5, spread=0.3, seed=1)
    assert choose({"old": slow, "new": fast}, "old") is None


def test_what_slows_the_machine_for_a_while_slows_both():
    busy = np.repeat([1.0, 5.0], 20)
    samples = {"old": list(1.2 * busy), "new": list(1.0 * busy)}
    assert choose(samples, "old").ratio.value == pytest.approx(1.2)
