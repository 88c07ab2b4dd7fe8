"""What a profile finds, in every kind of model, by a clock that was made up."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.profiling.report import Profile
from tf_einsum_grad.profiling.steps import make_step, read_subject

SCORES = "BTNH,BSNH->BNTS"


def attention_model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 8), name="x")
    for k in range(2):
        x = x + keras.layers.MultiHeadAttention(2, 4, name=f"attention_{k}")(x, x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Dropout(0.5, seed=1)(x)
        x = keras.layers.Dense(8, name=f"dense_{k}")(x)
    return keras.Model(inputs, x, name="net")


def rows_of(found):
    return {(r.product.path, r.product.equation): r for r in found.rows}


def test_every_layer_of_a_keras_model_is_named_and_counted():
    found = teg.profile(attention_model(), np.ones([3, 6, 8], "float32"))
    rows = rows_of(found)
    for k in range(2):
        name = f"attention_{k}"
        assert rows[name, SCORES].product.needed == (0, 1)
        # The first layer's input is data, whose gradient nobody needs.
        assert rows[f"{name}/query", "abc,cde->abde"].product.needed == ((1,) if k == 0 else (0, 1))
        assert rows[f"{name}/attention_output", "abcd,cde->abe"].product.needed == (0, 1)
        assert rows[f"dense_{k}", "ij,jk->ik"].product.call == "matmul"
    assert len(found.rows) == 14
    assert found.name == "net" and found.training
    # By the clock, each of forward and two gradients takes 3 ms, and 1 ms with ours.
    row = rows["attention_0", SCORES]
    assert [t.what for t in row.times] == ["forward", "gradient 0", "gradient 1"]
    assert row.native("graph") == pytest.approx(9e-3) and row.ours("graph") == pytest.approx(3e-3)
    assert row.flops == 3 * 2 * 3 * 2 * 6 * 6 * 4
    assert "gradient 0 permutes" in row.why and "forward permutes" in row.why
    # What installing leaves alone saves nothing, and stands last.
    assert [r.product.call for r in found.rows[-2:]] == ["matmul"] * 2
    assert found.rows[-1].saved("graph") == 0


def test_nothing_is_changed():
    model = attention_model()
    before = [v.numpy() for v in model.variables]
    tf.random.set_seed(1)
    first = tf.random.uniform([3])
    tf.random.set_seed(1)
    teg.profile(model, np.ones([3, 6, 8], "float32"))
    np.testing.assert_array_equal(tf.random.uniform([3]), first)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert tf.einsum.__module__.startswith("tensorflow")


def test_the_two_steps_are_compared_and_what_is_left_is_said():
    # Rows that differ: BatchNormalization of equal ones divides rounding by nearly 0.
    x = np.random.default_rng(0).normal(size=[3, 6, 8]).astype("float32")
    found = teg.profile(attention_model(), x, modes=("graph", "eager"))
    for step in found.steps:
        assert step.difference < 1e-4
        assert step.ratio.value == pytest.approx(3)
    assert (found.steps[0].native_bytes, found.steps[1].native_bytes) == (1000, None)
    rows = sum(row.native("graph") for row in found.rows)
    assert found.remainder("graph") == pytest.approx(3e-3 - rows)
    text = str(found)
    assert "a step of training takes 3.00 ms as it is, 1.00 ms installed: 3.00x" in text
    assert "is in none of the rows" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_wrong_einsum_would_be_noted(monkeypatch):
    from tf_einsum_grad.profiling import profile as module

    real = module.make_step

    def wrong(subject, mode, ours):
        step = real(subject, mode, ours)
        return (lambda: [1.5 * x for x in step()]) if ours else step

    monkeypatch.setattr(module, "make_step", wrong)
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 4)))
    found = teg.profile(lambda x: tf.einsum("ij,kj->ik", x, x), x)
    assert found.steps[0].difference == pytest.approx(0.5)
    assert "differ by 5.0e-01" in str(found)


def test_a_function_with_every_kind_of_product():
    @tf.function
    def function(a, b):
        scores = teg.einsum("ij,kj->ik", a, b) + tf.matmul(a, b, transpose_b=True)
        return tf.tensordot(tf.linalg.einsum("ik,kj,kj->ij", scores, b, b), b, [[1], [1]])

    a, b = np.ones([3, 4], "float32"), np.ones([5, 4], "float32")
    function(a, b)  # traced before, which does not hide anything
    found = teg.profile(function, [a, b])
    seen = {(r.product.call, r.product.equation, r.product.shapes) for r in found.rows}
    assert seen == {
        ("tf_einsum_grad.einsum", "ij,kj->ik", ((3, 4), (5, 4))),
        ("matmul", "ij,kj->ik", ((3, 4), (5, 4))),
        ("tf.linalg.einsum", "ik,kj,kj->ij", ((3, 5), (5, 4), (5, 4))),
        ("matmul", "ij,jk->ik", ((3, 4), (4, 5))),
    }
    assert all(r.product.needed == tuple(range(len(r.product.shapes))) for r in found.rows)


def test_calls_in_one_place_are_one_row():
    w = tf.Variable(tf.ones([4, 4]))

    def function(x):
        for _ in range(3):
            x = tf.einsum("ij,jk->ik", x, w)
        return x

    (first, rest) = sorted(teg.profile(function, tf.ones([2, 4])).rows, key=lambda r: r.calls)
    # Nothing that has a gradient flows into the first.
    assert (first.calls, first.product.needed) == (1, (1,))
    assert (rest.calls, rest.product.needed) == (2, (0, 1))
    assert rest.native("graph") == pytest.approx(2 * 3 * 3e-3)


def test_a_loop_a_module_and_a_model_without_inputs_known():
    class Module(tf.Module):
        def __init__(self):
            self.w = tf.Variable(tf.ones([4, 4]))

        @tf.function
        def __call__(self, x):
            for _ in tf.range(3):
                x = tf.einsum("ij,jk->ik", x, self.w)
            return x

    (row,) = teg.profile(Module(), tf.ones([2, 4])).rows
    # What a turn makes flows into the next: both gradients.
    assert row.product.loop and row.product.needed == (0, 1)

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__(name="sub")
            self.dense = keras.layers.EinsumDense("ab,bc->ac", 3, name="inner")

        def call(self, x):
            return self.dense(x) @ tf.ones([3, 2])

    rows = rows_of(teg.profile(Subclassed(), np.ones([2, 4], "float32")))
    assert set(rows) == {("inner", "ab,bc->ac"), ("", "ij,jk->ik")}


def test_a_saved_model(tmp_path):
    module = tf.Module()
    module.w = tf.Variable(tf.ones([4, 5]))
    spec = tf.TensorSpec([2, 4], name="x")
    serve = tf.function(lambda x: {"y": tf.einsum("ij,jk->ik", x, module.w)}, [spec])
    tf.saved_model.save(module, tmp_path, signatures=serve)
    found = teg.profile(tf.saved_model.load(tmp_path), {"x": tf.ones([2, 4])}, training=False)
    (row,) = found.rows
    product = row.product
    assert (product.call, product.equation, product.needed) == ("Einsum", "ij,jk->ik", ())
    assert row.product.shapes == ((2, 4), (4, 5))
    assert "traced before" in str(found)


def test_what_cannot_be_timed_is_a_row_that_says_why():
    def function(x):
        some = tf.boolean_mask(x, tf.reduce_sum(x, 1) > 0)
        return tf.einsum("ij,kj->ik", some, some)

    (row,) = teg.profile(function, tf.ones([3, 4])).rows
    assert row.times == () and row.why == "sizes are unknown when it is traced"
    assert row.native("graph") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, tf.ones([2])), "requires a model or a function, got int"),
        ((tf.sin, object()), "tensors or arrays as inputs, got object for input 0"),
        ((tf.sin, tf.ones([2]), {"modes": ("quick",)}), "modes among eager, graph, xla"),
        ((tf.shape, tf.ones([2])), "requires floating outputs, or training=False, got none"),
    ],
)
def test_what_is_wrong_is_said(arguments, message):
    *given, options = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(teg.OperandError) as error:
        teg.profile(*given, **options)
    assert message in str(error.value)


def test_where_it_is_installed_there_is_nothing_to_compare():
    teg.install()
    try:
        with pytest.raises(RuntimeError, match="call uninstall"):
            teg.profile(tf.sin, tf.ones([2]))
    finally:
        teg.uninstall()
    assert tf.einsum.__module__.startswith("tensorflow")


def test_json_and_page():
    found = teg.profile(lambda x: tf.einsum("ij,kj->ik", x, x), tf.ones([3, 4]))
    assert Profile.from_json(found.to_json()) == found
    with pytest.raises(ValueError, match="not a profile"):
        Profile.from_json("{}")
    page = found.to_html()
    assert "<code>ij,kj-&gt;ik</code>" in page and page.count("class='bar ours'") == 1
    assert "everything else" in page
    assert "<style>" in found._repr_html_()


def test_gradients_of_a_model_that_ends_in_a_normalization_are_no_rounding():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((4, 8))
    x = keras.layers.LayerNormalization()(keras.layers.EinsumDense("abc,cd->abd", (None, 8))(x))
    model = keras.Model(inputs, x)
    data = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("float32")
    step = make_step(read_subject(model, data, None, True), "graph", ours=False)
    _, kernel, *_ = step()
    assert tf.reduce_max(tf.abs(kernel)) > 1e-2
