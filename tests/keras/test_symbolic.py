"""`einsum` on `keras.Input`s: shapes of random equations, errors at build time, saved models."""

import random

import keras
import numpy as np
import pytest

import tf_einsum_grad as teg
from tf_einsum_grad.keras import symbolic
from tf_einsum_grad.keras.symbolic import EinsumOperation

LABELS = "abcdXYZ"


def _random_call(rng):
    """An equation, shapes that fit it, and NumPy's output shape."""
    sizes = {label: rng.randint(1, 4) for label in LABELS}
    ellipsis_dims = [rng.randint(1, 3) for _ in range(rng.randint(0, 2))]
    inputs, shapes = [], []
    for _ in range(rng.randint(1, 3)):
        labels = rng.choices(LABELS, k=rng.randint(0, 4))
        shape = [sizes[x] for x in labels]
        if rng.random() < 0.15:  # a dimension of size 1 that broadcasts
            single = [x for x in labels if labels.count(x) == 1]
            if single:
                shape[labels.index(rng.choice(single))] = 1
        if rng.random() < 0.4:
            at = rng.randint(0, len(labels))
            labels.insert(at, "...")
            dims = ellipsis_dims[rng.randint(0, len(ellipsis_dims)) :]
            shape[at:at] = [1 if rng.random() < 0.2 else d for d in dims]
        inputs.append("".join(labels))
        shapes.append(tuple(shape))
    used = sorted(set("".join(inputs).replace(".", "")))
    equation = ",".join(inputs)
    dots = "..." if any("..." in s for s in inputs) else ""
    if dots or rng.random() < 0.7:
        output = rng.sample(used, rng.randint(0, len(used)))
        if dots:
            output.insert(rng.randint(0, len(output)), dots)
        equation += "->" + "".join(output)
    arrays = [np.ones(shape, "float32") for shape in shapes]
    expected = np.einsum(equation, *arrays).shape
    if rng.random() < 0.3:
        equation = " ".join(equation.replace("...", "_").replace("->", ">"))
        equation = equation.replace("_", "...").replace(">", "->")
    return equation, shapes, expected


def test_shapes_of_random_equations():
    rng = random.Random(0)
    seen = set()
    for _ in range(1500):
        equation, shapes, expected = _random_call(rng)
        seen.add(equation)
        result = teg.einsum(equation, *(keras.KerasTensor(s) for s in shapes))
        assert result.shape == expected, (equation, shapes)
        # With some sizes unknown: what is known is right.
        hidden = [tuple(None if rng.random() < 0.3 else d for d in s) for s in shapes]
        partial = teg.einsum(equation, *(keras.KerasTensor(s) for s in hidden)).shape
        assert len(partial) == len(expected), (equation, hidden)
        assert all(p in (None, e) for p, e in zip(partial, expected, strict=True)), (
            equation,
            hidden,
        )
    assert len(seen) > 1200


def test_values_of_random_models():
    rng = random.Random(1)
    n_built = 0
    while n_built < 25:
        equation, shapes, expected = _random_call(rng)
        if not all(shapes) or 0 in sum(shapes, ()):
            continue
        n_built += 1
        inputs = [keras.Input(batch_shape=s) for s in shapes]
        model = keras.Model(inputs, teg.einsum(equation, *inputs))
        arrays = [np.random.default_rng(n_built).normal(size=s).astype("float32") for s in shapes]
        result = model(arrays)
        assert result.shape == expected
        np.testing.assert_allclose(result, np.einsum(equation, *arrays), rtol=1e-4, atol=1e-4)


def test_a_functional_model_is_saved_loaded_and_fitted(tmp_path):
    x, y = keras.Input([3, 4]), keras.Input([4, 5])
    w = np.arange(10, dtype="float32").reshape(5, 2)
    z = teg.einsum("bij,bjk,kl->bil", x, y, w, optimize="greedy", size_hints={"b": 4})
    z = teg.einsum("...l->...lm", z, sizes={"m": 2}, name="widen")
    model = keras.Model([x, y], keras.layers.Dense(1)(z))
    arrays = [np.random.rand(8, 3, 4), np.random.rand(8, 4, 5)]
    model.compile("sgd", "mse")
    model.fit(arrays, np.ones([8, 3, 2, 1]), verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded(arrays), model(arrays), rtol=1e-5)
    assert loaded.output_shape == (None, 3, 2, 1)
    for m in (model, loaded):
        first, second = (op for op in m.operations if isinstance(op, EinsumOperation))
        assert (first.optimize, first.size_hints, first.sizes) == ("greedy", {"b": 4}, None)
        assert (second.name, second.sizes) == ("widen", {"m": 2})


