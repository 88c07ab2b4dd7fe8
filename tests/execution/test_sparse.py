"""One sparse operand: against NumPy on the operand made dense, and its gradients sampled."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tests.reference import Reference, replace
from tf_einsum_grad.execution.entries import Entries

SIZES = {"i": 4, "j": 5, "k": 3, "l": 2, "b": 2, "m": 3, "o": 1}
EQUATIONS = (
    "ij->ij", "ij->ji", "ij->", "ij->j", "ii->i", "iij->ij", "iii->", "ij,jk->ik", "jk,ij->ik",
    "ij,kj->ki", "ij,j->i", "ij,ij->", "ij,ij->ij", "ij,ik,jk->", "ij,ik,jk->ij", "bij,bjk->bik",
    "bij,jk->bik", "bij,bkj->bki", "ij,jk,kl->il", "ij,kl->ijkl", "ij,k->ik", "ij,jk,il->kl",
    "ij,jk,kl,lm,im->i", "ij,jk->k", "bij,bjk,bkl->bil", "iji,jk->ik", "ij,jjk->ik", "ij,jk->iik",
    ",ij->i", "ij,jkk->i", "ijk,jk->i", "ij,jk,ij,k->i", "oj,jk->ok", "ij,oj->io",
    "...ij,jk->...ik", "...j,...jk->...k",
)  # fmt: skip
CASES = [
    (equation, k)
    for equation in EQUATIONS
    for k, term in enumerate(equation.partition("->")[0].split(","))
    if term
]


def draw_sparse(rng, shape, dtype="float64", density=0.4):
    """Entries in no order, two of them twice, and the same as a dense array."""
    index = np.argwhere(rng.random(shape) < density)
    index = index[rng.permutation(len(index))]
    index = np.concatenate([index, index[:2]]).astype("int64").reshape(-1, len(shape))
    values = draw(rng, [len(index)], dtype)
    dense = np.zeros(shape, dtype)
    np.add.at(dense, tuple(index.T), values)
    return tf.SparseTensor(index, values, shape), dense


def draw(rng, shape, dtype="float64"):
    if np.dtype(dtype).kind in "iub":
        return rng.integers(0, 2 if dtype == "bool" else 5, shape).astype(dtype)
    imaginary = 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else 0
    return np.asarray(rng.normal(size=shape) + imaginary).astype(dtype)


def draw_operands(equation, k, dtype="float64", sizes=SIZES):
    """The operands, number `k` sparse; and all of them dense."""
    rng = np.random.default_rng([*map(ord, equation), k])
    shapes = [
        [sizes[label] for label in term.replace("...", "bm")]
        for term in equation.partition("->")[0].split(",")
    ]
    dense = [draw(rng, shape, dtype) for shape in shapes]
    sparse, dense[k] = draw_sparse(rng, shapes[k], dtype)
    return [sparse if i == k else tf.constant(x) for i, x in enumerate(dense)], dense


def sources(operands):
    """What can be differentiated with respect to."""
    return [x.values if isinstance(x, tf.SparseTensor) else x for x in operands]


def with_sources(operands, tensors):
    return [
        tf.SparseTensor(x.indices, y, x.dense_shape) if isinstance(x, tf.SparseTensor) else y
        for x, y in zip(operands, tensors, strict=True)
    ]


def sampled(gradients, operands, k):
    """Gradients of dense operands, that of operand `k` where it has entries."""
    return replace(gradients, k, gradients[k][tuple(operands[k].indices.numpy().T)])


def run_all(function, operands, cotangent, directions):
    """The value, gradients, and the gradients of what these are along some directions."""
    tensors = sources(operands)
    with tf.GradientTape() as outer:
        outer.watch(tensors)
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*with_sources(operands, tensors))
        gradients = tape.gradient(value, tensors, cotangent)
        along = [tf.reduce_sum(g * v) for g, v in zip(gradients, directions, strict=True)]
    second = outer.gradient(along, tensors, unconnected_gradients="zero")
    return [value, *gradients, *second]


def expected_all(equation, k, operands, dense, cotangent, directions):
    """The same, from NumPy alone."""
    reference = Reference(equation, [x.shape for x in dense])
    spread = np.zeros_like(dense[k])
    np.add.at(spread, tuple(operands[k].indices.numpy().T), directions[k])
    gradients = sampled(reference.vjps(dense, cotangent), operands, k)
    second = reference.second(dense, cotangent, replace(directions, k, spread))
    return [reference.value(dense), *gradients, *sampled(second, operands, k)]


def compare_all(function, equation, k):
    operands, dense = draw_operands(equation, k)
    rng = np.random.default_rng(1)
    cotangent = draw(rng, Reference(equation, [x.shape for x in dense]).output_shape)
    directions = [draw(rng, x.shape) for x in sources(operands)]
    found = run_all(function, operands, cotangent, directions)
    wanted = expected_all(equation, k, operands, dense, cotangent, directions)
    for x, y in zip(found, wanted, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-11)


def spec(x, known):
    shape = x.shape if known else [None] * x.shape.rank
    kind = tf.SparseTensorSpec if isinstance(x, tf.SparseTensor) else tf.TensorSpec
    return kind(shape, x.dtype)


def in_graph(equation, operands, known=True, **options):
    return tf.function(
        lambda *operands: teg.einsum(equation, *operands),
        input_signature=[spec(x, known) for x in operands],
        autograph=False,
        **options,
    )


@pytest.mark.parametrize(("equation", "k"), CASES)
def test_eager(equation, k):
    compare_all(lambda *operands: teg.einsum(equation, *operands), equation, k)


@pytest.mark.parametrize(("equation", "k"), CASES[::2])
def test_graph_of_unknown_sizes(equation, k):
    compare_all(in_graph(equation, draw_operands(equation, k)[0], known=False), equation, k)


@pytest.mark.parametrize(("equation", "k"), CASES[1::5])
def test_graph_of_known_sizes(equation, k):
    compare_all(in_graph(equation, draw_operands(equation, k)[0]), equation, k)


@pytest.mark.parametrize(
    ("equation", "k"), [("ij,jk->ik", 0), ("ii->i", 0), ("bij,bjk->bik", 0), ("ij,ik,jk->", 0)]
)
def test_xla(equation, k):
    operands, _ = draw_operands(equation, k)
    compare_all(in_graph(equation, operands, jit_compile=True), equation, k)


@pytest.mark.parametrize(
    "optimize", [False, "greedy", [(0, 2), (0, 1)], [(0, 1, 2)], [(1,), (0, 1, 2)]]
)
def test_any_path_gives_the_same(optimize):
    equation = "ij,jk,kl->il"
    compare_all(lambda *x: teg.einsum(equation, *x, optimize=optimize), equation, 0)


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "complex64", "complex128", "int8", "uint8", "int32", "int64", "bool"],
)
@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij,ik,jk->i"])
def test_dtypes(equation, dtype):
    operands, dense = draw_operands(equation, 0, dtype)
    result = teg.einsum(equation, *operands)
    wide = [x.astype("complex128" if x.dtype.kind == "c" else "float64") for x in dense]
    wanted = np.einsum(equation, *wide)
    if dtype == "bool":  # entries that stand twice count twice, as True does
        wanted = np.einsum(equation, *dense)
    assert result.dtype == dtype
    np.testing.assert_allclose(
        result, wanted.astype(dtype), rtol=2e-3 if dtype == "float16" else 1e-5, atol=1e-6
    )


@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij,ij->i", "ij,ik,jk->j"])
def test_complex_gradients_are_conjugated(equation):
    operands, dense = draw_operands(equation, 0, "complex128")
    reference = Reference(equation, [x.shape for x in dense])
    cotangent = draw(np.random.default_rng(2), reference.output_shape, "complex128")
    tensors = sources(operands)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = teg.einsum(equation, *with_sources(operands, tensors))
    found = tape.gradient(value, tensors, cotangent)
    wanted = sampled(reference.vjps(dense, cotangent), operands, 0)
    for x, y in zip(found, wanted, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-12)


def test_half_types_accumulate_in_float32():
    n = 4096
    ones = tf.SparseTensor([[0, j] for j in range(n)], tf.ones([n], tf.float16), [1, n])
    dense = tf.fill([n, 2], tf.constant(0.01, tf.float16))
    np.testing.assert_allclose(teg.einsum("ij,jk->ik", ones, dense), [[40.97, 40.97]], rtol=1e-3)


@pytest.mark.parametrize(("equation", "k"), CASES[::4])
@pytest.mark.parametrize("known", [True, False])
def test_without_entries(equation, k, known):
    operands, dense = draw_operands(equation, k)
    operands[k] = tf.SparseTensor(
        tf.zeros([0, dense[k].ndim], tf.int64), tf.zeros([0], tf.float64), dense[k].shape
    )
    tensors = sources(operands)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = in_graph(equation, operands, known)(*with_sources(operands, tensors))
    assert (
        not np.any(value)
        and value.shape == Reference(equation, [x.shape for x in dense]).output_shape
    )
    for x, gradient in zip(tensors, tape.gradient(value, tensors), strict=True):
        assert gradient.shape == x.shape
    np.testing.assert_array_equal(teg.einsum(equation, *operands), value)


@pytest.mark.parametrize("empty", "ijk")
@pytest.mark.parametrize("mode", ["eager", "known", "unknown"])
def test_labels_of_size_zero(empty, mode):
    equation, sizes = "ij,jk->ik", SIZES | {empty: 0}
    operands, dense = draw_operands(equation, 0, sizes=sizes)
    function = teg.einsum if mode == "eager" else None
    if function is None:
        run = in_graph(equation, operands, mode == "known")
    else:
        run = lambda *x: function(equation, *x)  # noqa: E731
    tensors = sources(operands)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = run(*with_sources(operands, tensors))
    np.testing.assert_array_equal(value, np.einsum(equation, *dense))
    assert [g.shape for g in tape.gradient(value, tensors)] == [x.shape for x in tensors]


ELASTIC = [
    ("ij,jk->ik", {0: "j"}), ("ij,jk->ik", {1: "j"}), ("ij,ij->ij", {0: "i"}),
    ("ij,ij->ij", {0: "ij"}), ("ij,ij->i", {1: "j"}), ("ij,ij->", {0: "i", 1: "j"}),
    ("bij,bjk->bik", {0: "b"}), ("bij,bjk->bik", {1: "b", 0: "j"}), ("ij,ik,jk->k", {1: "i"}),
    ("ij,ik,jk->k", {0: "i", 2: "j"}),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "ones"), ELASTIC)
@pytest.mark.parametrize("mode", ["eager", "known", "unknown"])
def test_sizes_of_one_broadcast(equation, ones, mode):
    rng = np.random.default_rng(3)
    terms = equation.partition("->")[0].split(",")
    shapes = [
        [1 if label in ones.get(k, "") else SIZES[label] for label in term]
        for k, term in enumerate(terms)
    ]
    sparse, first = draw_sparse(rng, shapes[0], density=0.7)
    dense = [first, *(draw(rng, shape) for shape in shapes[1:])]
    operands = [sparse, *map(tf.constant, dense[1:])]
    reference = Reference(equation, shapes)
    cotangent = draw(rng, reference.output_shape)
    run = in_graph(equation, operands, mode == "known")
    if mode == "eager":
        run = lambda *x: teg.einsum(equation, *x)  # noqa: E731
    directions = [draw(rng, x.shape) for x in sources(operands)]
    found = run_all(run, operands, cotangent, directions)
    wanted = expected_all(equation, 0, operands, dense, cotangent, directions)
    for x, y in zip(found, wanted, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-11)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(4, 5), (3, 2)]),
        ("ij,jk->ik", [(4, 3), (5, 2)]),
        ("ij,ij->", [(4, 3), (3, 3)]),
        ("ij,ik,jk->", [(4, 3), (4, 2), (3, 3)]),
        ("ii,ij->j", [(3, 4), (3, 2)]),
    ],
)
def test_sizes_that_do_not_fit_are_refused_when_it_runs(equation, shapes, jit):
    sparse = tf.SparseTensor([[0, 0]], [1.0], shapes[0])
    operands = [sparse, *map(tf.ones, shapes[1:])]
    run = in_graph(equation, operands, known=False, jit_compile=jit)
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)) as caught:
        run(*operands)
    assert "requires" in str(caught.value) and "one_size" in str(caught.value).replace(" ", "_")


def test_a_given_size_stretches_the_sparse_operand():
    x = tf.SparseTensor([[0, 1], [0, 2]], [2.0, 3.0], [1, 3])

    @tf.function(input_signature=[tf.SparseTensorSpec([None, 3], tf.float32)])
    def run(x):
        return teg.einsum("ij->ij", x, sizes={"i": 4})

    np.testing.assert_array_equal(run(x), [[0, 2, 3]] * 4)
    np.testing.assert_array_equal(teg.einsum("ij->ijk", x, sizes={"k": 2}).shape, [1, 3, 2])
    with pytest.raises(tf.errors.InvalidArgumentError, match="requires"):
        run(tf.SparseTensor([[0, 1]], [2.0], [2, 3]))


def test_unknown_ranks():
    specs = [tf.SparseTensorSpec(None, tf.float32), tf.TensorSpec(None, tf.float32)]
    x, y = tf.sparse.eye(3), tf.random.normal([3, 2])
    run = tf.function(lambda x, y: teg.einsum("ij,jk->ik", x, y), input_signature=specs)
    np.testing.assert_allclose(run(x, y), y)
    with pytest.raises(tf.errors.InvalidArgumentError, match="requires_rank_2_for_operand_0"):
        run(tf.SparseTensor([[0, 0, 0]], [1.0], [1, 3, 1]), y)
    merged = tf.function(lambda x, y: teg.einsum("ij,j...->i...", x, y), input_signature=specs)
    np.testing.assert_allclose(merged(x, y[..., tf.newaxis]), y[..., tf.newaxis])
    hidden = tf.function(lambda x, y: teg.einsum("...j,jk->...k", x, y), input_signature=specs)
    with pytest.raises(teg.SizeError, match="known rank for a sparse operand"):
        hidden(x, y)
    specs[0] = tf.SparseTensorSpec([None, 3], tf.float32)
    both = tf.function(lambda x, y: teg.einsum("...j,j...->...", x, y), input_signature=specs)
    with pytest.raises(teg.SizeError, match="known rank for operand 1"):
        both(x, y)


SLICES = [
    ("ijk->ijk", 0), ("ij,jk->ik", 0), ("ij,ik->jk", 0), ("jk,ij->ik", 1), ("ijk,ijl->kl", 0),
    ("iji,jk->ik", 0), ("iij->j", 0), ("iii->i", 0), ("ijj,ij->i", 0), ("oij,ik->jk", 0),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "k"), SLICES)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_indexed_slices(equation, k, mode):
    rng = np.random.default_rng(4)
    terms = equation.partition("->")[0].split(",")
    shapes = [[SIZES[label] for label in term] for term in terms]
    index = rng.integers(0, shapes[k][0], 3)
    slices = draw(rng, [3, *shapes[k][1:]])
    dense = [draw(rng, shape) for shape in shapes]
    dense[k] = np.zeros(shapes[k])
    np.add.at(dense[k], index, slices)
    reference = Reference(equation, shapes)
    cotangent = draw(rng, reference.output_shape)

    def run(*tensors):
        operand = tf.IndexedSlices(tensors[k], tf.constant(index, tf.int32), shapes[k])
        return teg.einsum(equation, *replace(tensors, k, operand))

    tensors = [tf.constant(slices if i == k else x) for i, x in enumerate(dense)]
    function = run if mode == "eager" else tf.function(run, autograph=False)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    np.testing.assert_allclose(value, reference.value(dense), atol=1e-12)
    wanted = reference.vjps(dense, cotangent)
    wanted[k] = wanted[k][index]
    for x, y in zip(tape.gradient(value, tensors, cotangent), wanted, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-12)


def test_indexed_slices_without_a_shape():
    x = tf.IndexedSlices(tf.ones([2, 3]), [1, 1])
    np.testing.assert_array_equal(teg.einsum("ij->j", x), [2, 2, 2])
    np.testing.assert_array_equal(teg.einsum("ij,i->i", x, tf.ones([4])), [0, 6, 0, 0])
    with pytest.raises(teg.SizeError, match="dense_shape for operand 0"):
        teg.einsum("ij->i", x)


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow's GPU kernels look at no index"
)
def test_an_index_outside_is_refused():
    x = tf.SparseTensor([[0, 7]], [1.0], [2, 5])  # of a row below, if rows were not looked at
    with pytest.raises(tf.errors.InvalidArgumentError):
        teg.einsum("ij,ij->i", x, tf.ones([2, 5]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        teg.einsum("ij->ij", x)


@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij,ik,jk->", "ii,ij->j", "bij,bjk->bik"])
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_forward_mode(equation, mode):
    operands, dense = draw_operands(equation, 0)
    rng = np.random.default_rng(5)
    tensors = sources(operands)
    tangents = [tf.constant(draw(rng, x.shape)) for x in tensors]
    spread = np.zeros_like(dense[0])
    np.add.at(spread, tuple(operands[0].indices.numpy().T), tangents[0].numpy())

    def run(*tensors):
        return teg.einsum(equation, *with_sources(operands, tensors))

    function = run if mode == "eager" else tf.function(run, autograph=False)
    with tf.autodiff.ForwardAccumulator(tensors, tangents) as accumulator:
        value = function(*tensors)
    along = [spread, *(v.numpy() for v in tangents[1:])]
    wanted = Reference(equation, [x.shape for x in dense]).jvp(dense, along)
    np.testing.assert_allclose(accumulator.jvp(value), wanted, atol=1e-11)


def test_gradients_are_each_others_adjoints():
    """<A(v) x, w> = <v, A'(w)> for the map from values, without finite differences."""
    operands, _ = draw_operands("bij,bjk->bik", 0)
    x, y = operands
    rng = np.random.default_rng(6)
    direction, w = draw(rng, x.values.shape), draw(rng, [2, 4, 3])
    with tf.GradientTape() as tape:
        tape.watch(x.values)
        value = teg.einsum("bij,bjk->bik", x, y)
    pulled = tape.gradient(value, x.values, w)
    pushed = teg.einsum("bij,bjk->bik", x.with_values(direction), y)
    np.testing.assert_allclose(np.vdot(pushed, w), np.vdot(direction, pulled))


