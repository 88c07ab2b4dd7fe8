"""The pictures say what the algebra says; they are also looked at, in the notebooks."""

import subprocess
import sys

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import tf_einsum_grad as teg
from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.draw import COLORS, draw_equation, draw_plan, draw_swap, label_roles


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _texts(ax):
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.texts]


def test_roles():
    roles = label_roles(parse_equation("bijz,bjk->bik"))
    assert roles == {"b": "batch", "i": "free", "j": "contracting", "z": "summed", "k": "free"}
    assert label_roles(parse_equation("i->ij"))["j"] == "broadcast"
    assert set(COLORS) == {"batch", "contracting", "free", "summed", "broadcast"}


@pytest.mark.parametrize(
    "equation",
    ["ijkm,ijkn->imn", "ii->i", "ij->", "i->ij", "ab,bc,cd,de,ea->", "i,i,i->i", "->", "iij->j"],
)
def test_every_node_and_label_is_drawn(equation):
    texts = _texts(draw_equation(equation))
    n = len(parse_equation(equation).inputs)
    assert texts.count("Y") == 1 and texts.count("A") == 1
    assert set(parse_equation(equation).labels) | set("ABCDE"[:n]) | {"Y"} == set(texts)


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
