"""When a kernel and its low-rank factors run apart: by price, in training and without."""

from types import SimpleNamespace

import pytest

from tf_einsum_grad.lowering.machine import CPU
from tf_einsum_grad.lowering.machines import GPU
from tf_einsum_grad.planning import lora
from tf_einsum_grad.planning.lora import apart_costs_less, factored_equation


@pytest.mark.parametrize(
    ("equation", "factored"),
    [
        ("ab,bc->ac", "ab,bZ,Zc->ac"),
        ("...x,xy->...y", "...x,xZ,Zy->...y"),
        ("abc,dec->abde", "abc,deZ,Zc->abde"),  # the last label is contracted
        ("aZ,aZ->aZ", "aZ,aY,YZ->aZ"),
    ],
)
def test_factors_stand_in_the_kernels_place(equation, factored):
    assert factored_equation(equation) == factored


def apart(equation, inputs, kernel, rank, training=True, target="graph", machine=CPU):
    return apart_costs_less(equation, inputs, kernel, rank, "float32", training, target, machine)


@pytest.mark.parametrize("batch", [(8, 256), (None, 256), (None, None)])
@pytest.mark.parametrize(("machine", "width"), [(CPU, 768), (GPU, 4096)])
def test_training_does_without_the_kernels_gradient(batch, machine, width):
    for target in ("graph", "xla"):
        inputs, kernel = (*batch, width), (width, width // 64, 64)
        assert apart("abc,cde->abde", inputs, kernel, 8, target=target, machine=machine)


def test_a_rank_as_large_as_the_kernel_is_merged():
    assert not apart("ab,bc->ac", (4096, 256), (256, 256), 256)


def test_without_gradients_few_tokens_run_apart_and_many_merged():
    equation, kernel = "...x,xy->...y", (2048, 2048)
    assert apart(equation, (1, 1, 2048), kernel, 8, training=False)
    assert not apart(equation, (64, 2048, 2048), kernel, 64, training=False)


def test_eager_tapes_differentiate_a_frozen_kernel():
    """So little is saved, and more kernels start."""
    assert not apart("ab,bc->ac", (32, 64), (64, 64), 4, target="eager")


@pytest.mark.parametrize(
    ("training", "target", "needed"),
    [
        (True, "graph", [(0, 1), (0, 1), (0,), (0, 1, 2)]),  # a graph prunes the frozen kernel's
        (True, "eager", [(0, 1), (0, 1), (0, 1), (0, 1, 2)]),
        (False, "eager", [(), (), (), ()]),
    ],
)
def test_what_is_priced(monkeypatch, training, target, needed):
    def decide(other):
        """Where einsums cost nothing, what is done to a kernel 1, to a smaller tensor `other`."""
        priced = []

        def einsum_cost(text, shapes, dtype, needed, target, machine):
            priced.append((text, needed))
            return 0.0

        def cost_of(contraction):
            kernel = set(dict(contraction.sizes).values()) == {5, 7}
            return SimpleNamespace(microseconds=1.0 if kernel else other)

        monkeypatch.setattr(lora, "einsum_cost", einsum_cost)
        monkeypatch.setattr(lora, "cost_of", cost_of)
        uncached = apart_costs_less.__wrapped__
        found = uncached("ab,bc->ac", (3, 5), (5, 7), 2, "float32", training, target, CPU)
        texts = ["aZ,Zb->ab", "ab,bc->ac", "ab,bc->ac", "ab,bZ,Zc->ac"]
        assert priced == list(zip(texts, needed, strict=True))
        return found

    kernels, others = (3, 4) if training else (2, 2)
    assert decide(0.99 * kernels / others)
    assert not decide(1.01 * kernels / others)
