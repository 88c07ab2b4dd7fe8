import tensorflow as tf

from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.execution import private
from tf_einsum_grad.execution.vjp import Rule, contract, eager_rule
from tf_einsum_grad.lowering.contraction import Contraction

SIZES = {"i": 2, "j": 3, "k": 4}


def contraction(text, dtype="float32"):
    equation = parse_equation(text)
    return Contraction.of(equation, {x: SIZES[x] for x in equation.labels}, dtype, "eager")


def test_kernels_of_a_rule_are_not_recorded():
    """A tape would keep what they leave on the way."""
    rule = Rule(contraction("ij,jk->ik"))
    recorded, run = [], rule.run

    def watched(*operands):
        recorded.append(private.recording())
        return run(*operands)

    rule.run = watched
    operands = tf.ones([2, 3]), tf.ones([3, 4])
    contract(rule, operands)
    with tf.GradientTape() as tape:
        tape.watch(operands[0])
        y = contract(rule, operands)
        assert private.recording()
    assert recorded == [False, False]
    assert tape.gradient(y, operands[0]).numpy().tolist() == [[4.0] * 3] * 2


def test_transposes_are_made_for_operands_that_need_one():
    rule = Rule(contraction("ij,jk->ik"))
    operands = tf.ones([2, 3]), tf.ones([3, 4])
    for k in (1, 0):
        with tf.GradientTape() as tape:
            tape.watch(operands[k])
            y = contract(rule, operands)
        assert tape.gradient(y, operands[k]).shape == operands[k].shape
        assert list(rule.transposes) == [1, 0][: 2 - k]
        assert rule.transposes[k] is eager_rule(rule.contraction.transpose(k))


def test_integers_are_not_recorded():
    rule = Rule(contraction("ij,jk->ik", "int32"))
    assert not rule.differentiable
    operands = tf.ones([2, 3], tf.int32), tf.ones([3, 4], tf.int32)
    with tf.GradientTape() as tape:
        tape.watch(operands)
        y = contract(rule, operands)
    assert tape.gradient(y, operands[0]) is None and not rule.transposes
