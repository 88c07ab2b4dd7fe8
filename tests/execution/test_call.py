import tensorflow as tf

from tf_einsum_grad import einsum
from tf_einsum_grad.execution import call


def test_an_eager_call_is_planned_as_such(monkeypatch):
    """Without options, with options, and where a tensor stands for a size."""
    targets = []

    def make_plan(*arguments, **keywords):
        targets.append(arguments[5])
        return plan(*arguments, **keywords)

    plan = call.make_plan
    monkeypatch.setattr(call, "make_plan", make_plan)
    x = tf.ones([3, 41])
    for options in ({}, {"optimize": False}, {"sizes": {"k": tf.constant(2)}}):
        einsum("ij->ijk" if "sizes" in options else "ij->ji", x, **options)
    assert targets == ["eager"] * 3