@pytest.mark.parametrize("where", ["while", "cond", "map", "jacobian"])
def test_inside_control_flow(where):
    operands, dense = draw_operands("ij,jk->ik", 0)
    x, y = operands

    def body(values):
        return teg.einsum("ij,jk->ik", x.with_values(values), y)

    @tf.function(autograph=False)
    def run(values):
        with tf.GradientTape() as outer:
            outer.watch(values)
            with tf.GradientTape() as tape:
                tape.watch(values)
                if where == "while":
                    _, z = tf.while_loop(
                        lambda i, z: i < 2,
                        lambda i, z: (i + 1, z + body(values)),
                        [0, tf.zeros([4, 3], tf.float64)],
                    )
                elif where == "cond":
                    z = tf.cond(values[0] > 1e9, lambda: body(values) * 0, lambda: 2 * body(values))
                else:
                    z = tf.reduce_sum(tf.map_fn(body, tf.stack([values, values])), 0)
                loss = tf.reduce_sum(z**2)
            gradient = tape.gradient(loss, values)
        return gradient, outer.gradient(gradient, values)

    values = x.values
    if where == "jacobian":
        with tf.GradientTape() as tape:
            tape.watch(values)
            z = body(values)
        jacobian = tape.jacobian(z, values).numpy()
        rows, columns = x.indices.numpy().T
        for n, (row, column) in enumerate(zip(rows, columns, strict=True)):
            wanted = np.zeros([4, 3])
            wanted[row] = dense[1][column]
            np.testing.assert_allclose(jacobian[..., n], wanted)
        return
    first, second = run(values)
    rows, columns = x.indices.numpy().T
    connected = (rows[:, None] == rows) * (dense[1] @ dense[1].T)[columns][:, columns]
    np.testing.assert_allclose(first, 8 * connected @ values.numpy())
    np.testing.assert_allclose(second, 8 * connected.sum(1))


