"""`tune` on this machine: with a clock that is made up where something has to be faster."""

import dataclasses
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.algebra.errors import MachineError, OperandError
from tf_einsum_grad.execution import machines
from tf_einsum_grad.execution.here import circumstances
from tf_einsum_grad.lowering.lower import candidates
from tf_einsum_grad.lowering.machine_file import write_machine
from tf_einsum_grad.lowering.machines import CPU, machine_here, using
from tf_einsum_grad.tuning import candidates as timing
from tf_einsum_grad.tuning import tune as tuning
from tf_einsum_grad.tuning.collect import collect
from tf_einsum_grad.tuning.result import Tuning
from tf_einsum_grad.tuning.tune import tune

EQUATION, SHAPES = "bij,bjk->bik", ((4, 8, 16), (4, 16, 8))
OPERANDS = [tf.random.stateless_normal(shape, [0, k]) for k, shape in enumerate(SHAPES)]


def product(a, b):
    return teg.einsum(EQUATION, a, b)


@pytest.fixture
def rigged(monkeypatch):
    """The last candidate is the fastest, and XLA's einsum is faster than its steps."""

    def time_candidates(contraction, effort, chosen):
        listed = list(dict.fromkeys(candidates(contraction)))
        return {x: [2.0 - (x == listed[-1])] * 3 for x in listed}

    def interleave(passes, effort):
        return {name: [1.0 if name == "compiled" else 2.0] * 3 for name in passes}

    monkeypatch.setattr(tuning, "time_candidates", time_candidates)
    monkeypatch.setattr(tuning, "interleave", interleave)


@pytest.mark.parametrize("mode", ["graph", "eager", "xla"])
def test_a_functions_contractions_are_found_forward_and_back(mode):
    """Of one that has to be permuted: XLA has but one way to multiply what is in order."""
    scores, operands = "bthd,bshd->bhts", [tf.ones([2, 3, 4, 5]), tf.ones([2, 6, 4, 5])]
    seen = collect(lambda a, b: teg.einsum(scores, a, b), operands, CPU, mode)
    equations = [str(c.equation) for c in seen.contractions]
    assert equations == ["abcd,aecd->acbe", "abcd,adbe->acbe", "abcd,acbe->aecd"]
    assert {(c.target, c.machine) for c in seen.contractions} == {(mode, CPU)}
    assert [call.text for call in seen.calls] == ([scores] if mode != "xla" else [])


def test_what_a_graph_decided_before_is_found_as_well():
    tf.function(product)(*OPERANDS)
    assert len(collect(product, OPERANDS, machine_here(), "graph").contractions) == 3


def test_gradients_that_nobody_needs_are_not_looked_at():
    frozen = tf.Variable(OPERANDS[1], trainable=False)
    kernel = tf.Variable(OPERANDS[1])
    seen = collect(lambda x: product(x, frozen), OPERANDS[:1], CPU, "eager")
    assert [str(c.equation) for c in seen.contractions] == ["abc,acd->abd", "abc,adc->abd"]
    seen = collect(lambda x: product(x, kernel), OPERANDS[:1], CPU, "eager")
    assert len(seen.contractions) == 3  # a tape that follows the input asks for both


def test_a_model_is_not_changed():
    layers = [teg.keras.EinsumDense("bd,de->be", 4), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,), batch_size=2), *layers, keras.layers.Dropout(0.5)])
    before = [variable.numpy() for variable in model.variables]
    seen = collect(model, [np.ones([2, 3], "float32")], CPU, "graph")
    assert len(seen.contractions) >= 2
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("names", [False, True])
def test_a_model_of_several_inputs_is_called_as_keras_does(names):
    a, b = keras.Input((8, 16), batch_size=4), keras.Input((16, 8), batch_size=4)
    given = {"a": a, "b": b} if names else [a, b]
    model = keras.Model(given, product(a, b))
    inputs = [dict(zip("ab", OPERANDS, strict=True))] if names else OPERANDS
    assert len(collect(model, inputs, CPU, "graph").contractions) == 3


