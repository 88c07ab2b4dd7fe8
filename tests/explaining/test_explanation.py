import json

import numpy as np
import pytest

import tf_einsum_grad as teg
from tf_einsum_grad import EquationError, PathError, SizeError, einsum_path, explain
from tf_einsum_grad.explaining.arguments import read_shape
from tf_einsum_grad.explaining.native import NativeGradient

QUESTION = ("ijkm,ijkn->imn", (100, 28, 28, 512), (100, 28, 28, 512))


def test_the_question():
    e = teg.explain(*QUESTION)
    assert [g.equation for g in e.gradients] == list(teg.gradient_equations(QUESTION[0]))
    assert e.output_shape == (100, 512, 512)
    assert e.flops_forward == 2 * 100 * 28 * 28 * 512 * 512
    assert e.flops_backward == 2 * e.flops_forward
    roles = {role.label: role.role.split(":")[0] for role in e.roles}
    assert roles == {"i": "batch", "j": "contracting", "k": "contracting", "m": "free", "n": "free"}
    assert [work.call for g in e.gradients for work in g.work] == [
        "einsum('ijkn,imn->ijkm', B, dL/dY)",
        "einsum('ijkm,imn->ijkn', A, dL/dY)",
    ]
    assert [g.native for g in e.gradients] == [
        NativeGradient("einsum('imn,ijkn->ijkm', dL/dY, B)", ("permutes 'ijkm' (321.1 MB)",)),
        NativeGradient("einsum('imn,ijkm->ijkn', dL/dY, A)", ("permutes 'ijkn' (321.1 MB)",)),
    ]


@pytest.mark.parametrize(
    ("equation", "shapes", "operand", "phrase"),
    [
        (
            "...k,kn->...n",
            [(8, 128, 512), (512, 512)],
            1,
            "materialises the summed ellipsis (1.1 GB)",
        ),
        ("bij,bij->bij", [(4, 5, 6)] * 2, 0, "runs 120 products of 1x1 matrices"),
        ("ij,jk->i", [(2, 3), (3, 4)], 1, "puts k back in a second step"),
    ],
)
def test_what_native_does_worse(equation, shapes, operand, phrase):
    e = teg.explain(equation, *shapes)
    assert e.gradients[operand].native.drawbacks == (phrase,)
    assert f", which {phrase}." in e.to_text(200)


def test_nothing_is_said_of_native_where_it_does_as_well():
    first, second = teg.explain("ij,jk->ik", (2, 3), (3, 4)).gradients
    assert first.native == NativeGradient("einsum('ik,jk->ij', dL/dY, B)", ())
    assert second.native.drawbacks == ("permutes 'jk' (96 B)",)  # it computes kj, cotangent first
    for equation, *shapes in (
        ("ij,jk->ik", (2, 1), (1, 1)),  # of one element, `jk` is permuted for nothing
        ("ij->ji", (2, 3)),
        ("ii->i", (3, 3)),
    ):
        assert not any(g.native.drawbacks for g in teg.explain(equation, *shapes).gradients)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),  # it runs several
        ("ij->i", [(2, 3)]),  # it broadcasts
        ("i,i->ii", [(3,), (3,)]),  # what follows it refuses
        ("é,é->é", [(3,), (3,)]),
        ("ij,ij->ij", [(1, 3), (2, 3)]),
        ("...i,...i->i", [(2, 3), (2, 3)]),
    ],
)
def test_where_native_has_no_such_einsum(equation, shapes):
    e = teg.explain(equation, *shapes)
    assert [g.native for g in e.gradients] == [None] * len(shapes)
    assert "Native" not in str(e)


@pytest.mark.parametrize("target", ["eager", "graph", "xla"])
def test_each_target_has_its_own_kernels(target):
    e = teg.explain("bji->bj", (4, 3, 3), target=target)
    assert e.target == target
    kernels = {
        t: teg.explain("bii->bi", (4, 3, 3), target=t).forward[0].call for t in ("eager", "graph")
    }
    assert kernels == {
        "eager": "diagonal(A, [1, 2], by='diag_part')",
        "graph": "diagonal(A, [1, 2], by='stride')",
    }
    assert {"eager": "in eager mode", "graph": "in tf.function", "xla": "under XLA"}[target] in str(
        e
    )
    with pytest.raises(teg.EinsumError, match="a target among eager, graph, xla, got 'tpu'"):
        teg.explain("i", (2,), target="tpu")