@pytest.mark.parametrize(
    "equation", ["ij,jk->ik", "ij,ik,jk->", "ij,jk,kl->il", "ij,i,j->i", "ij,i,j->", "ii,ik->k"]
)
def test_nothing_dense_of_its_size_is_made(equation):
    """Neither forward nor backward: no tensor of a graph has as many elements."""
    n = 1009
    sizes = dict.fromkeys("ij", n) | {"k": 3, "l": 2}
    terms = equation.partition("->")[0].split(",")
    specs = [tf.TensorSpec([sizes[x] for x in term], tf.float32) for term in terms[1:]]

    @tf.function(autograph=False)
    def run(indices, values, *dense):
        with tf.GradientTape() as tape:
            tape.watch([values, *dense])
            x = tf.SparseTensor(indices, values, [n, n])
            loss = tf.reduce_sum(teg.einsum(equation, x, *dense) ** 2)
        return tape.gradient(loss, [values, *dense])

    arguments = tf.TensorSpec([50, 2], tf.int64), tf.TensorSpec([50], tf.float32)
    graph = run.get_concrete_function(*arguments, *specs).graph
    found = [
        (op.type, x.shape)
        for op in graph.get_operations()
        for x in op.outputs
        if x.shape.rank is None or (x.shape.num_elements() or 0) >= n * n
    ]
    assert not found


