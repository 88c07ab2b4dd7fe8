"""Calls that cannot be right: each names the equation, the operand, the label and both sizes."""

from __future__ import annotations

import re

import numpy as np
import opt_einsum
import pytest
import tensorflow as tf

from tf_einsum_grad import (
    EinsumError,
    EquationError,
    MachineError,
    OperandError,
    PathError,
    SizeError,
    einsum,
    einsum_path,
    explain,
    gradient_equations,
)


def ones(*shape, dtype=tf.float32):
    return tf.ones(shape, dtype)


def raising(*arguments):
    raise RuntimeError("an optimiser's own error")


A, B, C, V = (2, 3), (3, 4), (4, 5), (3,)

# (arguments, keyword arguments), kind of error, what the message says. Tuples become tensors.
EQUATIONS = [
    (("ij,jk->ik->", A, B), "'ij,jk->ik->' requires at most one '->'"),
    (("ij-jk->ik", A, B), "'ij-jk->ik' requires labels that are letters, got '-' in operand 0"),
    (("ij,jk>ik", A, B), "got '>' in operand 1"),
    (("ij,j2->i2", A, B), "got '2' in operand 1 ('j2')"),
    (("ij,jk->i_", A, B), "got '_' in the output ('i_')"),
    (("ij,jk->i,k", A, B), "requires one output, got 'i,k'"),
    (("ij;jk->ik", A, B), "got ';' in operand 0"),
    (("i.j->ij", A), "got '.' in operand 0 ('i.j'); an ellipsis is three dots, side by side"),
    (("i. ..->i", A), "got '.' in operand 0 ('i...'); an ellipsis is three dots, side by side"),
    (("i..->i", A), "got '.' in operand 0 ('i..')"),
    (("i....->i", A), "got '.' in operand 0 ('i....')"),
    (("...i...->i", A), "'...i...->i' requires at most one '...' in operand 0"),
    (("...i...->i...", (2, 3, 4)), "'...i...->i...' requires at most one '...' in operand 0"),
    (("...i->...i...", A), "requires at most one '...' in the output"),
    (("ij,jk->ik", A), "'ij,jk->ik' requires 2 operands, got 1"),
    (("ij,jk->ik", A, B, C), "'ij,jk->ik' requires 2 operands, got 3"),
    (("ij->ij",), "'ij->ij' requires 1 operand"),
    (("",), "'' requires 1 operand"),
    (("i,,j", V, V), "'i,,j' requires 3 operands, got 2"),
    (("ij,jk,->ik", A, B), "requires 3 operands, got 2"),
    ((A, [0, 1], B, [1, -2]), "labels that are integers from 0 on, or names (anything else"),
    ((A, ["row", "column"], B, ["column", -2]), "got -2 for operand 1"),
    ((A, [0, 1.5]), "got 1.5 for operand 0"),
    ((A, [0, True]), "got True for operand 0"),
    ((A, [0, "j"]), "requires an output for labels that cannot be sorted, got 0, 'j'"),
    ((A, [0, ["j"]]), "got ['j'] for operand 0"),
    ((A, "ij"), "requires a list of labels for operand 0, got str"),
    ((A, [0, 1], B, [1, 2], [0, None]), "got None for the output"),
    ((A, [..., 0, ...]), "requires at most one '...' in operand 0, got '...0...'"),
    ((A,), "of type str, such as 'ij,jk->ik', or operands each followed by a sublist; got"),
    ((b"ij->ji", A), "got bytes as its first argument"),
    ((None, A), "or operands each followed by a sublist; got NoneType as its first argument"),
    ((A, [0, 1], B), "sublist"),
]
Q, K = ["batch", "query"], ["batch", "key"]
OPERANDS = [
    ((A, Q, None, K), "'batch query,batch key' requires dense tensors, got NoneType for operand 1"),
    (("ij,jk->ik", None, B), "'ij,jk->ik' requires dense tensors, got NoneType for operand 0"),
    (("ij,jk->ik", A, None), "got NoneType for operand 1"),
    (("ij,jk->ik", A, "text"), "operand 1"),
    (("ij,jk->ik", A, object()), "got object for operand 1"),
    (("ij->", [[1.0], [2.0, 3.0]]), "got list for operand 0"),
    (("i,i->", V, [1, "x", 3]), "got list for operand 1"),
    (("i,i->", tf.constant([1, 2, 3]), [1.5, 2.0, 3.0]), "of dtype int32, got list for operand 1"),
    (("i,->", tf.constant([1, 2, 3]), np.float32(2)), "operand 0 and float32 for operand 1"),
    (
        ("i,i->", ones(3), ones(3, dtype=tf.float64)),
        "got float32 for operand 0 and float64 for operand 1",
    ),
    (
        ("i,,i->", ones(3), 1.0, tf.ones([3], tf.int32)),
        "float32 for operand 0 and int32 for operand 2",
    ),
    (
        ("i,i->", np.ones(3, "int32"), np.ones(3)),
        "int32 for operand 0 and float64 for operand 1; dtype=",
    ),
    (
        ("i,i->", tf.Variable([1.0]), tf.Variable([1])),
        "float32 for operand 0 and int32 for operand 1",
    ),
    (("i->", tf.constant(["a"])), "'i->' requires a numeric dtype, got string for operand 0"),
    (("ij->", tf.RaggedTensor.from_row_lengths([1.0], [1])), "got RaggedTensor for operand 0"),
    (("ij,j->", tf.sparse.eye(3), tf.sparse.eye(3)), "got SparseTensor for operands 0 and 1"),
    (
        ("i->", tf.quantization.quantize(ones(3), 0.0, 1.0, tf.qint8).output),
        "got qint8 for operand 0",
    ),
]
SIZES = [
    (
        ("ij,jk->ik", A, C),
        "'ij,jk->ik' requires one size for label 'j', got 3 in operand 0 (shape (2, 3)) and 4 in operand 1 (shape (4, 5))",
    ),
    (("ij,jk", A, C), "'ij,jk' (that is, 'ij,jk->ik') requires one size for label 'j', got 3 in"),
    (
        ("bij,bjk->bik", (2, 3, 4), (3, 4, 5)),
        "label 'b', got 2 in operand 0 (shape (2, 3, 4)) and 3 in operand 1",
    ),
    (("ijab,abk->ijk", (1, 1, 2, 6), (3, 4, 1)), "label 'a', got 2 in operand 0"),
    (
        ("ii->i", (3, 2)),
        "one size for the repeated label 'i' of operand 0, got 3 and 2 (shape (3, 2))",
    ),
    (("ii->i", (3, 1)), "the repeated label 'i' of operand 0, got 3 and 1"),
    (("a,bb->ab", V, (2, 3)), "the repeated label 'b' of operand 1, got 2 and 3"),
    (("iji->j", (2, 3, 4)), "the repeated label 'i' of operand 0, got 2 and 4"),
    (("ij,jk,kl->il", A, B, A), "label 'k', got 4 in operand 1 (shape (3, 4)) and 2 in operand 2"),
    (("i,i,i->", V, V, (4,)), "label 'i', got 3 in operand 0 (shape (3,)) and 4 in operand 2"),
    (("i,i->i", (0,), (2,)), "label 'i', got 0 in operand 0"),
    (("...i,...i->...", (2, 3), (4, 3)), "'...i,...i->...'"),
    (("...,...->...", (2, 3), (3, 2)), "got 2 in operand 0 (shape (2, 3)) and 3 in operand 1"),
    (("ij->i", V), "'ij->i' requires rank 2 for operand 0 ('ij'), got rank 1"),
    (("ij,jk->ik", A, V), "requires rank 2 for operand 1 ('jk'), got rank 1"),
    (("ij->i", (2, 3, 4)), "requires rank 2 for operand 0 ('ij'), got rank 3"),
    (("->", V), "'->' requires rank 0 for operand 0 (''), got rank 1"),
    (("...ij->ij", V), "requires rank 2 or more for operand 0 ('...ij'), got rank 1"),
    (("i->", 3.0), "requires rank 1 for operand 0 ('i'), got rank 0"),
    (("i->ij", V), "'i->ij' requires sizes={'j': ...}, since no operand has the output label 'j'"),
    (("ij,jk->il", A, B), "no operand has the output label 'l'"),
    (("i->i", V, {"sizes": {"j": 3}}), "requires sizes of its own labels, got 'j'"),
    (("i->ij", V, {"sizes": {"j": -1}}), "integer from 0 on for label 'j', got -1"),
    (("i->ij", V, {"sizes": {"j": 2.5}}), "integer from 0 on for label 'j', got 2.5"),
    (("i->ij", V, {"sizes": {"j": None}}), "for label 'j', got None"),
    (("i->ij", V, {"sizes": {"j": True}}), "for label 'j', got True"),
    (("i->i", V, {"sizes": {"i": 5}}), "label 'i', got 3 in operand 0 (shape (3,)) and 5 in sizes"),
    (("i->i", V, {"sizes": {"...": (2,)}}), "'i->i' requires '...' in the output"),
    (("...i->...i", A, {"sizes": {"...": ()}}), "requires a size for each of the 1 dimensions"),
    (
        ("...i->...i", A, {"sizes": {"...": (5,)}}),
        "got 2 in operand 0 (shape (2, 3)) and 5 in sizes",
    ),
    (
        (A, Q, C, K),
        "'batch query,batch key' (that is, 'batch query,batch key->key query') requires one size for label 'batch', got 2 in operand 0 (shape (2, 3)) and 4 in operand 1 (shape (4, 5))",
    ),
    ((A, ["row", "row"]), "one size for the repeated label 'row' of operand 0, got 2 and 3"),
    ((V, Q), "requires rank 2 for operand 0 ('batch query'), got rank 1"),
    ((V, ["a"], ["a", "new"]), "'a->a new' requires sizes={'new': ...}, since no operand has the"),
    ((V, ["a"], {"sizes": {"new": 3}}), "'a' requires sizes of its own labels, got 'new'"),
    ((V, ["a"], {"sizes": {"a": 5}}), "label 'a', got 3 in operand 0 (shape (3,)) and 5 in sizes"),
    ((V, ["row"], {"size_hints": {"row": 0}}), "an integer from 1 on for label 'row', got 0"),
    ((V, ["row"], {"size_hints": {0: 1}}), "'row' requires size_hints of its own labels, got 0"),
]
THREE = ("ij,jk,kl->il", A, B, C)
PATHS = [
    ((A, Q, V, ["query"], {"optimize": [(0, 2)]}), "'batch query,query->batch' requires each step"),
    ((*THREE, {"optimize": "fastest"}), "requires the name of an optimiser, got 'fastest'"),
    (("i,i->", V, V, {"optimize": "fastest"}), "requires the name of an optimiser, got 'fastest'"),
    ((*THREE, {"optimize": 3}), "an opt_einsum optimiser, got 3"),
    ((*THREE, {"optimize": 1.5}), "got 1.5"),
    ((*THREE, {"optimize": {(0, 1)}}), "got {(0, 1)}"),
    ((*THREE, {"optimize": [(0, 3), (0, 1)]}), "positions below 3, got (0, 3)"),
    ((*THREE, {"optimize": [(0, 0), (0, 1)]}), "different positions below 3, got (0, 0)"),
    ((*THREE, {"optimize": [(0, 1), (0, 2)]}), "positions below 2, got (0, 2)"),
    ((*THREE, {"optimize": [(-1, 0), (0, 1)]}), "got (-1, 0)"),
    ((*THREE, {"optimize": [(), (0, 1, 2)]}), "got ()"),
    ((*THREE, {"optimize": [0, 1]}), "a list of tuples of operand positions, got [0, 1]"),
    ((*THREE, {"optimize": [(0, 1.5)]}), "a list of tuples of operand positions"),
    ((*THREE, {"optimize": [("a", "b")]}), "a list of tuples of operand positions"),
    ((*THREE, {"optimize": ("greedy", 10, 20)}), "(name, memory limit)"),
    ((*THREE, {"optimize": ("nonsense", 10)}), "got 'nonsense'"),
    ((*THREE, {"optimize": ("greedy", "much")}), "(name, memory limit)"),
    ((*THREE, {"optimize": ("greedy", [10])}), "(name, memory limit)"),
    ((*THREE, {"optimize": ("greedy", 0)}), "(name, memory limit)"),
    ((*THREE, {"optimize": ("greedy", 0.5)}), "elements a tensor between two steps may have, from"),
    ((*THREE, {"optimize": ("greedy", -2)}), "None or -1 for no limit; got ('greedy', -2)"),
    ((*THREE, {"optimize": ("greedy", True)}), "(name, memory limit)"),
    ((*THREE, {"optimize": ("greedy", float("nan"))}), "(name, memory limit)"),
    ((*THREE, {"optimize": ("greedy", "max")}), "'max_input' for as many as the largest operand"),
    ((*THREE, {"optimize": lambda *_: [(0, 7)]}), "positions below 3, got (0, 7)"),
    ((*THREE, {"optimize": lambda *_: None}), "a list of tuples of operand positions, got None"),
]
CALLS = [
    pytest.param(arguments, kind, message, id=f"{kind.__name__}: {message[:60]}")
    for kind, rows in (
        (EquationError, EQUATIONS),
        (OperandError, OPERANDS),
        (SizeError, SIZES),
        (PathError, PATHS),
    )
    for arguments, message in rows
]