@pytest.mark.parametrize(
    ("equation", "shapes", "words"),
    [
        ("ij->i", [(2, 3)], "j was summed out of A alone"),
        ("ii->i", [(3, 3)], "A was read on a diagonal only"),
        ("i,i->i", [(3,)] * 2, "nothing is left to sum"),
        ("ij,jk->ik", [(2, 3), (3, 4)], "multiplied by B and summed over every label"),
    ],
)
def test_derivations_say_what_happened(equation, shapes, words):
    assert words in teg.explain(equation, *shapes).gradients[0].derivation


def test_complex_gradients_conjugate():
    e = teg.explain("ij,jk->ik", (2, 3), (3, 4), dtype="complex64")
    assert "multiplied by conj B" in e.gradients[0].derivation
    assert "dL/dA = einsum('ik,jk->ij', dL/dY, conj(B))" in str(e)


def test_three_operands_share_intermediates():
    e = teg.explain("bqd,bkd,bkv->bqv", *[(8, 1024, 64)] * 3)
    assert e.path == ((1, 2), (0, 1))
    assert e.largest_intermediate_bytes == 4 * 8 * 64 * 64
    assert [[(work.result, work.equation) for work in g.work] for g in e.gradients] == [
        [("dL/dA", "bqv,bdv->bqd")],
        [("dL/dZ1", "bqd,bqv->bdv"), ("dL/dB", "bdv,bkv->bkd")],
        [("dL/dZ1", "bqd,bqv->bdv"), ("dL/dC", "bkd,bdv->bkv")],
    ]
    assert e._repr_html_().count("<td>dL/dZ1</td>") == 1, "what two gradients share stands once"
    assert e.flops_backward == 2 * e.flops_forward


def test_what_is_permuted():
    e = teg.explain("bthd,bshd->bhts", *[(4, 64, 8, 32)] * 2)
    assert e.forward[0].call == (
        "matmul(permute(A, [0, 2, 1, 3]), permute(B, [0, 2, 1, 3]), transpose_b=True)"
    )
    assert e.gradients[0].work[0].call.startswith("permute(matmul(dL/dY, permute(B, ")
    assert teg.explain("ij->ji", (64, 64)).forward[0].call == "permute(A, [1, 0])"


def test_roles_and_places():
    e = teg.explain("aab,bc->bd", (3, 3, 2), (2, 5), sizes={"d": 4})
    assert [(r.label, r.size, r.role, r.places) for r in e.roles] == [
        ("a", 3, "summed: one operand only, on a diagonal", ("A",)),
        ("b", 2, "batch: operands and output", ("A", "B", "Y")),
        ("c", 5, "summed: one operand only", ("B",)),
        ("d", 4, "broadcast: new in the output", ("Y",)),
    ]


def test_a_size_that_broadcasts_is_out_of_the_gradients_equation():
    a, b = np.ones((1, 3)), np.ones((2, 3))
    e = teg.explain("ij,ij->ij", a.shape, b.shape)
    first, second = e.gradients
    assert (first.equation, second.equation) == ("ij,ij->j", "j,ij->ij")
    assert "sums over i" in first.derivation
    assert "A has size 1 along i, which broadcasts" in first.derivation
    assert "which broadcasts" not in second.derivation
    assert [(r.label, r.role) for r in e.roles if r.label == "i"] == [
        ("i", "free: one operand and the output")
    ]
    assert e.expanded == "ij,ij->ij"


def test_a_mesh_over_a_size_that_broadcasts():
    e = teg.explain("bi,bi->bi", (1, 3), (8, 3), mesh={"b": 4})
    assert [part.reduced for part in e.communication] == [(), ("b",), ()]


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64")])
def test_dtypes_in_every_form(dtype):
    assert teg.explain("i", (2,), dtype=dtype).dtype == "float64"
    assert teg.explain("i", np.ones(2, dtype)).dtype == "float64"
    assert teg.explain("i", (2,)).dtype == "float32"
    matrix = np.ones((200, 200), dtype)
    _, report = teg.einsum_path("ij,jk,kl->il", matrix[:1], matrix, matrix)
    assert "1.6 kB (float64)" in report


def test_figures_are_for_the_hints():
    shapes, hints = [(2, 300), (None, 300), (None, 300)], {"i": 7, "l": 5}
    hinted = teg.explain("ij,kj,lj->ikl", *shapes, size_hints=hints)
    assert hinted.roles[0].size == 2 and hinted.size_hints == (("l", 5),)
    assert "figures take 5 for l, 1024 for any other." in str(hinted)
    assert hinted.forward[-1].result_bytes == 4 * 2 * 1024 * 5
    _, report = teg.einsum_path("ij,kj,lj->ikl", *shapes, size_hints=hints)
    assert f"As one sum:            {3 * 2 * 300 * 1024 * 5 / 1e6:.1f} MFLOP" in report


