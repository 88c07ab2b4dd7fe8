"""What leaves the process: SavedModels, exported Keras models, TFLite, graphs for XLA's compilers."""

import inspect
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tf_einsum_grad.keras import Einsum, EinsumDense

PYTHON_OPS = {"PyFunc", "EagerPyFunc", "PyFuncStateless"}
EXPORTED = ["ijkm,ijkn->imn", "...k,kn->...n", "ii->i", "bij,bij->bij", "ij,jk,kl->il", "i->ii"]


def _arrays(equation):
    rng = np.random.default_rng(0)
    sizes = dict(zip("bijklmn", (3, 3, 3, 2, 4, 3, 2), strict=True))
    inputs = equation.split("->")[0].split(",")
    shapes = [[5, 2] * ("..." in s) + [sizes[x] for x in s.replace("...", "")] for s in inputs]
    return [rng.normal(size=s).astype("float32") for s in shapes]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A SavedModel with each equation as a function of tensors of unknown sizes.

    It is loaded and saved again, once without and once with what TensorFlow saves of custom gradients.
    """
    module = tf.Module()
    for n, equation in enumerate(EXPORTED):
        ranks = [x.ndim for x in _arrays(equation)]
        signature = [tf.TensorSpec([None] * r) for r in ranks]
        function = tf.function(
            lambda *xs, equation=equation: teg.einsum(equation, *xs), input_signature=signature
        )
        setattr(module, f"f{n}", function)
    for custom in (False, True):
        path = str(tmp_path_factory.mktemp("saved"))
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=custom)
        tf.saved_model.save(module, path, options=options)
        module = tf.saved_model.load(path)
    return path


def second_order(function, operands):
    """The gradients of the square of what a function gives, and those of their squares."""
    with tf.GradientTape() as outer:
        outer.watch(operands)
        with tf.GradientTape() as tape:
            tape.watch(operands)
            y = tf.reduce_sum(function(*operands) ** 2)
        first = tape.gradient(y, operands)
        norm = tf.add_n([tf.reduce_sum(gradient**2) for gradient in first])
    return [*first, *outer.gradient(norm, operands)]


def test_a_saved_model_is_differentiated_where_the_package_is_missing(saved, tmp_path):
    for n, equation in enumerate(EXPORTED):
        arrays = _arrays(equation)
        grads = second_order(
            lambda *xs, equation=equation: teg.einsum(equation, *xs), list(map(tf.constant, arrays))
        )
        named = [f"x{k}" for k in range(len(arrays))]
        np.savez(
            tmp_path / f"{n}.npz",
            **dict(zip(named, arrays, strict=True)),
            **{f"g{k}": g for k, g in enumerate(grads)},
        )
    program = f"""
        import sys
        sys.modules["tf_einsum_grad"] = None  # an import of it raises
        import numpy as np, tensorflow as tf
{textwrap.indent(inspect.getsource(second_order), " " * 8)}
        module = tf.saved_model.load({saved!r})
        for n in range({len(EXPORTED)}):
            data = np.load(f"{tmp_path}/{{n}}.npz")
            xs = [tf.constant(data[k]) for k in sorted(data) if k[0] == "x"]
            for k, g in enumerate(second_order(getattr(module, f"f{{n}}"), xs)):
                np.testing.assert_allclose(g, data[f"g{{k}}"], rtol=1e-3, atol=1e-3)
        print("differentiated", n + 1)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip() == f"differentiated {len(EXPORTED)}"
    assert "custom gradient" not in run.stderr  # TensorFlow warns of those that it has not got


def test_a_graph_that_is_imported_is_differentiated():
    with tf.Graph().as_default() as graph:
        a = tf.compat.v1.placeholder(tf.float32, [None, 3], name="a")
        w = tf.compat.v1.placeholder(tf.float32, [3, 4], name="w")
        y = tf.identity(teg.einsum("ij,jk->ik", tf.sin(a), w), name="y")
        meta = tf.compat.v1.train.export_meta_graph()
        own = tf.gradients(tf.gradients(y**2, a), w)
    x, v = np.ones([2, 3], "float32"), np.ones([3, 4], "float32")
    with tf.compat.v1.Session(graph=graph) as session:
        wanted = session.run(own, {a: x, w: v})
    with tf.Graph().as_default() as imported:
        tf.compat.v1.train.import_meta_graph(meta)
        a, w, y = (imported.get_tensor_by_name(f"{name}:0") for name in "awy")
        found = tf.gradients(tf.gradients(y**2, a), w)
        with tf.compat.v1.Session(graph=imported) as session:
            np.testing.assert_allclose(session.run(found, {a: x, w: v}), wanted, 1e-5)


def _gradient_function(equation, **options):
    def gradients(*xs):
        with tf.GradientTape() as tape:
            tape.watch(xs)
            y = teg.einsum(equation, *xs)
        return tape.gradient(y, xs)

    return tf.function(gradients, **options)


def test_no_python_is_left_in_graphs(saved):
    loaded = tf.saved_model.load(saved)
    for n, equation in enumerate(EXPORTED):
        arrays = [tf.constant(x) for x in _arrays(equation)]
        gradients = _gradient_function(equation)

        graphs = [
            gradients.get_concrete_function(*arrays).graph.as_graph_def(),
            getattr(loaded, f"f{n}").concrete_functions[0].graph.as_graph_def(),
        ]
        for graph in graphs:
            bodies = [graph.node, *(f.node_def for f in graph.library.function)]
            ops = {node.op for body in bodies for node in body}
            assert ops and not ops & PYTHON_OPS
        # What XLA's ahead-of-time compilers are given.
        compiled = _gradient_function(equation, jit_compile=True)
        assert "HloModule" in compiled.experimental_get_compiler_ir(*arrays)(stage="hlo")


def _model():
    x = keras.Input([7, 6])
    q = EinsumDense("...x,xhd->...hd", (2, 4), bias_axes="hd")(x)
    scores = Einsum("bqhd,bkhd->bhqk")([q, q])
    return keras.Model(x, teg.einsum("bhqk,bkx->bqx", scores, x))


def test_a_keras_model_is_exported(tmp_path):
    model = _model()
    x = np.random.default_rng(0).normal(size=(3, 7, 6)).astype("float32")
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(loaded.serve(x), model(x), rtol=1e-5, atol=1e-5)


# Native einsum becomes ops that TFLite lacks.
LITE = ["bij,ij->b", "ii->i", "i,i->", "ij,kl->ik", "bij,bi->b", "ijkm,ijkn->imn", "...k,kn->...n"]


def _lite(function, arrays):
    concrete = function.get_concrete_function(*arrays)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], function)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    details = sorted(interpreter.get_input_details(), key=lambda d: d["name"])
    for detail, x in zip(details, arrays, strict=True):
        interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("equation", LITE)
def test_tflite_with_builtin_ops_only(equation):
    arrays = _arrays(equation)
    if len(arrays) == 1:
        function = tf.function(lambda x0: teg.einsum(equation, x0))
    else:
        function = tf.function(lambda x0, x1: teg.einsum(equation, x0, x1))
    result = _lite(function, [tf.constant(x) for x in arrays])
    np.testing.assert_allclose(result, np.einsum(equation, *arrays), rtol=1e-5, atol=1e-5)


def test_a_keras_model_becomes_tflite():
    model = _model()
    x = np.random.default_rng(0).normal(size=(1, 7, 6)).astype("float32")
    function = tf.function(lambda x0: model(x0))
    np.testing.assert_allclose(_lite(function, [tf.constant(x)]), model(x), rtol=1e-4, atol=1e-5)