def test_an_entry_off_the_diagonal_is_nothing():
    x = tf.SparseTensor([[0, 0], [0, 1]], [1.0, np.nan], [2, 2])
    np.testing.assert_array_equal(teg.einsum("ii->i", x), [1, 0])


def test_mixed_with_weak_numbers():
    x = tf.SparseTensor([[0, 1]], [2.0], [2, 2])
    np.testing.assert_array_equal(teg.einsum("ij,->i", x, 3), [6, 0])


def test_entries_are_stretched_where_they_have_one():
    x = tf.SparseTensor([[0, 2], [0, 0]], [5.0, 6.0], [1, 3])
    entries = Entries.of(x, [0, 1], "ij")
    wide = entries.stretch("i", tf.constant(1, tf.int64), 2)
    np.testing.assert_array_equal(wide.values, [5, 5, 6, 6])
    np.testing.assert_array_equal(wide.index["i"], [0, 1, 0, 1])
    np.testing.assert_array_equal(wide.index["j"], [2, 2, 0, 0])
    same = entries.stretch("j", tf.constant(3, tf.int64), 3)
    np.testing.assert_array_equal(same.index["j"], [2, 0])


def test_plans_serve_calls_of_other_numbers_of_entries():
    from tf_einsum_grad.execution import sparse

    y = tf.ones([50, 3])
    before = sparse._prepare_cached.cache_info().misses
    for n in range(17, 33):
        x = tf.SparseTensor([[i, i] for i in range(n)], tf.ones([n]), [50, 50])
        teg.einsum("ij,jk->ik", x, y)
    assert sparse._prepare_cached.cache_info().misses <= before + 1


