"""`ci/fuzz`, briefly: that it finds what is wrong, and says where."""

import json
import runpy
from pathlib import Path

import pytest
import tensorflow as tf

from tests.corpus import case
from tests.modes import EAGER, STATIC

FUZZ = runpy.run_path(str(Path(__file__).parents[1] / "ci" / "fuzz.py"))
SOME = [case("ab,bc->ac"), case("aab->ba"), case("a->aa")]


@pytest.mark.parametrize("mode", [EAGER, STATIC], ids=str)
def test_what_is_right_passes(mode):
    FUZZ["valid"](SOME, mode)
    FUZZ["invalid"](("ij,jk->ik", [[2, 3], [4, 5]], {}), mode)
    FUZZ["invalid"](("ij,jk", [[2, 3], [3, 5]], {}), mode)


def test_what_is_wrong_does_not(monkeypatch):
    wrong = FUZZ["Case"]("ab,bc->ac", ((2, 3), (3, 4)))
    monkeypatch.setitem(FUZZ["valid"].__globals__, "all_orders", lambda *_: {"value": tf.zeros([])})
    monkeypatch.setitem(
        FUZZ["valid"].__globals__, "first_order", lambda *_: {"value": tf.zeros([])}
    )
    with pytest.raises(AssertionError, match="ab,bc->ac"):
        FUZZ["valid"]([wrong], EAGER)


def test_a_case_is_read_as_it_was_printed():
    for one in SOME:
        assert FUZZ["from_json"](FUZZ["to_json"](one)) == one


def test_an_error_of_another_kind_is_a_failure(capsys, monkeypatch):
    def einsum(*_, **__):
        raise TypeError("something else")

    monkeypatch.setitem(FUZZ["invalid"].__globals__, "einsum", einsum)
    FUZZ["_hunt"]("invalid", 0, 5, 1, lambda call: FUZZ["invalid"](call, EAGER), FUZZ["spoiled"]())
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = [line for line in told if line["kind"] == "failed"]
    assert failed[0]["error"] == "TypeError: something else"
    assert told[-1] == {"kind": "count", "what": "invalid", "n": 0}