def test_hints_choose_the_path_and_are_checked():
    shapes = [(None, None)] * 3
    narrow, other = (
        teg.explain("ij,jk,kl->il", *shapes, size_hints=dict(zip("ijkl", sizes, strict=True))).path
        for sizes in ((1000, 2, 1000, 2), (2, 1000, 2, 1000))
    )
    assert narrow != other
    with pytest.raises(teg.SizeError, match="size_hints of its own labels, got 'z'"):
        teg.explain("ij,jk->ik", *shapes[:2], size_hints={"z": 3})
    with pytest.raises(teg.SizeError, match="integer from 1 on for label 'i', got 'big'"):
        teg.einsum_path("ij,jk->ik", *shapes[:2], size_hints={"i": "big"})


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("αβ,βγ->αγ", ((2, 3), (3, None))),
        (",".join(a + b for a, b in zip("abcdefghijklmnop", "bcdefghijklmnopq", strict=True)) + "->aq",
         ((100, 100),) * 16),
    ],
)  # fmt: skip
def test_text_fits(equation, shapes):
    e = teg.explain(equation, *shapes)
    assert str(e) == e.to_text(98)
    for width in (40, 98, 200):
        lines = e.to_text(width).splitlines()
        assert max(map(len, lines)) <= width
    assert "".join(e.to_text(40).split()) == "".join(str(e).split())


def test_html_escapes():
    e = teg.explain("αβ,βγ->αγ", (2, 3), (3, None))
    assert "Sizes shown as ? are unknown" in str(e)
    page = e._repr_html_()
    assert "&gt;" in page and "'->" not in page
    assert page.count("<table>") == page.count("</table>") == 2


def test_a_mesh_says_what_is_sent():
    e = teg.explain("bk,kn->bn", (64, 512), (512, 512), mesh={"b": 4})
    assert [part.bytes for part in e.communication] == [0, 0, 4 * 512 * 512]
    text = str(e)
    assert "forward: bk,kn->bn sends nothing." in text
    assert "gradient 1: bk,bn->kn sums over b: an all-reduce of 1.0 MB over 4 devices" in text
    assert "an all-reduce of 1.0 MB over 4 devices" in e._repr_html_()
    assert "Communication" not in str(teg.explain("bk,kn->bn", (64, 512), (512, 512)))


def test_dictionary_is_json():
    e = teg.explain(*QUESTION)
    assert json.loads(json.dumps(e.to_dict()))["gradients"][0]["equation"] == "imn,ijkn->ijkm"


@pytest.mark.parametrize("shape", [(2, None), [2, None], np.ones((2, 3)).shape])
def test_shapes_are_read(shape):
    assert read_shape(shape) == tuple(shape)
    assert read_shape(np.ones((2, 3))) == (2, 3)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (("ij,jk", (2, 3)), teg.EquationError, "requires 2 operands, got 1"),
        (("ij", (2, 3), (2,)), teg.EquationError, "requires 1 operand, got 2"),
        (("ij", 3), teg.SizeError, "requires a shape to be a sequence of sizes, got 3"),
        (("ij", (2, -3)), teg.SizeError, r"requires sizes from 0 on, got \(2, -3\)"),
        (("ij,jk", (2, 3), (4, 5)), teg.SizeError, "label 'j', got 3 in operand 0"),
        (("...i",), teg.SizeError, "requires shapes to be explained"),
        (("i1",), teg.EquationError, "labels that are letters, got '1'"),
    ],
)
def test_bad_calls(call, kind, message):
    with pytest.raises(kind, match=message):
        teg.explain(*call)


def test_an_equation_that_is_none():
    with pytest.raises(teg.EquationError, match=r"equation of type str.*got list"):
        teg.einsum_path([0, 1])
    with pytest.raises(teg.EquationError, match=r"equation of type str.*got bytes"):
        teg.explain(b"ij->i", (2, 3))


def test_dtype_is_checked():
    with pytest.raises(teg.OperandError, match="requires a numeric dtype, got 'string'"):
        teg.explain("i", (2,), dtype="string")