def test_a_module_is_called_as_it_is():
    module = tf.Module()
    module.w = tf.Variable(tf.ones([4, 4]))

    class Module(tf.Module):
        def __call__(self, x):
            return teg.einsum("ij,jk->ik", x, module.w)

    assert collect(Module(), [tf.ones([2, 4])], machine_here(), "graph").calls


def test_unknown_sizes_take_no_part():
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 16]), tf.TensorSpec([None, 16, 8])])
    def unknown(a, b):
        return product(a, b)

    assert collect(unknown, OPERANDS, CPU, "graph").contractions == ()


def test_candidates_are_timed_in_turn_and_what_runs_always():
    c = collect(product, OPERANDS, CPU, "eager").contractions[0]
    slowest = candidates(c)[-1]
    times = timing.time_candidates(c, timing.Effort(2, 0.0, 2), slowest)
    assert slowest in times
    assert set(times) <= set(candidates(c))
    assert len({len(samples) for samples in times.values()}) == 1


@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_winners_run_and_nothing_but_rounding_changes(rigged, mode, tmp_path):
    path = tmp_path / "machine.json"
    found = tune(product, OPERANDS, seconds=0.1, path=path, mode=mode)
    assert found.measured == 4
    assert len(found.machine.winners) + len(found.machine.compiled) == len(found.changes) > 1
    want = product(*OPERANDS)

    def run(*operands):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = product(*operands)
        return result, tape.gradient(result, operands)

    with teg.machine(path) as machine:
        assert (machine.winners, machine.compiled) == (
            found.machine.winners,
            found.machine.compiled,
        )
        got, gradients = run(*OPERANDS) if mode == "eager" else tf.function(run)(*OPERANDS)
        graph = tf.function(product).get_concrete_function(*OPERANDS).graph
    kinds = {op.type for op in graph.get_operations()}
    assert ("PartitionedCall" in kinds or "StatefulPartitionedCall" in kinds) == (mode == "graph")
    np.testing.assert_allclose(got, want, rtol=1e-5)
    ones = np.ones_like(want)
    a, b = (x.numpy() for x in OPERANDS)
    np.testing.assert_allclose(gradients[0], np.einsum("bik,bjk->bij", ones, b), rtol=1e-5)
    np.testing.assert_allclose(gradients[1], np.einsum("bij,bik->bjk", a, ones), rtol=1e-5)


def test_a_winner_is_what_a_contraction_is_lowered_to():
    (c, *_) = collect(product, OPERANDS, CPU, "graph").contractions
    for candidate in candidates(c):
        tuned = dataclasses.replace(CPU, winners={c.signature: candidate.recipe})
        with using(tuned):
            (found, *_) = collect(product, OPERANDS, tuned, "graph").contractions
        assert tuning.lower(found) == candidate
    unknown = dataclasses.replace(CPU, winners={c.signature: "of another version"})
    assert tuning.lower(dataclasses.replace(c, machine=unknown)) == tuning.lower(c)