def test_options_reach_einsum(monkeypatch):
    seen = []
    monkeypatch.setattr(
        symbolic, "run_call", lambda *args, **_: seen.append(args[2:]) or args[1][0]
    )
    x = keras.Input([3])
    y = teg.einsum("bi,bi,i->bi", x, x, np.ones(3), optimize="greedy", size_hints={"b": 4})
    keras.Model(x, y)(np.ones([2, 3], "float32"))
    assert seen == [("greedy", None, {"b": 4})]


def test_sublists_and_variables():
    x = keras.Input([3, 4])
    v = keras.Variable(np.ones([4, 2], "float32"))
    y = teg.einsum(x, [..., 1], v, [1, 2], [..., 2])
    assert y.shape == (None, 3, 2)
    np.testing.assert_allclose(keras.Model(x, y)(np.ones([5, 3, 4])), np.full([5, 3, 2], 4.0))


def test_names_as_labels(tmp_path):
    x, y = keras.Input([3, 4]), keras.Input([5, 4])
    named = ["query", "head"], ["key", "head"]
    scores = teg.einsum(x, ["batch", *named[0]], y, ["batch", *named[1]], ["batch", "query", "key"])
    assert scores.shape == (None, 3, 5)
    model = keras.Model([x, y], scores)
    values = np.arange(24.0).reshape(2, 3, 4), np.arange(40.0).reshape(2, 5, 4)
    wanted = np.einsum("bqh,bkh->bqk", *values)
    np.testing.assert_allclose(model(values), wanted)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(values), wanted)
    with pytest.raises(teg.SizeError, match="one size for label 'head', got 4 in operand 0"):
        teg.einsum(x, [..., *named[0]], keras.Input([5, 6]), [..., *named[1]])
    new = teg.einsum(x, [..., "head"], [..., "new"], sizes={"new": 7})
    assert new.shape == (None, 3, 7)
    with teg.installed():
        assert keras.ops.einsum(values[0], [..., "a"], [...]).shape == (2, 3)


def test_arrays_and_lists_take_the_dtype_of_the_symbolic_operand():
    x = keras.Input([3])
    assert teg.einsum("bi,ij->bj", x, np.ones([3, 4])).dtype == "float32"
    assert teg.einsum("bi,i->b", x, [1, 2, 3]).dtype == "float32"
    with pytest.raises(teg.OperandError, match="int32 for operand 0 and float64 for operand 1"):
        teg.einsum("bi,i->b", keras.Input([3], dtype="int32"), np.ones(3))
    with teg.installed():
        assert keras.ops.einsum("bi,i->b", x, [1.0, 2.0, 3.0]).shape == (None,)


@pytest.mark.parametrize("number", [np.float64(2), np.float32(2), np.int64(2), np.float16(2), 2.0])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_take_the_dtype_of_the_symbolic_operand(number, dtype):
    x = keras.Input([3], dtype=dtype)
    y = teg.einsum("bi,->b", x, number)
    assert y.dtype == dtype and y.shape == (None,)
    result = keras.Model(x, y)(keras.ops.ones([4, 3], dtype))
    np.testing.assert_array_equal(keras.ops.cast(result, "float32"), np.full(4, 6.0))
    with teg.installed():
        assert keras.ops.einsum("bi,->b", x, number).shape == (None,)
    with pytest.raises(teg.OperandError, match="int32 for operand 0 and float64 for operand 1"):
        teg.einsum("bi,->b", keras.Input([3], dtype="int32"), np.float64(2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x, y: teg.einsum("bij,bik->bjk", x, y),
            teg.SizeError,
            "label 'i', got 3 in operand 0 .* and 4 in operand 1",
        ),
        (
            lambda x, y: teg.einsum("bij->b", y[..., 0]),
            teg.SizeError,
            "rank 3 for operand 0 .*got rank 2",
        ),
        (
            lambda x, y: teg.einsum("bii->b", x),
            teg.SizeError,
            "repeated label 'i' of operand 0, got 3 and 4",
        ),
        (lambda x, y: teg.einsum("bij->bk", x), teg.SizeError, "requires sizes={'k': ...}"),
        (lambda x, y: teg.einsum("bij,bjk", x), teg.EquationError, "requires 2 operands, got 1"),
        (
            lambda x, y: teg.einsum("bij->b", x, optimize="gredy"),
            teg.PathError,
            "name of an optimiser, got 'gredy'",
        ),
        (lambda x, y: teg.einsum("bi1", x), teg.EquationError, "letters, got '1'"),
        (
            lambda x, y: teg.einsum("bij,bjk->bik", x, keras.Input([4, 5], dtype="float16")),
            teg.OperandError,
            "one dtype, got float32 for operand 0 and float16 for operand 1",
        ),
    ],
)
def test_errors_come_at_build_time_and_name_the_label(call, error, message):
    with pytest.raises(error, match=message):
        call(keras.Input([3, 4]), keras.Input([4, 5]))
