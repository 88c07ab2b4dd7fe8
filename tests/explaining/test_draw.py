"""The pictures say what the algebra says; they are also looked at, in the notebooks."""

import subprocess
import sys
from typing import get_args

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, PathPatch
from matplotlib.text import Annotation

import tf_einsum_grad as teg
from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.algebra.roles import Role
from tf_einsum_grad.draw import COLORS, draw_equation, draw_plan, draw_swap, label_roles


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _texts(ax):
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.texts]


def test_roles():
    assert label_roles(parse_equation("bij,bj->ib")) == {
        "b": "batch",
        "i": "free",
        "j": "contracting",
    }
    assert set(COLORS) == set(get_args(Role))
    assert len(set(COLORS.values())) == len(COLORS)


@pytest.mark.parametrize(
    "equation",
    ["ijkm,ijkn->imn", "ii->i", "ij->", "i->ij", "ab,bc,cd,de,ea->", "i,i,i->i", "->", "iij->j"],
)
def test_every_node_and_label_is_drawn(equation):
    texts = _texts(draw_equation(equation))
    n = len(parse_equation(equation).inputs)
    assert texts.count("Y") == 1 and texts.count("A") == 1
    assert set(parse_equation(equation).labels) | set("ABCDE"[:n]) | {"Y"} == set(texts)


@pytest.mark.parametrize(
    ("equation", "lines", "loops"),
    [
        ("ij,jk->ik", 3, 0),  # between two nodes
        ("bi,bi->b", 4, 0),  # a star of three for b
        ("ij->i", 2, 0),  # a stub for j
        ("iij->j", 2, 1),
        ("ii->iijj", 2, 3),
    ],
)
def test_labels_are_lines_stars_stubs_and_loops(equation, lines, loops):
    patches = draw_equation(equation).patches
    assert sum(isinstance(patch, PathPatch) for patch in patches) == lines
    assert sum(isinstance(patch, Circle) for patch in patches) == loops


def test_a_gradient_is_the_same_graph_with_another_answer():
    ax = draw_equation("ijkm,ijkn->imn", gradient=1)
    assert ax.get_title() == "ijkm,imn->ijkn"
    texts = _texts(ax)
    assert {"A", "dL/dB", "dL/dY"} < set(texts) and not {"B", "Y"} & set(texts)
    dashed = [t.get_text() for t in ax.texts if t.get_bbox_patch().get_linestyle() == "--"]
    assert dashed == ["dL/dB"]


@pytest.mark.parametrize(
    ("equation", "operand"), [("ijkm,ijkn->imn", 0), ("...k,kn->...n", 1), ("ij->i", 0)]
)
def test_the_swap_shows_the_gradient_equation(equation, operand):
    ax = draw_swap(equation, operand)
    assert ax.get_title().endswith(teg.gradient_equations(equation)[operand])
    tiles = [
        t for t in _texts(ax) if t and t not in (",", "→") and t[0] not in "ABY" and "/" not in t
    ]
    both = equation + teg.gradient_equations(equation)[operand]
    assert len(tiles) == len(both.replace("...", ".").replace("->", "").replace(",", ""))


def test_two_terms_change_places_and_labels_have_the_color_of_their_role():
    ax = draw_swap("bi,bij,bj->b", 1)
    arrows = [t for t in ax.texts if isinstance(t, Annotation)]
    starts = [arrow.xyann[0] for arrow in arrows]
    ends = [arrow.xy[0] for arrow in arrows]
    assert ends == [starts[0], starts[3], starts[2], starts[1]]
    tiles = [(t, t.get_bbox_patch()) for t in ax.texts if t.get_bbox_patch()]
    colors = {"above": {}, "below": {}}  # each row in the colors of its own equation
    for text, box in tiles:
        row = "above" if text.get_position()[1] > 0 else "below"
        colors[row][text.get_text()] = to_hex(box.get_facecolor()).upper()
    batch, contracting, free = (COLORS[role] for role in ("batch", "contracting", "free"))
    assert colors["above"] == {"b": batch, "i": contracting, "j": contracting}
    assert colors["below"] == {"b": batch, "i": free, "j": free}  # bi,b,bj->bij


def test_a_gradient_has_the_colors_of_its_own_equation():
    def colors(**options):
        ax = draw_equation("ijkm,ijkn->imn", **options)
        tags = [t for t in ax.texts if t.get_text() in tuple("ijkmn")]
        return {tag.get_text(): to_hex(tag.get_color()).upper() for tag in tags}

    batch, contracting, free = (COLORS[role] for role in ("batch", "contracting", "free"))
    assert colors() == {"i": batch, "j": contracting, "k": contracting, "m": free, "n": free}
    first = {"i": batch, "j": free, "k": free, "m": free, "n": contracting}  # imn,ijkn->ijkm
    assert colors(gradient=0) == first


def test_a_plan_grows_down_to_the_output():
    ax = draw_plan("ij,jk,kl,lm->im", *[(4, 4)] * 4, optimize=[(0, 1), (1, 2), (0, 1)])
    boxes = [t for t in ax.texts if t.get_family() == ["monospace"]]
    places = [t.get_position() for t in boxes]  # operands, then results
    assert [y for _, y in places] == [0, 0, 0, 0, -1, -2, -3]
    assert places[4][0] == (places[0][0] + places[1][0]) / 2
    faces = [to_hex(t.get_bbox_patch().get_facecolor()) for t in boxes]
    assert faces[:-1] == [faces[0]] * 6 and faces[-1] != faces[0]


def test_a_plan_is_drawn_with_every_step():
    ax = draw_plan("ij,jk,kl->il", (8, 512), (512, 512), (512, 4))
    assert ax.get_title().startswith("ij,jk,kl->il")
    assert sum(text.endswith("FLOP") for text in _texts(ax)) == 2
    assert sum("×" in text for text in _texts(ax)) == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: draw_equation("...i->i"), teg.EquationError, "without '...'"),
        (
            lambda: draw_equation("ij->i", gradient=1),
            teg.EquationError,
            "operand from 0 to 0, got 1",
        ),
        (lambda: draw_swap("ij->i", -1), teg.EquationError, "operand from 0 to 0, got -1"),
        (lambda: draw_plan("ij,jk->ik", (2, 3)), teg.SizeError, "requires 2 shapes, got 1"),
        (lambda: draw_plan("ij,jk->ik", (2, 3), (4, 2)), teg.SizeError, "label 'j'"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_matplotlib_the_error_names_the_extra_and_tensorflow_is_not_needed():
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["tensorflow"] = None
from tf_einsum_grad.draw import draw_equation
try:
    draw_equation("ij->i")
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "tf-einsum-grad[plot]" in run.stdout