def test_an_einsum_that_is_compiled_differentiates_to_second_order():
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    with using(CPU):
        seen = collect(lambda x: teg.einsum("ij,ij->", x, x), [x], CPU, "graph")
    call = seen.calls[0]
    change = tuning._compare_compiled(call, CPU, tuning.Effort(1, 0.0, 1))
    what = change.what if change else "ab,ab-> a=2 b=2 float32 graph"
    with using(dataclasses.replace(CPU, compiled=frozenset({what}))):

        @tf.function
        def hessian(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = teg.einsum("ij,ij->", x, x)
                g = tape.gradient(y, x)
            return outer.jacobian(g, x)

        np.testing.assert_allclose(tf.reshape(hessian(x), [4, 4]), 2 * np.eye(4))


def test_without_arguments_it_fits_rates(monkeypatch):
    monkeypatch.setattr(tuning, "time_probe", lambda probe, effort: 1000.0)
    found = tune(seconds=1)
    assert found.machine.name == f"{machine_here().name}, measured"
    assert found.machine.dot != machine_here().dot
    assert str(found).startswith("the rates of ")


def test_a_table_says_what_changed(rigged):
    found = tune(product, OPERANDS, seconds=0.1)
    head, rows = found.table()
    assert head == ["what", "was", "is", "before", "after", "faster"]
    assert rows[0][3:] == ["2.00 s", "1.00 s", "2.00x (2.00 to 2.00)"]
    assert rows[0][0] in str(found)
    assert f"of 4 measured, {len(rows)} has something faster" in str(found)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((product, OPERANDS), {"seconds": 0}, "tune requires more than 0 seconds, got 0"),
        ((product, OPERANDS), {"seconds": float("nan")}, "more than 0 seconds, got nan"),
        ((product, OPERANDS), {"mode": "fast"}, r"a mode among .* got 'fast'"),
        ((None, OPERANDS), {}, "a function or a model for inputs, got none"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, options, message):
    with pytest.raises(MachineError, match=message):
        tune(*arguments, **options)


def test_an_input_that_is_no_tensor_is_refused():
    with pytest.raises(OperandError, match="tensors or arrays as inputs, got object for input 1"):
        tune(product, [OPERANDS[0], object()], seconds=0.1)


def test_a_folder_that_is_not_there_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(tuning, "collect", lambda *_: pytest.fail("it was"))
    with pytest.raises(OSError, match="no directory"):
        tune(product, OPERANDS, path="/nowhere/at/all.json")


# Machines by name and by file --------------------------------------------------------------------


def test_a_machine_has_a_name_or_a_file(tmp_path):
    path = tmp_path / "m.json"
    found = Tuning(dataclasses.replace(CPU, name="mine"), circumstances(), 0, ())
    found.save(path)
    with teg.machine(path) as machine, found.using():
        assert (machine.name, machine_here()) == ("mine", found.machine)
    with teg.machine("gpu") as machine:
        assert machine_here() is machine
        assert "on GPU" in str(teg.explain("ij,jk->ik", (2, 3), (3, 4)))


def test_a_file_from_elsewhere_is_refused(tmp_path):
    path = tmp_path / "m.json"
    there = dataclasses.replace(circumstances(), device="an abacus", tf_einsum_grad="0.0.1")
    path.write_text(write_machine(CPU, there))
    with pytest.raises(MachineError) as error, teg.machine(path):
        pass
    here = circumstances()
    assert str(error.value) == (
        f"machine file {str(path)!r} requires the machine that it was made on, got another: device "
        f"an abacus, here {here.device}; tf_einsum_grad 0.0.1, here {here.tf_einsum_grad}; "
        "`tf-einsum-grad tune` makes one for this"
    )


@pytest.mark.parametrize("name", ["tpu", "/nowhere.json", ".", "\0"])
def test_what_is_neither_is_refused(name):
    with pytest.raises(MachineError, match="or a file that `tune` wrote, got "), teg.machine(name):
        pass


PROGRAM = """
import tensorflow as tf, tf_einsum_grad as teg
from tf_einsum_grad.lowering.machines import machine_here
try:
    teg.einsum("i,i->", [1.0], [2.0])
    print(machine_here().name)
except teg.EinsumError as error:
    print(error)
"""


@pytest.mark.parametrize("content", [None, "{"])
def test_a_variable_of_the_environment_says_it_for_a_program(tmp_path, content):
    path = tmp_path / "m.json"
    found = Tuning(dataclasses.replace(CPU, name="mine"), circumstances(), 0, ())
    path.write_text(content or write_machine(found.machine, found.circumstances))
    environment = os.environ | {machines.VARIABLE: str(path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    wanted = "requires JSON, got" if content else "mine"
    assert wanted in done.stdout
    assert content or json.loads(path.read_text())["name"] == "mine"
