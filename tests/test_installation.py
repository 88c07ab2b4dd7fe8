"""`install`, `uninstall`, `installed`: what is replaced, for how long, and that nothing is half so."""

import subprocess
import sys
import threading
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad import ops
from tf_einsum_grad.keras import backend, private

NATIVE = tf.einsum
NUMPY_NATIVE = tf.experimental.numpy.einsum
KERAS_BACKEND = private.replacements()[0][1]


def _replaced() -> list[bool]:
    import tensorflow.compat.v2 as tf2
    import tensorflow.experimental.numpy as tnp
    import tensorflow.linalg as linalg

    tensorflow = [tf, tf.linalg, linalg, tf.experimental.numpy, tnp]
    tensorflow += [tf2, tf2.linalg, tf2.experimental.numpy, tf.compat.v2]
    found = [owner.einsum for owner in (*tensorflow, KERAS_BACKEND)]
    return [f.__module__.startswith("tf_einsum_grad") for f in found]


@pytest.fixture(autouse=True)
def _nothing_stays():
    assert not any(_replaced())
    yield
    teg.uninstall()
    assert not any(_replaced())


def test_install_replaces_everything_and_uninstall_restores_it():
    teg.install()
    assert all(_replaced())
    teg.install()
    teg.uninstall()
    assert tf.einsum is NATIVE and tf.linalg.einsum is NATIVE
    assert tf.experimental.numpy.einsum is NUMPY_NATIVE
    assert not any(_replaced())
    teg.uninstall()  # again: nothing to do


def test_tf_einsum_runs_ours():
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        tf.einsum("i->ii", tf.ones([2]))
    with teg.installed():
        np.testing.assert_array_equal(tf.einsum("i->ii", tf.ones([2])), np.eye(2))
        np.testing.assert_array_equal(tf.linalg.einsum("i->ii", tf.ones([2])), np.eye(2))


def test_blocks_nest_and_survive_exceptions():
    with pytest.raises(KeyError), teg.installed():
        with teg.installed():
            assert all(_replaced())
        assert all(_replaced())
        raise KeyError
    assert not any(_replaced())


def test_a_block_inside_install_leaves_install_in_place():
    teg.install()
    with teg.installed():
        pass
    assert all(_replaced())


def test_uninstall_inside_a_block_waits_for_its_end():
    with teg.installed():
        teg.install()
        teg.uninstall()
        assert all(_replaced())
    assert not any(_replaced())


def test_blocks_in_many_threads():
    seen, errors = [], []

    def work(seed):
        try:
            for _ in range(50):
                with teg.installed():
                    seen.append(all(_replaced()))
                    time.sleep(0.0005 * (seed % 3))
        except RuntimeError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(seen) == 400 and all(seen)
    assert not any(_replaced())


def test_a_missing_target_leaves_nothing_half_replaced(monkeypatch):
    monkeypatch.setattr(private, "_OPERATIONS", ("keras.src.ops.math",))  # has no Einsum
    with pytest.raises(RuntimeError, match=r"requires keras\.src\.ops\.math\.Einsum.*nothing was"):
        teg.install()
    assert not any(_replaced())
    monkeypatch.setattr(private, "_BACKENDS", ("keras.src.no_such", "keras.src.none_such"))
    with pytest.raises(
        RuntimeError, match=r"requires keras\.src\.no_such or keras\.src\.none_such, "
    ):
        teg.installed().__enter__()
    assert not any(_replaced())


@pytest.mark.parametrize("missing", ["einsum", "numpy"])
def test_a_tensorflow_that_lacks_something_is_left_as_it_was(monkeypatch, missing):
    owner = tf.linalg if missing == "einsum" else tf.experimental
    name = "tf.linalg.einsum" if missing == "einsum" else "tf.experimental.numpy.einsum"
    with monkeypatch.context() as patch:
        patch.delattr(owner, missing)
        with pytest.raises(RuntimeError, match=f"requires {name}, which TensorFlow"):
            teg.install()
    assert not any(_replaced())


@pytest.mark.parametrize("home", ["tensorflow.ops.numpy", "tensorflow.numpy"])
def test_both_places_of_keras_backend_are_found(monkeypatch, home):
    """From 3.16 on, and before."""
    module = types.ModuleType(f"keras.src.backend.{home}")
    module.einsum = own = lambda *args: None
    for name in private._BACKENDS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with teg.installed():
        assert module.einsum.__module__.startswith("tf_einsum_grad")
    assert module.einsum is own


def test_what_someone_else_put_on_top_is_not_thrown_away():
    teg.install()
    ours = tf.einsum
    tf.einsum = theirs = lambda *args, **kwargs: ours(*args, **kwargs)
    with pytest.raises(RuntimeError, match=r"requires tf\.einsum to be what install\(\) put"):
        teg.uninstall()
    assert tf.einsum is theirs and tf.linalg.einsum is ours
    tf.einsum = ours


