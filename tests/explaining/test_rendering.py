"""Findings made by hand, as text and as HTML, to the letter."""

import html
import re
from dataclasses import replace

import pytest

from tf_einsum_grad.algebra.equation import Equation
from tf_einsum_grad.explaining.as_html import to_html
from tf_einsum_grad.explaining.as_text import to_text
from tf_einsum_grad.explaining.findings import Findings, Gradient, LabelRole, Work
from tf_einsum_grad.explaining.names import intermediate_name, operand_name, tensor_names
from tf_einsum_grad.explaining.native import NativeGradient
from tf_einsum_grad.explaining.sharding import Communication

TRACE = Work("Z1", "ii->i", "diagonal", "diagonal(A, [0, 1], by='stride')", 0, 1500, 12, 0)
PRODUCT = Work("Y", "i,ij->j", "matmul", "matmul(Z1, permute(B, [1, 0]))", 2_500_000, 10, 4, 64)
FINDINGS = Findings(
    equation="ii, ij",
    expanded="ii,ij->j",
    dtype="float16",
    target="xla",
    machine="cpu-onednn",
    shapes=((3, 3), (3, None)),
    output_shape=(None,),
    roles=(
        LabelRole("i", 3, "contracting: summed over a product, on a diagonal", ("A", "B")),
        LabelRole("j", None, "free: one operand and the output", ("B", "Y")),
    ),
    path=((0, 1),),
    forward=(TRACE, PRODUCT),
    gradients=(
        Gradient(
            0,
            "j,ij->ii",
            ("dL/dY", "B"),
            "By the chain rule.",
            (replace(PRODUCT, result="dL/dZ1"), replace(TRACE, result="dL/dA")),
            NativeGradient("einsum('j,ij->ii', dL/dY, B)", ("does <worse>", "twice")),
        ),
        Gradient(
            1, "ii,j->ij", ("A", "dL/dY"), "By it, too.", (replace(TRACE, result="dL/dB"),), None
        ),
    ),
    flops_forward=2_500_000,
    flops_backward=5_000_000_000,
    largest_intermediate_bytes=64,
    communication=(
        Communication("forward", Equation(("ii", "ij"), "j"), (), 1, 0),
        Communication("gradient 0", Equation(("j", "ij"), "ii"), ("j",), 4, 4000),
    ),
)
SENT = [
    "forward: ii,ij->j sends nothing.",
    "gradient 0: j,ij->ii sums over j: an all-reduce of 4.0 kB over 4 devices, 6.0 kB sent by each.",
]
TEXT = """\
Y = einsum('ii, ij', A(3, 3), B(3, ?))  ->  Y(?,)
    float16, under XLA, on CPU (with oneDNN); that is, ii,ij->j
    Sizes shown as ? are unknown; figures take 1024 for each of them.

Labels
    i       3  contracting: summed over a product, on a diagonal  (A, B)
    j       ?  free: one operand and the output  (B, Y)

Forward: 2.5 MFLOP
    Z1 = diagonal(A, [0, 1], by='stride'): 0 FLOP, 1.5 kB moved.
    Y = matmul(Z1, permute(B, [1, 0])): 2.5 MFLOP, 10 B moved, 64 B of scratch.
    Largest tensor on the way: 64 B.

Backward, all gradients: 5.0 GFLOP

  dL/dA = einsum('j,ij->ii', dL/dY, B)
    By the chain rule.
    Runs, sharing the intermediates of the forward pass:
      dL/dZ1 = matmul(Z1, permute(B, [1, 0])): 2.5 MFLOP, 10 B moved, 64 B of scratch.
      dL/dA = diagonal(A, [0, 1], by='stride'): 0 FLOP, 1.5 kB moved.
    Native: einsum('j,ij->ii', dL/dY, B), which does <worse> and twice.

  dL/dB = einsum('ii,j->ij', A, dL/dY)
    By it, too.
    Runs:   diagonal(A, [0, 1], by='stride'): 0 FLOP, 1.5 kB moved."""
# A line for each row of a table, a bar between its cells.
HTML = """\
Y = einsum('ii, ij', A(3, 3), B(3, ?)) → Y(?,)
label|size|role|in
i|3|contracting: summed over a product, on a diagonal|A, B
j|?|free: one operand and the output|B, Y
Gradients
dL/dA = einsum('j,ij->ii', dL/dY, B)
By the chain rule.
Native: einsum('j,ij->ii', dL/dY, B), which does <worse> and twice
dL/dB = einsum('ii,j->ij', A, dL/dY)
By it, too.
Runs: diagonal(A, [0, 1], by='stride')
What runs under XLA, on CPU (with oneDNN), float16
|what runs|FLOPs|moved|scratch
Z1|diagonal(A, [0, 1], by='stride')|0 FLOP|1.5 kB|none
Y|matmul(Z1, permute(B, [1, 0]))|2.5 MFLOP|10 B|64 B
dL/dZ1|matmul(Z1, permute(B, [1, 0]))|2.5 MFLOP|10 B|64 B
dL/dA|diagonal(A, [0, 1], by='stride')|0 FLOP|1.5 kB|none
dL/dB|diagonal(A, [0, 1], by='stride')|0 FLOP|1.5 kB|none"""


def shown(page):
    """What a browser shows of a page."""
    lines = re.sub(r"<br>|</(h4|p|tr)>", "\n", re.sub(r"</t[hd]><t[hd]>", "|", page))
    return html.unescape(re.sub(r"<[^>]+>", "", lines)).strip()


@pytest.mark.parametrize("sharded", [True, False])
def test_text_and_html(sharded):
    found = FINDINGS if sharded else replace(FINDINGS, communication=())
    last = "\n\nCommunication, on the mesh\n    " + "\n    ".join(SENT)
    assert to_text(found, 98) == TEXT + last * sharded
    assert shown(to_html(found)) == HTML + ("\nCommunication\n" + "\n".join(SENT)) * sharded


def test_what_is_not_said():
    plain = replace(FINDINGS, equation=" ii, ij -> j", forward=(TRACE,), shapes=((3, 3),), roles=())
    text = to_text(plain, 98)
    assert "that is" not in text and "unknown" not in text and "on the way" not in text


def test_names():
    assert tensor_names(3) == ["A", "B", "C", "Y"]
    assert [operand_name(k) for k in (22, 23, 24)] == ["W", "A23", "A24"]
    assert len(set(tensor_names(200))) == 201
    steps = [intermediate_name(k) for k in range(200)]
    assert steps[0] == "Z1" and not set(steps) & set(tensor_names(200))
