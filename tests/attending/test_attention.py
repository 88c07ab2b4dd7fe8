"""Attention against NumPy in float64, its gradients against those of all scores at once."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tf_einsum_grad as teg
from tests.attending.reference import attention as reference
from tests.modes import EAGER, STATIC, UNKNOWN_DIMS, UNKNOWN_RANK, XLA, XLA_UNKNOWN_DIMS
from tf_einsum_grad.attending import attend

HEADS = "btnh,bsnh,bsnv->btnv"
SIZES = {"b": 2, "t": 7, "s": 6, "n": 3, "h": 4, "v": 5, "g": 2, "c": 2}
EQUATIONS = (
    HEADS,
    "bnth,bnsh,bnsv->bntv",  # another layout
    "btgnh,bsnh,bsnv->btgnv",  # grouped queries
    "btnh,bsh,bsv->btnv",  # one head of keys
    "th,sh,sv->tv",
    "h,sh,sv->v",  # one query
    "bcth,bcsh,bcsv->vcbt",  # more batch labels, the result in another order
    "bth,bsh,bs->bt",
    "tbn,sbn,snb->bnt",
    "...th,...sh,...sv->...tv",
)


@pytest.fixture
def a_head(monkeypatch):
    """Blocks of one head after the other."""
    choose = attend.choose_blocks
    monkeypatch.setattr(
        attend, "choose_blocks", lambda *a, **k: dataclasses.replace(choose(*a, **k), pieces=True)
    )


def draw(text, sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    terms = [term.replace("...", "bn") for term in text.split("->")[0].split(",")]
    return [rng.normal(size=[sizes[x] for x in term]) for term in terms]


def gradients(function, operands):
    """The result and the gradients for a cotangent that tells its elements apart."""
    with tf.GradientTape() as tape:
        tape.watch(operands)
        result = function(*operands)
    places = tf.reshape(tf.range(tf.size(result)), tf.shape(result))
    weights = tf.cos(tf.cast(places, result.dtype))
    return [result, *tape.gradient(result, operands, weights)]


def both_ways(text, operands, mode=EAGER, block=4, **options):
    """In blocks, and with all scores at once (which TensorFlow differentiates)."""

    def run(block):
        def body(operands):
            def call(*x):
                return teg.attention(text, *x, block=block, **options)

            return gradients(call, operands)

        return body

    return mode.run(run(block), operands), EAGER.run(run("auto"), operands)


@pytest.mark.parametrize("mode", [EAGER, STATIC, UNKNOWN_DIMS, XLA], ids=str)
@pytest.mark.parametrize("text", EQUATIONS)
def test_an_equation(text, mode):
    operands = draw(text)
    options = {"scale": 0.5}
    blocks, dense = both_ways(text, operands, mode, **options)
    plain = text.replace("...", "bn")
    np.testing.assert_allclose(blocks[0], reference(plain, *operands, 0.5), rtol=1e-10)
    for got, want in zip(blocks, dense, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("block", [2, 3, 100])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 1, 3])
def test_rules_of_place(causal, window, block):
    for n_rows, n_keys in ((7, 6), (1, 4), (3, 9)):
        operands = draw(HEADS, SIZES | {"t": n_rows, "s": n_keys})
        row, key = np.arange(n_rows)[:, None], np.arange(n_keys)
        seen = (key <= row) | (not causal)
        if window:
            seen &= abs(key - row) < window
        rules = {"causal": causal, "window": window, "scale": 1.0}
        blocks, dense = both_ways(HEADS, operands, block=block, **rules)
        want = reference(HEADS, *operands, 1.0, mask=("ts", seen))
        np.testing.assert_allclose(blocks[0], want, rtol=1e-10, atol=1e-12)
        for got, wanted in zip(blocks, dense, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-12)


def test_blocks_that_nobody_sees_are_skipped():
    """Of keys that are not numbers in blocks that rules empty, nothing is read."""
    q, k, v = (tf.ones([1, 8, 1, 2]) for _ in range(3))
    poison = tf.concat([k[:, :4], k[:, 4:] * np.nan], 1)
    result = teg.attention(HEADS, q[:, :4], poison, v, causal=True, block=4)
    np.testing.assert_array_equal(result, tf.ones([1, 4, 1, 2]))


@pytest.mark.parametrize(
    ("subscripts", "block"), [("bts", 4), ("s", 2), ("nts", 2), ("ts", 4), ("bs", 4), ("stb", 2)]
)
def test_masks_and_biases_have_subscripts_of_their_own(subscripts, block):
    operands, rng = draw(HEADS), np.random.default_rng(1)
    shape = [SIZES[label] for label in subscripts]
    mask, bias = rng.random(shape) < 0.7, rng.normal(size=shape)
    extras = {"mask": (subscripts, mask), "bias": (subscripts, bias)}
    blocks, dense = both_ways(HEADS, operands, block=block, scale=1.0, **extras)
    want = reference(HEADS, *operands, 1.0, **extras)
    np.testing.assert_allclose(blocks[0], want, rtol=1e-10, atol=1e-12)
    for got, wanted in zip(blocks, dense, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-12)


def test_a_bias_has_a_gradient():
    q, k, v = map(tf.constant, draw(HEADS))
    biases = []
    for block in (3, "auto"):
        bias = tf.Variable(np.random.default_rng(1).normal(size=[3, 1, 6]))
        with tf.GradientTape() as tape:
            y = teg.attention(HEADS, q, k, v, bias=("nts", bias), block=block)
            loss = tf.reduce_sum(y**2)
        biases.append(tape.gradient(loss, bias))
    np.testing.assert_allclose(*biases, rtol=1e-9)


def test_a_row_that_sees_no_key_is_zero_and_has_no_gradient():
    operands = draw(HEADS)
    mask = np.ones([7, 6], bool)
    mask[2] = False
    blocks, dense = both_ways(HEADS, operands, block=4, mask=("ts", mask))
    for result, d_query, *_ in (blocks, dense):
        np.testing.assert_array_equal(result[:, 2], 0)
        np.testing.assert_array_equal(d_query[:, 2], 0)
        assert np.isfinite(result).all()


@pytest.mark.parametrize("block", [3, "auto"])
def test_a_bias_of_minus_infinity_masks(block):
    query, key, value = draw(HEADS)
    bias = np.zeros([SIZES["t"], SIZES["s"]])
    bias[2], bias[4, 1:3] = -np.inf, -np.inf  # a whole row, and some of another
    operands = list(map(tf.constant, (query, key, value, bias)))

    def call(query, key, value, bias):
        return teg.attention(HEADS, query, key, value, scale=1, bias=("ts", bias), block=block)

    def masked(query, key, value):
        mask = ("ts", np.isfinite(bias))
        return teg.attention(HEADS, query, key, value, scale=1, mask=mask, block=block)

    result, *pulled, d_bias = gradients(call, operands)
    for got, want in zip([result, *pulled], gradients(masked, operands[:3]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(d_bias[2], 0)
    assert np.isfinite(d_bias).all()


@pytest.mark.parametrize("mode", [EAGER, UNKNOWN_DIMS, XLA_UNKNOWN_DIMS], ids=str)
@pytest.mark.parametrize("empty", ["t", "s", "b"])
def test_nothing(empty, mode):
    operands = draw(HEADS, SIZES | {empty: 0})
    result, *pulled = mode.run(
        lambda x: gradients(lambda *y: teg.attention(HEADS, *y, scale=1), x), operands
    )
    assert result.shape == tuple((SIZES | {empty: 0})[x] for x in "btnv")
    np.testing.assert_array_equal(result, np.zeros_like(result))
    for x, dx in zip(operands, pulled, strict=True):
        np.testing.assert_array_equal(dx, np.zeros_like(x))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_halves_are_computed_in_float32(dtype):
    operands = [tf.cast(x, dtype) for x in draw(HEADS, SIZES | {"s": 300})]
    wide = [tf.cast(x, "float64").numpy() for x in operands]
    result, *pulled = gradients(lambda *x: teg.attention(HEADS, *x, block=64), operands)
    assert {x.dtype.name for x in (result, *pulled)} == {dtype}
    eps = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-6}[dtype]
    np.testing.assert_allclose(
        tf.cast(result, "float64"), reference(HEADS, *wide, 0.5), atol=2 * eps
    )


def test_large_scores_do_not_overflow():
    operands = [1e3 * x for x in draw(HEADS)]
    blocks, dense = both_ways(HEADS, operands, block=2, scale=1.0)
    for got, want in zip(blocks, dense, strict=True):
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


# A head at a time ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        *((text, EAGER) for text in EQUATIONS),
        (HEADS, XLA),
        (HEADS, UNKNOWN_DIMS),
        ("btgnh,bsnh,bsnv->btgnv", UNKNOWN_DIMS),
    ],
    ids=str,
)
def test_an_equation_a_head_at_a_time(text, mode, a_head):
    test_an_equation(text, mode)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 3])
def test_rules_of_place_a_head_at_a_time(causal, window, a_head):
    test_rules_of_place(causal, window, 3)


@pytest.mark.parametrize("block", [3, 100])
@pytest.mark.parametrize("subscripts", ["bts", "nt", "s"])
def test_masks_and_biases_a_head_at_a_time(subscripts, block, a_head):
    test_masks_and_biases_have_subscripts_of_their_own(subscripts, block)


@pytest.mark.parametrize("empty", ["t", "s", "b"])
def test_nothing_a_head_at_a_time(empty, a_head):
    test_nothing(empty, UNKNOWN_DIMS)


@pytest.mark.parametrize("changed", ["mask_b", "bias_n"])
def test_a_size_of_1_a_head_at_a_time(changed, a_head):
    test_a_size_of_1_that_was_unknown_broadcasts(changed)


def test_all_else_a_head_at_a_time(a_head):
    test_a_bias_of_minus_infinity_masks(3)
    test_a_bias_of_minus_infinity_masks(100)
    test_a_row_that_sees_no_key_is_zero_and_has_no_gradient()
    test_dropout_drops_the_same_in_blocks_of_any_size_and_in_both_passes()
    test_the_gradient_checker_agrees(2)


# Dropout ------------------------------------------------------------------------------------------


def test_dropout_drops_the_same_in_blocks_of_any_size_and_in_both_passes():
    operands = draw(HEADS)
    options = {"dropout": 0.4, "seed": 7, "scale": 1.0}
    for block in (1, 4, 100):
        blocks, dense = both_ways(HEADS, operands, block=block, **options)
        for got, want in zip(blocks, dense, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-12)


def test_dropout_keeps_its_share_and_the_mean():
    q, k, v = tf.zeros([1, 256, 2, 4]), tf.zeros([1, 256, 2, 4]), tf.ones([1, 256, 2, 1])
    y = teg.attention(HEADS, q, k, v, dropout=0.25, seed=[1, 2])
    kept = 256 * 0.75 * y.numpy()  # of 256 equal weights
    assert abs(kept.mean() - 192) < 1
    assert 5 < kept.std() < 9  # of a binomial, 6.9
    other = teg.attention(HEADS, q, k, v, dropout=0.25, seed=[1, 3])
    assert abs(np.corrcoef(y.numpy().ravel(), other.numpy().ravel())[0, 1]) < 0.2
    assert (
        len({float(teg.attention(HEADS, q, k, v, dropout=0.25)[0, 0, 0, 0]) for _ in range(5)}) > 1
    )


# Derivatives --------------------------------------------------------------------------------------


def small():
    sizes = SIZES | {"b": 1, "t": 3, "s": 4, "n": 1, "h": 2, "v": 2}
    return [tf.constant(x) for x in draw(HEADS, sizes)]


@pytest.mark.parametrize("block", [2, "auto"])
def test_the_gradient_checker_agrees(block):
    report = teg.check_gradients(
        lambda q, k, v: teg.attention(HEADS, q, k, v, block=block, causal=True), small(), order=2
    )
    assert report.passed, str(report)


def test_forward_mode():
    operands = small()
    tangents = [tf.sin(x) for x in operands]
    found = []
    for block in (2, "auto"):
        with tf.autodiff.ForwardAccumulator(operands, tangents) as accumulator:
            y = teg.attention(HEADS, *operands, block=block)
        found.append(accumulator.jvp(y))
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_a_second_derivative_that_would_be_wrong_is_refused():
    with tf.Graph().as_default():
        q = tf.constant(draw(HEADS)[0])
        k, v = (tf.constant(x) for x in draw(HEADS)[1:])
        y = teg.attention(HEADS, q, k, v, block=2)
        (first,) = tf.gradients(y, [q])
        with pytest.raises(LookupError, match=r"second derivatives under a tf\.GradientTape"):
            tf.gradients(first, [q])


def largest_tensor(block):
    spec = tf.TensorSpec([1, 512, 2, 4])

    @tf.function(autograph=False, input_signature=[spec] * 3)
    def step(q, k, v):
        return gradients(lambda *x: teg.attention(HEADS, *x, block=block), [q, k, v])

    def sizes(graph):
        for op in graph.get_operations():
            for x in op.outputs:
                if x.shape.rank is not None and None not in x.shape.as_list():
                    yield int(np.prod(x.shape.as_list()))
        for function in getattr(graph, "_functions", {}).values():
            inner = getattr(function, "graph", None)
            if inner is not None:
                yield from sizes(inner)

    return max(sizes(step.get_concrete_function().graph))


def test_no_tensor_has_all_scores():
    """Of 2 heads of 512 by 512; in blocks the largest is that of a block, or an operand."""
    assert largest_tensor(32) <= 2 * 512 * 4 * 2
    assert largest_tensor(512) >= 2 * 512 * 512


# What is wrong ------------------------------------------------------------------------------------

X = tf.ones([2, 3, 4, 5])


@pytest.mark.parametrize(
    ("text", "options", "kind", "message"),
    [
        ("btnh,bsnh,btnv->btnv", {}, "EquationError", "one label that key and value share"),
        ("btnh,bsnh->btnh", {}, "EquationError", "3"),
        ("btnh,bsnh,bsnv->btn", {}, "EquationError", "label 'v' of value in the output"),
        ("btnh,bsnh,bsnv->btnvx", {}, "EquationError", "'x'"),
        ("btnn,bsnh,bsnv->btnv", {}, "EquationError", "each label once, got 'btnn'"),
        (HEADS, {"causal": "q"}, "EquationError", "query and output alone have to count along"),
        (HEADS, {"causal": "b"}, "EquationError", "alone have to count along, got 'b'"),
        ("bcnh,bsnh,bsnv->bcnv", {"window": 0}, "EinsumError", "a window of at least 1, got 0"),
        (HEADS, {"dropout": 1.0}, "EinsumError", "dropout from 0 to below 1, got 1.0"),
        (HEADS, {"block": 0}, "EinsumError", "block='auto' or at least 1, got 0"),
        (HEADS, {"block": True}, "EinsumError", "block='auto' or at least 1, got True"),
        (HEADS, {"scale": "big"}, "EinsumError", "a number as scale, got 'big'"),
        (HEADS, {"mask": X}, "OperandError", "mask=(subscripts, tensor), got"),
        (HEADS, {"mask": ("ts", tf.ones([3, 3]))}, "OperandError", "bools as mask, got float32"),
        (HEADS, {"bias": ("tv", X)}, "EquationError", "subscripts of bias among those of the sco"),
        (HEADS, {"bias": ("ts", X)}, "SizeError", "rank 2 for bias ('ts'), got rank 4"),
        (HEADS, {"bias": ("ts", tf.ones([2, 3]))}, "SizeError", "label 't', got 3 and 2 for bias"),
        (HEADS, {"memory_limit": 1}, "EinsumError", "a memory_limit of at least"),
        (HEADS, {"memory_limit": "lots"}, "EinsumError", "memory_limit"),
        (HEADS, {"dropout": 0.1, "seed": [1, 2, 3]}, "EinsumError", "a seed of one or two"),
    ],
)
def test_what_is_wrong_is_said(text, options, kind, message):
    for run in (lambda f: f(), tf.function):
        with pytest.raises(getattr(teg, kind)) as error:
            call = run(lambda: teg.attention(text, X, X, X, **options))
            if callable(call):
                call()
        assert message in str(error.value)


def test_a_limit_may_have_a_unit():
    np.testing.assert_allclose(
        teg.attention(HEADS, X, X, X, memory_limit="1kB"), teg.attention(HEADS, X, X, X), rtol=1e-6
    )


def test_sizes_and_dtypes_have_to_fit():
    with pytest.raises(teg.SizeError, match="one size for label 'n'"):
        teg.attention(HEADS, X, X, tf.ones([2, 3, 1, 5]))
    with pytest.raises(teg.OperandError, match="floating operands, got int32"):
        teg.attention(HEADS, *[tf.ones([2, 3, 4, 5], tf.int32)] * 3)
    grouped = "btgnh,bsnh,bsnv->btgnv"
    operands = [tf.constant(x) for x in draw(grouped)]
    with pytest.raises(teg.EquationError, match="got t, g; causal='t' says which"):
        teg.attention(grouped, *operands, causal=True)
    assert teg.attention(grouped, *operands, causal="t").shape == (2, 7, 2, 3, 5)


def unequal(changed="", size=0):
    """Query, key, value, mask and bias that fit, but for a size of one of them: `changed="key_s"`."""
    sizes = {"b": 2, "t": 6, "s": 4, "n": 3, "h": 4, "v": 5}
    terms = {"query": "btnh", "key": "bsnh", "value": "bsnv", "mask": "bts", "bias": "nts"}
    tensors = []
    for name, term in terms.items():
        own = [size if changed == f"{name}_{x}" else sizes[x] for x in term]
        x = np.random.default_rng(0).normal(size=own)
        tensors.append(x > -1 if name == "mask" else x)
    return tensors


def masked_and_biased(block):
    def call(query, key, value, bias, mask):
        extras = {"mask": ("bts", mask), "bias": ("nts", bias)}
        return teg.attention(HEADS, query, key, value, scale=1, block=block, **extras)

    return call


@pytest.mark.parametrize(
    ("changed", "mode"),
    [
        *((name, UNKNOWN_DIMS) for name in ("key_s", "value_s", "key_b", "value_b", "query_n")),
        *((name, UNKNOWN_DIMS) for name in ("value_n", "key_h", "mask_s", "mask_t", "mask_b")),
        *((name, UNKNOWN_DIMS) for name in ("bias_n", "bias_t", "bias_s")),
        *((name, XLA_UNKNOWN_DIMS) for name in ("key_s", "value_b", "mask_s", "bias_n")),
        *((name, UNKNOWN_RANK) for name in ("key_s", "mask_t")),
    ],
    ids=str,
)
def test_sizes_that_were_unknown_are_compared(changed, mode):
    name, label = changed.split("_")
    for size in (7,) if name in ("mask", "bias") else (7, 1):
        for block in (3, "auto"):
            query, key, value, mask, bias = unequal(changed, size)
            with pytest.raises(tf.errors.OpError) as error:
                call = masked_and_biased(block)
                mode.run(lambda x, call=call: call(*x), [query, key, value, bias, mask])
            said = str(error.value).replace("_", " ")
            assert f"requires one size for label {label} of " in said


@pytest.mark.parametrize("changed", ["mask_s", "mask_t", "mask_b", "bias_t", "bias_n"])
def test_a_size_of_1_that_was_unknown_broadcasts(changed):
    query, key, value, mask, bias = unequal(changed, 1)

    def body(operands):
        *operands, mask = operands
        call = masked_and_biased(3)
        return gradients(lambda *x: call(*x, mask), operands)

    operands = [query, key, value, bias, mask]
    got, want = UNKNOWN_DIMS.run(body, operands), EAGER.run(body, operands)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-12)


def test_unknown_ranks_are_those_of_the_subscripts():
    operands = unequal()
    query, key, value, mask, bias = operands

    def body(x):
        return masked_and_biased(3)(*x)

    operands = [query, key, value, bias, mask]
    np.testing.assert_allclose(UNKNOWN_RANK.run(body, operands), EAGER.run(body, operands))
    with pytest.raises(tf.errors.OpError, match="requires_rank_3_for_mask"):
        UNKNOWN_RANK.run(body, [query, key, value, bias, mask[0]])
    with pytest.raises(teg.SizeError, match=r"known ranks where it has \.\.\."):
        UNKNOWN_RANK.run(lambda x: teg.attention("...th,...sh,...sv->...tv", *x), operands[:3])
