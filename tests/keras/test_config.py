"""Options of an einsum that go into a config, through JSON, and come back."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.keras import Einsum, EinsumOperation

EQUATION = "bi,bj,bk->bijk"
PATH = [[0, 1], [0, 1]]
ARRAYS = [np.ones([2, n], "float32") for n in (2, 3, 4)]


@keras.saving.register_keras_serializable("tests")
def right_to_left(inputs, output, sizes, memory_limit=None):
    """An optimiser that people can write."""
    right_to_left.n_calls += 1
    return [(len(inputs) - 1 - k, len(inputs) - 2 - k) for k in range(len(inputs) - 1)]


right_to_left.n_calls = 0


@pytest.mark.parametrize("cls", [Einsum, EinsumOperation])
@pytest.mark.parametrize(
    ("given", "back"),
    [
        ({"optimize": "greedy"}, {}),
        ({"optimize": None}, {}),
        ({"optimize": False}, {}),
        ({"optimize": ("greedy", 1000)}, {"optimize": ["greedy", 1000]}),
        ({"optimize": [(np.int64(0), 1), (0, 1)]}, {"optimize": PATH}),
        ({"optimize": ("einsum_path", (0, 1), (0, 1))}, {"optimize": ["einsum_path", *PATH]}),
        ({"optimize": right_to_left}, {}),
        ({"sizes": {"l": np.int64(5)}, "size_hints": {"b": np.int8(4)}}, {}),
        ({"sizes": {"l": tf.constant(5)}}, {"sizes": {"l": 5}}),
        ({"sizes": {"...": (2, np.int64(3))}}, {"sizes": {"...": [2, 3]}}),
    ],
)
def test_options_come_back(cls, given, back):
    equation = EQUATION + "".join(given.get("sizes", ""))
    first = cls(equation, **given, name="contraction")
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(first)))
    again = keras.saving.deserialize_keras_object(saved)
    assert type(again) is cls and again.name == "contraction" and again.equation == equation
    for option in ("optimize", "sizes", "size_hints"):
        assert getattr(again, option) == {**given, **back}.get(
            option, getattr(cls(EQUATION), option)
        )
    results = [op(ARRAYS) if cls is Einsum else op(*ARRAYS) for op in (first, again)]
    np.testing.assert_array_equal(*results)


def test_a_loaded_optimiser_is_asked():
    saved = keras.saving.serialize_keras_object(Einsum(EQUATION, optimize=right_to_left))
    layer = keras.saving.deserialize_keras_object(saved)
    before = right_to_left.n_calls
    layer(ARRAYS)
    assert right_to_left.n_calls > before


def test_an_optimiser_that_keras_does_not_know_is_an_error_in_its_words():
    def unregistered(inputs, output, sizes, memory_limit=None):
        return [(0, 1), (0, 1)]

    saved = keras.saving.serialize_keras_object(Einsum(EQUATION, optimize=unregistered))
    with pytest.raises(TypeError, match="Could not locate function 'unregistered'"):
        keras.saving.deserialize_keras_object(saved)
    saved = keras.saving.serialize_keras_object(Einsum(EQUATION, optimize=lambda *a: [(0, 1)] * 2))
    with pytest.raises(ValueError, match="safe_mode=False"):
        keras.saving.deserialize_keras_object(saved, safe_mode=True)


@pytest.mark.parametrize("cls", [Einsum, EinsumOperation])
def test_a_size_that_nobody_knows_cannot_be_saved(cls):
    @tf.function
    def config(n):
        return cls("i->ij", sizes={"j": n}).get_config()

    with pytest.raises(teg.SizeError, match=r"requires sizes that are integers, got \{'j': "):
        config(tf.constant(3))


def test_a_layer_that_casts_nothing_goes_on_so():
    layer = Einsum("bi,bi->b", dtype="mixed_float16", autocast=False)
    again = Einsum.from_config(layer.get_config())
    x = np.ones([2, 3], "float32")
    assert layer([x, x]).dtype == again([x, x]).dtype == "float32"
    assert Einsum.from_config({"equation": "bi,bi->b"}).optimize == "auto"
