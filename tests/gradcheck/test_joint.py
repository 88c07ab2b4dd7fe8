"""Many leaves at once: nothing is lost by it, and it costs little."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tests.gradcheck.cases import BUGS, CORRECT
from tests.gradcheck.helpers import names, with_gradient, x
from tf_einsum_grad.gradcheck import check_gradients, joint
from tf_einsum_grad.gradcheck.run import Run


def grouped(scales, kinds=None, amplitude=1.0, seed=0):
    kinds = kinds or [0] * len(scales)
    rng = np.random.default_rng(seed)
    return joint.groups(range(len(scales)), scales, kinds, amplitude, rng)


def test_leaves_of_a_group_contribute_alike():
    scales = 10.0 ** np.random.default_rng(0).uniform(-7, 2, 60)
    found = grouped(scales)
    assert sorted(leaf for group in found for leaf in group.leaves) == list(range(60))
    for group in found:
        shares = [w * scales[leaf] for leaf, w in zip(group.leaves, group.weights, strict=True)]
        assert max(shares) <= 3 * min(shares) * (1 + 1e-9)  # U[0.5, 1.5]
        assert max(group.weights) == 1.0 and group.share >= 1 / (3 * 32) * (1 - 1e-9)
        assert list(group.leaves) == sorted(group.leaves)


def test_leaves_are_kept_apart_by_kind_and_size():
    groups = [group.leaves for group in grouped([1.0, 1.0, 1.0, 1e-5, 0.0, 1e-12], "aabbbb")]
    assert groups == [(0, 1), (2,), (3,), (4, 5)]
    assert [group.leaves for group in grouped([0.0, 0.0], amplitude=0.0)] == [(0, 1)]
    assert grouped([]) == []


def test_halves_keep_all_leaves():
    (group,) = grouped([1.0, 2.0, 3.0, 4.0, 5.0])
    first, second = group.halves()
    assert first.leaves + second.leaves == group.leaves
    assert max(first.weights) == max(second.weights) == 1.0


@pytest.mark.parametrize("k", [5, 50])
def test_the_bound_holds_whatever_the_errors_of_the_others(k):
    # Errors of one fault that would cancel, were all weights the same; the tolerance of each is 1.
    errors, missed = np.array([k, -k, k / 3, -k / 3, k / 50]), 0
    for seed in range(4000):
        (group,) = grouped([1.0] * 5, seed=seed)
        signs = np.random.default_rng([seed, 1]).choice([-1, 1], 5)
        missed += abs(np.array(group.weights) * signs @ errors) <= 3 / 8 * group.share
    assert missed / 4000 <= 0.57 / k


# ------------------------------------------------------------------ both ways


@pytest.fixture(params=["together", "apart"])
def way(request, monkeypatch):
    if request.param == "apart":
        monkeypatch.setattr(Run, "_together", lambda self, at, leaves: [])
    return request.param


def among_others(case):
    """The case's function, with twelve right leaves beside its own."""
    fn, inputs, options = case
    others = [x(3, seed=i) * 10.0 ** (i % 3) for i in range(12)]
    single = not isinstance(inputs, tuple)

    def both(first, rest, **kwargs):
        outputs = fn(first, **kwargs) if single else fn(*first, **kwargs)
        return outputs, [tf.sin(v) for v in rest]

    return both, (inputs, others), {key: options[key] for key in options if key != "loss"}


@pytest.mark.parametrize("name", BUGS)
def test_every_planted_bug_is_caught_both_ways(name, way):
    make, statuses = BUGS[name]
    fn, inputs, options = among_others(make(0))
    report = check_gradients(fn, inputs, localize=False, **options)
    assert report.status in statuses, report.summary()
    own = [leaf.name for leaf in report.failed_leaves]
    assert own and not [name for name in own if name.startswith("rest")], report.summary()


@pytest.mark.parametrize("name", ["relu_at_ties", "mixed_float16", "large_offset_plus_tanh"])
def test_right_leaves_pass_both_ways(name, way):
    make, _ = CORRECT[name]
    fn, inputs, options = among_others(make(0))
    report = check_gradients(fn, inputs, **options)
    assert report.passed, report.summary()


# ------------------------------------------------------------------ what it costs


def deep(layers, wrong_at=None, activation="tanh"):
    keras.utils.set_random_seed(0)
    off = with_gradient(lambda h, b: h + b, lambda dy, h, b: (dy, 1.01 * tf.reduce_sum(dy, 0)))
    model = [L.Dense(8, activation) for _ in range(layers)]
    bias = tf.Variable(x(8, seed=5), name="off")

    def fn(v):
        for i, layer in enumerate(model):
            v = layer(v)
            v = off(v, bias) if i == wrong_at else v
        return v

    fn(x(4, 8))
    return fn


def test_a_right_model_costs_the_same_whatever_its_number_of_leaves():
    few, many = (check_gradients(deep(n), x(4, 8), variants="eager") for n in (3, 30))
    assert few.passed and many.passed
    assert len(many.leaves) >= 60 and many.evaluations <= few.evaluations + 16 < 60


def test_a_wrong_leaf_costs_the_logarithm_of_their_number():
    report = check_gradients(deep(30, wrong_at=12), x(4, 8), variants="eager", localize=False)
    assert names(report, "FAIL") == ["off"], report.summary()
    assert report.evaluations < 400  # alone, each of 62 leaves takes eight or more


def test_numbers_of_leaves_that_were_tested_together():
    report = check_gradients(deep(4), x(4, 8), variants="eager")
    for leaf in report.leaves:
        assert leaf.numeric == pytest.approx(leaf.analytic, rel=1e-3, abs=1e-5)
        assert leaf.abs_error <= leaf.tolerance


def test_rounding_of_many_leaves_is_not_tested_by_halves():
    # Native gradients are off by more than rtol, as those of ill-conditioned layers are.
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8,))]
    for _ in range(8):
        layers += [L.Dense(8, use_bias=False), L.BatchNormalization(), L.Activation("gelu")]
    report = check_gradients(keras.Sequential(layers), x(3, 8), training=True)
    assert report.passed, report.summary()
    assert report.evaluations < 400
