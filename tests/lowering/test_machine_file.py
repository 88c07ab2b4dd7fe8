"""Machines as files: what is written is read, and what is wrong with one is said."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_einsum_grad.algebra.errors import MachineError
from tf_einsum_grad.lowering.machine_file import SCHEMA, Circumstances, read_machine, write_machine
from tf_einsum_grad.lowering.machines import CPU, MACHINES

HERE = Circumstances("a CPU", 2, True, "2.21.0", "3.15.0", "0.1.0")
TUNED = dataclasses.replace(
    CPU, name="tuned", winners={"ab->a": "matmul"}, compiled=frozenset({"a,a->"})
)
CONTENT = json.loads(write_machine(TUNED, HERE))


@pytest.mark.parametrize("machine", [*MACHINES.values(), TUNED], ids=lambda m: m.name)
def test_what_is_written_is_read(machine):
    read, circumstances = read_machine(write_machine(machine, HERE), "file")
    assert circumstances == HERE
    for field in dataclasses.fields(machine):
        assert getattr(read, field.name) == getattr(machine, field.name)


def test_a_file_is_the_same_every_time():
    many = dataclasses.replace(TUNED, compiled=frozenset("abcdefgh"))
    assert write_machine(many, HERE) == write_machine(dataclasses.replace(many), HERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": SCHEMA + 1}, f"requires schema {SCHEMA}, got {SCHEMA + 1}"),
        ({"schema": None}, f"requires schema {SCHEMA}, got None"),
        ({"rates": []}, "requires an object as rates, got list"),
        ({"rates": {"stream": 1.0}}, "requires each rate of a machine and no other, got a differ"),
        ({"name": 3}, "requires text as name, got int"),
        ({"winners": {"a->": 1}}, "requires text as winner of 'a->', got int"),
        ({"winners": None}, "requires an object as winners, got NoneType"),
        ({"compiled": "all"}, "requires a list as compiled, got str"),
        ({"compiled": [1]}, "requires text as compiled einsum, got int"),
        ({"circumstances": {}}, "requires str as device, got None"),
        ({"circumstances": None}, "requires an object as circumstances, got NoneType"),
    ],
)
def test_what_is_wrong_is_said(change, message):
    with pytest.raises(MachineError) as error:
        read_machine(json.dumps(CONTENT | change), "m.json")
    assert str(error.value).startswith(f"machine file 'm.json' {message}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, "a number from 0 on as stream, got -1.0"),
        ("fast", "a number from 0 on as stream, got 'fast'"),
        (True, "a number from 0 on as stream, got True"),
        (1e999, "JSON, got the number Infinity"),
        (0, "a number above 0 as stream, got 0"),
    ],
)
def test_no_rate_is_nonsense(value, message):
    text = json.dumps(CONTENT | {"rates": CONTENT["rates"] | {"stream": value}})
    with pytest.raises(MachineError) as error:
        read_machine(text, "m.json")
    assert str(error.value) == f"machine file 'm.json' requires {message}"


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "1", "[" * 100_000, "\ufeff{}", "\x00"])
def test_what_is_no_such_file_is_refused(text):
    with pytest.raises(MachineError, match=r"^machine file 'm.json' requires "):
        read_machine(text, "m.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(CONTENT)), JSON)
def test_whatever_stands_in_a_file_it_is_read_or_refused(key, value):
    try:
        machine, _ = read_machine(json.dumps(CONTENT | {key: value}), "m.json")
    except MachineError:
        return
    assert machine.stream == CPU.stream


@given(st.data())
def test_a_file_that_is_cut_off_is_refused(data):
    text = write_machine(TUNED, HERE)
    end = data.draw(st.integers(0, len(text) - 2))  # the last character ends the line
    with pytest.raises(MachineError):
        read_machine(text[:end], "m.json")


def test_circumstances_differ_in_words():
    other = dataclasses.replace(HERE, threads=4, tensorflow="2.20.0")
    assert HERE.differences(HERE) == []
    assert HERE.differences(other) == ["threads 2, here 4", "tensorflow 2.21.0, here 2.20.0"]