def is_shape(x):
    return isinstance(x, tuple) and all(type(n) is int for n in x)


def call(arguments):
    *arguments, last = arguments
    keywords = last if isinstance(last, dict) else {}
    arguments += [] if keywords else [last]
    return einsum(*(ones(*x) if is_shape(x) else x for x in arguments), **keywords)


@pytest.mark.parametrize(("arguments", "kind", "message"), CALLS)
def test_message_in_eager_and_graph(arguments, kind, message):
    with pytest.raises(EinsumError) as eager:
        call(arguments)
    with pytest.raises(EinsumError) as graph:
        tf.function(lambda: call(arguments), autograph=False).get_concrete_function()
    with pytest.raises(EinsumError) as compiled:
        tf.function(lambda: call(arguments), jit_compile=True, autograph=False)()
    assert message in str(eager.value)
    assert type(eager.value) is type(graph.value) is type(compiled.value) is kind
    if kind is not OperandError:  # which may show the tensor, and that has another name in a graph
        varying = re.compile("0x[0-9a-f]+|(Eager|Symbolic)Tensor")
        assert len({varying.sub("", str(error.value)) for error in (eager, graph, compiled)}) == 1


def test_every_error_is_a_value_error():
    for kind in (EinsumError, EquationError, MachineError, OperandError, PathError, SizeError):
        assert issubclass(kind, ValueError) and issubclass(kind, EinsumError)