def test_a_block_that_could_not_restore_is_undone_by_uninstall():
    ours = None
    with pytest.raises(RuntimeError, match="whatever replaced it later"), teg.installed():
        ours = tf.einsum
        tf.einsum = lambda *args, **kwargs: ours(*args, **kwargs)
    tf.einsum = ours
    teg.uninstall()
    assert tf.einsum is not ours and tf.linalg.einsum is not ours


class WithWeights(keras.layers.Layer):
    def build(self, shape):
        # All of one sign: a sum that cancels has no relative accuracy in bfloat16.
        positive = keras.initializers.RandomUniform(0.5, 1, seed=0)
        self.kernel = self.add_weight(shape=(shape[-1], 2), initializer=positive)

    def call(self, x):
        return tf.einsum("ij,jk->ik", x, self.kernel)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_layers_that_give_their_weights_to_tf_einsum(policy):
    layer = WithWeights(dtype=policy)
    x = np.ones([3, 4], "float32")
    expected = layer(x)
    with teg.installed():
        for call in (layer, tf.function(layer)):
            y = call(x)
            assert y.dtype == expected.dtype
            np.testing.assert_allclose(
                tf.cast(y, "float32"), tf.cast(expected, "float32"), rtol=0.02
            )
        model = keras.Sequential([layer])
        model.compile("sgd", "mse")
        before = layer.kernel.numpy()
        model.fit(x, np.zeros([3, 2], "float32"), verbose=0)
    assert np.abs(layer.kernel.numpy() - before).max() > 0


def run_alone(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_install_where_keras_runs_on_another_backend():
    run_alone("""
import keras
from tf_einsum_grad.keras import private
keras.backend.backend = lambda: "jax"
import tensorflow as tf, tf_einsum_grad as teg
keras_backend = private.replacements()[0][1]
keras_own = keras_backend.einsum
with teg.installed():
    assert tf.einsum("i->ii", tf.ones(2)).shape == (2, 2)
    assert keras_backend.einsum is keras_own
""")


def test_a_module_that_is_imported_later_is_replaced_too():
    # `tensorflow.compat.v2` is another module than `tf.compat.v2` was before its first import.
    run_alone("""
import tensorflow as tf, tf_einsum_grad as teg
from tensorflow import linalg
numpy = tf.experimental.numpy
teg.install()
import tensorflow.compat.v2 as tf2
import tensorflow.linalg as tl
import tensorflow.experimental.numpy as tnp
assert tf2.einsum is tf2.linalg.einsum is tf.compat.v2.einsum is tf.einsum is teg.einsum
assert linalg.einsum is tl.einsum is tf.einsum
assert numpy.einsum is tnp.einsum is tf2.experimental.numpy.einsum
assert int(tnp.einsum("ij->", tf.ones([2, 2], tf.int8))) == 4
""")


ONES = np.ones([2, 2])
PROMOTED = [  # operands, and the dtype of TensorFlow's own where it has a kernel for it
    ([ONES.astype("int32"), ONES.astype("float32")], "float64"),
    ([ONES.astype("float16"), ONES.astype("float32")], "float32"),
    ([ONES.astype("float32"), ONES.astype("complex64")], "complex64"),
    ([tf.ones([2, 2], "bfloat16"), tf.ones([2, 2])], "float32"),
    ([tf.ones([2, 2]), ONES], "float64"),
    ([tf.ones([2, 2], "float16"), [[1.5, 2.0], [3.0, 4.0]]], "float16"),
    ([tf.ones([2, 2], "int32"), [[1.5, 2.0], [3.0, 4.0]]], "float64"),
    ([[[1, 2], [3, 4]], [[1, 2], [3, 4]]], "int64"),
    ([tf.Variable(tf.ones([2, 2])), tf.Variable(tf.ones([2, 2]))], "float32"),
    ([ONES.astype("int8"), ONES.astype("uint8")], "int16"),
    ([ONES.astype("bool"), ONES.astype("bool")], "bool"),
]


@pytest.mark.parametrize(("operands", "dtype"), PROMOTED)
def test_numpy_einsum_promotes_as_tensorflow_does(operands, dtype):
    numpy = tf.experimental.numpy
    with teg.installed():
        result = numpy.einsum("ij,jk->ik", *operands)
        traced = tf.function(lambda: numpy.einsum("ij,jk->ik", *operands))()
    assert result.dtype == traced.dtype == dtype
    expected = np.einsum("ij,jk->ik", *(np.asarray(x).astype(dtype) for x in operands))
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(traced, expected)
    if dtype not in ("int16", "bool"):
        assert numpy.einsum("ij,jk->ik", *operands).dtype == dtype


def test_numpy_einsum_takes_what_tensorflows_takes():
    numpy = tf.experimental.numpy
    wide, narrow = ONES, ONES.astype("float32")
    for optimize in (True, False, "greedy", "optimal"):
        options = {"optimize": optimize, "casting": "safe"}
        native = numpy.einsum("ij,jk->ik", wide, narrow, **options)
        with teg.installed():
            ours = numpy.einsum("ij,jk->ik", wide, narrow, **options)
        np.testing.assert_array_equal(ours, native)
    with teg.installed():
        assert numpy.einsum("ij->", narrow, casting="no").dtype == "float32"
        assert numpy.einsum(narrow, [0, 1], [1]).shape == (2,)  # which TensorFlow's does not take
        with pytest.raises(teg.OperandError, match="one dtype, got float64 for operand 0"):
            numpy.einsum("ij,jk->ik", wide, narrow, casting="no")
        with pytest.raises(teg.OperandError, match="casting 'safe' or 'no', got 'unsafe'"):
            numpy.einsum("ij,jk->ik", wide, narrow, casting="unsafe")
        with pytest.raises(TypeError, match="out"):  # TensorFlow's own overlooks it
            numpy.einsum("ij->i", wide, out=np.ones(2))


def test_numpy_einsum_is_differentiated():
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    with teg.installed(), tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.experimental.numpy.einsum("ii,j->", x, np.ones(3, "float32"))
    np.testing.assert_array_equal(tape.gradient(y, x), 3 * np.eye(2))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers_stay_exact(dtype):
    x, one = np.array([16777217], dtype), np.array([1], dtype)
    assert int(keras.ops.einsum("i,i->", x, one)) == 16777216  # Keras' own, through float32
    with teg.installed():
        result = keras.ops.einsum("i,i->", x, one)
    assert int(result) == 16777217 and result.dtype == dtype


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("int8", "int8"), "int32"),
        (("int8", "int16"), "int16"),
        (("int32", "float32"), "float32"),
        (("float16", "bfloat16"), "float32"),
        (("float16", "int64"), "float16"),
        (("bool", "bool"), "bool"),
        (("uint8", "int8"), "int16"),
    ],
)
def test_dtypes_are_promoted_as_keras_promotes(dtypes, expected):
    x, y = (keras.ops.ones([2], dtype) for dtype in dtypes)
    with teg.installed():
        result = keras.ops.einsum("i,i->i", x, y)
        symbolic = keras.ops.einsum(
            "i,i->i", *(keras.Input(batch_shape=[2], dtype=d) for d in dtypes)
        )
    assert keras.backend.standardize_dtype(result.dtype) == expected == symbolic.dtype