def test_errors():
    x, y = tf.sparse.eye(3), tf.ones([3, 2])
    cases = [
        (("ij,jk->ik", x, x), "at most one sparse operand, got SparseTensor for operands 0 and 1"),
        (("ij,jk->ik", tf.RaggedTensor.from_row_lengths([1.0], [1]), y), "to_sparse"),
        (("ij,jk->ik", x, tf.ones([4, 2])), "one size for label 'j', got 3 in operand 0"),
        (("ijk,jk->ik", x, y), "requires rank 3 for operand 0"),
        (("ij,jk->ik", x, tf.ones([3, 2], tf.float64)), "float32 for operand 0 and float64"),
        (("ij,jk->ik", tf.sparse.SparseTensor([[0, 0]], ["a"], [3, 3]), y), "dtype"),
    ]
    for arguments, message in cases:
        with pytest.raises(teg.EinsumError, match=message):
            teg.einsum(*arguments)


def test_xla_does_not_know_how_many_entries_there_are():
    @tf.function(jit_compile=True, autograph=False)
    def run(x):
        sparse = tf.sparse.from_dense(x)
        with tf.GradientTape() as tape:
            tape.watch(sparse.values)
            value = teg.einsum("ij,jk->ik", sparse, tf.ones([3, 2]))
        return value, tape.gradient(value, sparse.values)

    value, gradient = run(tf.constant([[1.0, 0, 2], [0, 3, 0]]))
    np.testing.assert_array_equal(value, [[3, 3], [3, 3]])
    np.testing.assert_array_equal(gradient, [2, 2, 2])