def test_autograph_keeps_the_kind():
    @tf.function
    def function(a, b):
        return einsum("ij,jk->ik", a, b)

    with pytest.raises(SizeError, match="label 'j', got 3 in operand 0"):
        function(ones(2, 3), ones(4, 5))


def test_what_an_optimizer_raises_comes_through():
    with pytest.raises(RuntimeError, match="own error"):
        einsum("ij,jk,kl->il", ones(2, 3), ones(3, 4), ones(4, 5), optimize=raising)


@pytest.mark.parametrize("option", ["sizes", "size_hints"])
@pytest.mark.parametrize("one", [True, 1.0])
def test_what_equals_an_integer_is_an_error_after_it_too(option, one):
    x = ones(2)
    assert einsum("i->ij", x, **{"sizes": {"j": 1}, option: {"j": 1}}).shape == (2, 1)
    with pytest.raises(SizeError, match=f"an integer from . on for label 'j', got {one}"):
        einsum("i->ij", x, **{"sizes": {"j": 1}, option: {"j": one}})


@pytest.mark.parametrize("one", [True, 1.0])
def test_what_equals_an_integer_is_an_error_in_an_ellipsis_too(one):
    assert einsum("i->...i", ones(2), sizes={"...": (1, 3)}).shape == (1, 3, 2)
    with pytest.raises(SizeError, match=f"integer from 0 on for label 'a', got {one}"):
        einsum("i->...i", ones(2), sizes={"...": (one, 3)})


