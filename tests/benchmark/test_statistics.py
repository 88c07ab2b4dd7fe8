import math

import numpy as np
import pytest

from tf_einsum_grad.benchmark.statistics import Ratio, geometric_mean, paired_ratio, summarize


def test_summary_is_the_median_and_the_quartiles():
    timing = summarize([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (timing.median, timing.low, timing.high, timing.repeats) == (3.0, 2.0, 4.0, 5)


def test_what_slows_both_cancels():
    load = np.array([1.0, 7.0, 1.0, 3.0, 1.0, 9.0])
    ratio = paired_ratio(2.0 * load, load)
    assert ratio == Ratio(2.0, 2.0, 2.0)


def test_the_interval_holds_the_true_ratio_and_narrows_with_more_samples():
    rng = np.random.default_rng(0)

    def measure(n):
        return paired_ratio(rng.lognormal(math.log(3), 0.2, n), rng.lognormal(0, 0.2, n))

    few, many = measure(10), measure(1000)
    assert many.low < 3.0 < many.high
    assert few.high - few.low > 3 * (many.high - many.low)
    hits = [r.low <= 3.0 <= r.high for r in (measure(25) for _ in range(200))]
    assert np.mean(hits) > 0.88


def test_a_ratio_fell_only_beyond_the_noise_of_both():
    old = Ratio(2.0, 1.9, 2.1)
    assert Ratio(1.5, 1.4, 1.6).fell_since(old)
    assert not Ratio(1.85, 1.75, 1.95).fell_since(old)
    assert not Ratio(3.0, 2.9, 3.1).fell_since(old)


def test_geometric_mean():
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([]))
