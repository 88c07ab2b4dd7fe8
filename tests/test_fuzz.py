"""`ci/fuzz`, briefly: that it finds what is wrong, and says where."""

import json
import random
import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tests import calls
from tests.calls import Call, random_call
from tests.corpus import case
from tests.modes import EAGER, STATIC, XLA

FUZZ = runpy.run_path(str(Path(__file__).parents[1] / "ci" / "fuzz.py"))
SOME = [Call(c.equation, c.shapes) for c in map(case, ("ab,bc->ac", "aab->ba", "a->aa"))]


@pytest.mark.parametrize("mode", [EAGER, STATIC], ids=str)
def test_what_is_right_passes(mode):
    FUZZ["valid"](SOME, mode)
    FUZZ["invalid"](("ij,jk->ik", [[2, 3], [4, 5]], {}), mode)
    FUZZ["invalid"](("ij,jk", [[2, 3], [3, 5]], {}), mode)


def test_what_is_wrong_does_not(monkeypatch):
    wrong = Call("ab,bc->ac", ((2, 3), (3, 4)))
    monkeypatch.setitem(FUZZ["valid"].__globals__, "all_orders", lambda *_: {"value": tf.zeros([])})
    monkeypatch.setitem(
        FUZZ["valid"].__globals__, "first_order", lambda *_: {"value": tf.zeros([])}
    )
    with pytest.raises(AssertionError, match="ab,bc->ac"):
        FUZZ["valid"]([wrong], EAGER)


def test_a_call_is_read_as_it_was_printed():
    rng = random.Random(0)
    for _ in range(50):
        call = random_call(rng, EAGER)
        assert FUZZ["read"](FUZZ["show"](call)) == call


@pytest.mark.parametrize("mode", [EAGER, STATIC, XLA], ids=str)
def test_random_calls_are_right(mode):
    rng = random.Random(1)
    FUZZ["valid"]([random_call(rng, mode) for _ in range(12)], mode, 1)


def test_attention_is_right_and_what_is_not_is_seen(monkeypatch):
    FUZZ["attends"](random.Random(0), EAGER)
    monkeypatch.setitem(FUZZ["attends"].__globals__, "reference", lambda *_: np.zeros([]))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        FUZZ["attends"](random.Random(0), EAGER)


def test_a_wrong_call_is_stripped_of_what_it_is_wrong_without(monkeypatch):
    def einsum(*arguments, recompute=False, **options):
        return tf.zeros([]) if recompute else teg.einsum(*arguments, **options)

    monkeypatch.setattr(calls, "einsum", einsum)
    options = ("optimize", False), ("recompute", True)
    wrong = Call("a->a", ((2,),), options=options, within=("cond", "scan"))
    found, _ = FUZZ["smallest"](wrong, EAGER, 0)
    assert found == Call("a->a", ((2,),), options=options[1:])


def test_an_error_of_another_kind_is_a_failure(capsys, monkeypatch):
    def einsum(*_, **__):
        raise TypeError("something else")

    monkeypatch.setitem(FUZZ["invalid"].__globals__, "einsum", einsum)
    FUZZ["_hunt"](0, 5, EAGER)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = [line for line in told if line["kind"] == "failed"]
    assert failed[0]["error"] == "TypeError: something else"
    assert told[-1] == {"kind": "count", "what": "invalid", "n": 0}