@pytest.mark.parametrize(
    ("function", "arguments", "kind"),
    [
        (gradient_equations, ("ij,jk->ik->",), EquationError),
        (gradient_equations, ("...a...",), EquationError),
        (explain, ("ij,jk->ik", (2, 3)), EquationError),
        (explain, ("ij,jk->ik", (2, 3), (4, 5)), SizeError),
        (explain, ("ij,jk->ik", (2, 3), (4,)), SizeError),
        (einsum_path, ("ij,jk->ik", (2, 3)), EquationError),
        (einsum_path, ("ij,jk->ik", (2, 3), (4, 5)), SizeError),
    ],
)
def test_the_other_functions(function, arguments, kind):
    with pytest.raises(kind, match=re.escape(arguments[0])):
        function(*arguments)


# Equation, shapes that a graph cannot know, the label and the sizes that its message names.
MISMATCHES = [
    ("ij,jk->ik", ((2, 3), (4, 5)), "j", (3, 4)),
    ("bij,bjk->bik", ((2, 3, 4), (3, 4, 5)), "b", (2, 3)),
    ("ijab,abk->ijk", ((1, 1, 2, 6), (3, 4, 1)), "a", (2, 3)),
    ("ijab,abk->ijk", ((1, 1, 3, 4), (3, 2, 1)), "b", (4, 2)),
    ("ii->i", ((3, 2),), "i", (3, 2)),
    ("ii->i", ((3, 1),), "i", (3, 1)),
    ("ij,ij->ij", ((2, 3), (2, 4)), "j", (3, 4)),
    ("ij,jk,kl->il", ((2, 3), (3, 4), (5, 6)), "k", (4, 5)),
    ("i,i,i->", ((3,), (1,), (4,)), "i", (3, 4)),
    ("ij,ij->", ((2, 6), (3, 4)), "i", (2, 3)),
    ("i,i->i", ((0,), (2,)), "i", (0, 2)),
]