def test_einsum_path_is_numpys():
    shapes = [(2, 900), (900, 3), (3, 700)]
    path, report = teg.einsum_path("ij,jk,kl->il", *shapes)
    assert path == ["einsum_path", (0, 1), (0, 1)]
    arrays = [np.ones(shape) for shape in shapes]
    assert np.einsum("ij,jk,kl->il", *arrays, optimize=path).shape == (2, 700)
    assert "As one sum:            11.3 MFLOP" in report  # 2 * 900 * 3 * 700 * 3 operands
    assert "     0  0, 1          ij,jk->ik " in report
    assert report.endswith(
        "     1  2, step 0     kl,ik->il                         contracting k, free l, free i"
    )
    assert teg.einsum_path("ij,jk,kl->il", *arrays)[0] == path
    assert teg.einsum_path("ij,jk,kl->il", *arrays, optimize=[(1, 2), (0, 1)])[0][1:] == [
        (1, 2),
        (0, 1),
    ]


def test_einsum_path_needs_all_shapes():
    with pytest.raises(teg.EquationError, match="requires 2 operands, got 1"):
        teg.einsum_path("ij,jk", (2, 3))


Q, K, SCORES = ["batch", "query", "head"], ["batch", "key", "head"], ["batch", "query", "key"]


def test_names_stand_where_letters_would():
    """Word by word what letters give, also in steps, hints, meshes and native's calls."""
    shapes = (8, 3, 4), (8, 5, 4), (8, 5, 6)
    outputs = ["batch", "query", "value"]
    named = explain(shapes[0], Q, shapes[1], K, shapes[2], ["batch", "key", "value"], outputs)
    plain = explain("bqh,bkh,bkv->bqv", *shapes)
    names = {"b": "batch", "q": "query", "h": "head", "k": "key", "v": "value"}
    assert [g.equation for g in named.gradients] == [
        ",".join(
            " ".join(names[x] for x in term) for term in gradient.equation.split("->")[0].split(",")
        )
        + "->"
        + " ".join(names[x] for x in gradient.equation.split("->")[1])
        for gradient in plain.gradients
    ]
    assert [role.label for role in named.roles] == [names[role.label] for role in plain.roles]
    assert named.path == plain.path
    assert named.flops_backward == plain.flops_backward
    text = str(named) + named._repr_html_() + json.dumps(named.to_dict())
    assert not any(ord(x) >= 0x10000 for x in text)


def test_names_in_hints_and_meshes():
    found = explain((8, 3, 4), Q, (8, 5, 4), K, SCORES, mesh={"batch": 2})
    assert found.communication[0].equation.output == "batch query key"
    assert not found.communication[0].reduced
    found = explain((8, 3, 4), Q, (8, 5, 4), K, SCORES, mesh={"head": 2})
    assert found.communication[0].reduced == ("head",)
    assert "batch query head,batch key head->batch query key sums over head" in str(found)
    found = explain((8, None, 4), Q, (8, 5, 4), K, SCORES, size_hints={"query": 7})
    assert "figures take 7 for query, 1024 for any other" in str(found)
    assert "that is" not in str(found)
    found = explain((2, 3, 4), [..., "query", "head"], [..., "head"])
    assert "that is, a query head->a head" in str(found)


def test_einsum_path_takes_sublists():
    operands = np.ones((2, 900)), [0, 1], np.ones((900, 3)), [1, 2], np.ones((3, 700)), [2, 3]
    path, report = einsum_path(*operands, [0, 3])
    assert path == np.einsum_path(*operands, [0, 3])[0]
    assert "0 1,1 2,2 3->0 3" in report
    named = [["row", 0, "inner"][x : x + 2] for x in (0, 1)]
    path, report = einsum_path((2, 900), named[0], (900, 3), named[1], ["row", "inner"])
    assert path == ["einsum_path", (0, 1)]
    assert "row 0,0 inner->row inner" in report
    assert "contracting 0, free row, free inner" in report


@pytest.mark.parametrize("function", [explain, einsum_path])
def test_errors_of_sublists_say_names(function):
    with pytest.raises(
        SizeError, match=r"one size for label 'head', got 4 in .* and 6 in operand 1"
    ):
        function((8, 3, 4), Q, (8, 5, 6), K, SCORES)
    with pytest.raises(SizeError, match="requires size_hints of its own labels, got 'nil'"):
        function((8, 3, 4), Q, (8, 5, 4), K, SCORES, size_hints={"nil": 3})
    with pytest.raises(
        PathError, match="einsum 'batch query head,batch key head->batch query key'"
    ):
        function((8, 3, 4), Q, (8, 5, 4), K, SCORES, optimize=[(0, 2)])
    with pytest.raises(EquationError, match="requires a list of labels for operand 1, got int"):
        function((8, 3, 4), Q, (8, 5, 4), 3)