def test_symbolic_keras_einsum_is_right_under_installed():
    x, y = keras.Input([3, 4]), keras.Input([4, 5])
    with teg.installed():
        assert keras.ops.einsum("B i J, B J k -> B k i", x, y, optimize="optimal").shape == (
            None,
            5,
            3,
        )
        with pytest.raises(teg.SizeError, match="label 'j', got 3 in operand 0"):
            keras.ops.einsum("bji,bjk->bik", x, y)
    model = keras.Model(x, keras.ops.einsum("bij->bji", x))
    assert model(np.ones([2, 3, 4], "float32")).shape == (2, 4, 3)


def test_options_of_a_symbolic_keras_einsum_reach_its_call(monkeypatch):
    seen = []
    run_call = backend.run_call
    monkeypatch.setattr(backend, "run_call", lambda *a, **k: seen.append(k) or run_call(*a, **k))
    options = {"sizes": {"k": 5}, "optimize": "greedy", "size_hints": {"b": 8}}
    inputs = [keras.Input(shape) for shape in ([3, 4], [4, 2], [2])]
    arrays = [np.ones((2, *x.shape[1:]), "float32") for x in inputs]
    with teg.installed():
        y = keras.ops.einsum("bij,bjl,bl->bik", *inputs, **options)
        assert y.shape == (None, 3, 5) == (None, *keras.Model(inputs, y)(arrays).shape[1:])
        with pytest.raises(teg.PathError, match="name of an optimiser, got 'gredy'"):
            keras.ops.einsum("bij->bi", inputs[0], optimize="gredy")
    assert seen == [options]


def test_autograph_leaves_the_package_alone(monkeypatch):
    """It would rewrite every function into a file of its own, which takes seconds."""
    callers = []
    read_call = ops.read_call

    def spy(*args):
        callers.append(sys._getframe(1).f_code.co_filename)
        return read_call(*args)

    monkeypatch.setattr(ops, "read_call", spy)
    with teg.installed():
        tf.function(lambda x: tf.einsum("ij,jk->ik", x, x)).get_concrete_function(tf.ones([3, 3]))
    assert callers == [ops.__file__]


def test_arrays_take_the_dtype_of_tensors_as_natively():
    x = tf.ones([2, 3])
    for other in (np.ones([3, 2]), np.ones([3, 2], np.int64)):
        assert NATIVE("ij,jk->ik", x, other).dtype == tf.float32
        with teg.installed():
            assert tf.einsum("ij,jk->ik", x, other).dtype == tf.float32
            assert tf.einsum("ij,kj->ik", other.T, x).dtype == tf.float32
    halves = np.full([3, 2], 0.5)
    integers = tf.ones([2, 3], tf.int32)
    assert not NATIVE("ij,jk->ik", integers, halves).numpy().any()  # truncated, in silence
    with (
        teg.installed(),
        pytest.raises(teg.OperandError, match="one dtype, got int32 for operand 0"),
    ):
        tf.einsum("ij,jk->ik", integers, halves)