def unknown(equation, shapes, **keywords):
    return tf.function(
        lambda *xs: einsum(equation, *xs),
        input_signature=[tf.TensorSpec([None] * len(shape)) for shape in shapes],
        **keywords,
    )


@pytest.mark.parametrize(("equation", "shapes", "label", "sizes"), MISMATCHES)
def test_mismatch_at_run_time(equation, shapes, label, sizes):
    operands = [ones(*shape) for shape in shapes]
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        unknown(equation, shapes)(*operands)
    message = str(error.value)
    if "," in equation:  # the kernel refuses; its name says what it requires
        names = re.findall(r"requires_one_size_for_([\w]+?)_(?:of|in)_", message)
        assert any(f"label_{label}" in name.split("_and_") for name in names)
    else:
        assert f"einsum {equation} requires one size for the repeated label {label} of" in message
    assert all(re.search(rf"\b{size}\b", message) for size in sizes)


@pytest.mark.parametrize(("equation", "shapes", "label", "sizes"), MISMATCHES)
def test_mismatch_under_xla(equation, shapes, label, sizes):
    operands = [ones(*shape) for shape in shapes]
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)) as error:
        unknown(equation, shapes, jit_compile=True)(*operands)
    names = re.findall(r"requires_one_size_for_([\w]+?)_(?:of|in)_", str(error.value))
    assert any(re.search(rf"(^|_)label_{label}(_|$)", name) for name in names)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("sublists", "specs", "shapes", "options", "message"),
    [
        ((Q, K), [[None] * 2] * 2, [(2, 3), (4, 5)], {}, "requires_one_size_for_label_batch_of_o"),
        ((Q, K), [None] * 2, [(2, 3), (4, 5)], {}, "requires_one_size_for_label_batch_of_operand"),
        ((["row", "row"],), [[None] * 2], [(2, 3)], {}, "the.repeated.label.row.of.operand.0"),
        ((["row"],), [[None]], [(3,)], {"sizes": {"row": 5}}, "requires_size_5_for_label_row_of"),
        ((["a b", ...],) * 2, [None] * 2, [(2, 3), (4, 3)], {}, "one_size_for_label_a_b_"),
    ],
)
def test_run_time_errors_say_names(sublists, specs, shapes, options, message, compiled):
    @tf.function(input_signature=[tf.TensorSpec(s) for s in specs], jit_compile=compiled)
    def function(*operands):
        pairs = zip(operands, sublists, strict=True)
        return einsum(*(part for pair in pairs for part in pair), **options)

    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        function(*(ones(*shape) for shape in shapes))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_given_size_is_compared_with_an_unknown_one(compiled):
    @tf.function(input_signature=[tf.TensorSpec([None])], jit_compile=compiled)
    def function(x):
        return einsum("i->i", x, sizes={"i": 5})

    for n in (1, 5):  # a dimension of size 1 broadcasts
        assert function(ones(n)).numpy().tolist() == [1.0] * 5
    with pytest.raises(
        (tf.errors.InvalidArgumentError, ValueError), match="requires_size_5_for_label_i"
    ):
        function(ones(3))