def test_installed_and_with_names():
    x, y = tf.sparse.from_dense([[0.0, 2.0]]), tf.ones([2, 3])
    with teg.installed():
        np.testing.assert_array_equal(tf.einsum("ij,jk->ik", x, y), [[2, 2, 2]])
    named = teg.einsum(x, ["row", "column"], y, ["column", "to"], ["to", "row"])
    np.testing.assert_array_equal(named, [[2], [2], [2]])
    with pytest.raises(teg.SizeError, match="for label 'column', got 2 in operand 0"):
        teg.einsum(x, ["row", "column"], y, ["to", "column"], ["row"])


def test_sparse_inputs_of_keras():
    x = tf.keras.Input((5,), sparse=True)
    model = tf.keras.Model(x, teg.einsum("bi,ij->bj", x, tf.ones([5, 3])))
    np.testing.assert_array_equal(model(tf.sparse.eye(2, 5)), np.ones([2, 3]))


def test_several_slices_are_dense():
    """As for every op of TensorFlow's; duplicate slices add up."""
    x = tf.IndexedSlices(tf.constant([[1.0, 2.0], [3.0, 4.0]]), [1, 1], [3, 2])
    sparse = tf.SparseTensor([[0, 0], [1, 1]], [1.0, 1.0], [3, 2])
    np.testing.assert_array_equal(teg.einsum("ij,ij->i", x, x), [0.0, 52.0, 0.0])
    np.testing.assert_array_equal(teg.einsum("ij,ij->i", sparse, x), [0.0, 6.0, 0.0])
    with pytest.raises(teg.OperandError, match="IndexedSlices for operand 0"):
        without_shape = tf.IndexedSlices(x.values, x.indices)
        teg.einsum("ij,ij->i", without_shape, without_shape)