@pytest.mark.parametrize("compiled", [False, True])
def test_what_turns_out_to_be_1_broadcasts(compiled):
    function = unknown("i,i->i", ((1,), (3,)), jit_compile=compiled)
    for m, n in ((1, 3), (3, 1), (3, 3), (1, 1)):
        assert function(ones(m), ones(n)).shape == (max(m, n),)


@pytest.mark.parametrize("compiled", [False, True])
def test_mismatch_in_a_gradient(compiled):
    @tf.function(input_signature=[tf.TensorSpec([None, None])] * 2, jit_compile=compiled)
    def gradient(a, b):
        return tf.gradients(einsum("ij,jk->ik", a, b), [a, b])

    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match="label"):
        gradient(ones(2, 3), ones(4, 5))
    assert [g.shape for g in gradient(ones(2, 3), ones(3, 4))] == [(2, 3), (3, 4)]


@pytest.mark.parametrize(
    ("equation", "specs", "shapes", "message"),
    [
        ("ij->ji", [None], [(2, 3, 4)], "requires_rank_2_for_operand_0"),
        ("ij,k->kji", [None, None], [(3, 4), (3, 4)], "requires_rank_1_for_operand_1"),
        ("i->", [None], [(3, 4)], "requires_rank_1_for_operand_0"),
        ("...ij->ij", [None], [(3,)], "rank"),
        ("i...,i->...", [None, [None]], [(2, 3), (4,)], "for_label_i_"),
        ("...i,...i->", [None, None], [(2, 3), (4, 3)], "Incompatible shapes|'...'"),
    ],
)
def test_unknown_rank(equation, specs, shapes, message):
    function = tf.function(
        lambda *xs: einsum(equation, *xs), input_signature=[tf.TensorSpec(s) for s in specs]
    )
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        function(*(ones(*shape) for shape in shapes))


def test_opt_einsum_paths_are_no_error():
    path, _ = opt_einsum.contract_path("ij,jk,kl->il", np.ones(A), np.ones(B), np.ones(C))
    assert einsum("ij,jk,kl->il", ones(*A), ones(*B), ones(*C), optimize=path).shape == (2, 5)


@pytest.mark.parametrize("shape", [(1, 0, 1), (2, 3, 1), (0, 2, 1), (1, 3, 1)])
def test_a_repeated_label_of_unknown_sizes_is_named_under_xla(shape):
    """XLA drops assertions; the kernel that fails in their place says what it requires."""
    spec = [tf.TensorSpec([None, None, None])]
    function = tf.function(
        lambda x: einsum("aab->", x), input_signature=spec, jit_compile=True, autograph=False
    )
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match="requires_one_size_for_the_repeated_label_a_of_operand_0",
    ):
        function(tf.ones(shape))
