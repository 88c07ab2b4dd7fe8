"""The machines that ship; and what a GPU is decided for, which no test here can time."""

import dataclasses
import random

import pytest

from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.algebra.errors import MachineError
from tf_einsum_grad.algebra.roles import num_elements
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.contraction import Contraction
from tf_einsum_grad.lowering.cost import price
from tf_einsum_grad.lowering.einsum_layout import einsum_layout
from tf_einsum_grad.lowering.lower import candidates, lower
from tf_einsum_grad.lowering.machines import (
    CPU,
    GPU,
    MACHINES,
    chosen,
    machine_here,
    shipped,
    using,
)

LARGE, SMALL = (16, 32, 64, 128), (2, 3, 4, 5)
MATRIX_PRODUCTS = "matmul", "einsum"


def random_contractions(sizes, n=200):
    """Of two operands: labels of random roles, in random orders."""
    rng = random.Random(0)
    while n:
        roles = {label: rng.choice("bckm") for label in "abcdef"[: rng.randint(2, 6)]}
        terms = [[x for x in roles if roles[x] in kinds] for kinds in ("bck", "bcm", "bkm")]
        for term in terms:
            rng.shuffle(term)
        known = {label: rng.choice(sizes) for label in roles}
        lhs, rhs, output = map("".join, terms)
        if lhs and rhs and max(num_elements(term, known) for term in (lhs, rhs, output)) < 2**26:
            n -= 1
            yield Equation((lhs, rhs), output), known


def permuted(lowering, sizes):
    """Elements that permutes move, those inside the Einsum op too."""
    count = 0
    for term, instructions in zip(lowering.equation.inputs, lowering.prepare, strict=True):
        steps = [type(step) for step in instructions]
        count += steps.count(do.Permute) * num_elements(term, sizes)
    finish = [type(step) for step in lowering.finish]
    count += finish.count(do.Permute) * num_elements(lowering.equation.output, sizes)
    return count + sum(num_elements(term, sizes) for term in permuted_inside(lowering))


def permuted_inside(lowering):
    if not isinstance(lowering.combine, do.NativeEinsum):
        return []
    inputs = lowering.equation.inputs[:: -1 if lowering.swap else 1]
    given = parse_equation(lowering.combine.equation)
    names = dict(zip("".join(given.inputs), "".join(inputs), strict=True))
    return ["".join(names[x] for x in term) for term in einsum_layout(given).permuted]


def starting_us(lowering):
    """How long it takes to start what runs: a kernel of the device, or only another view."""
    steps = [*lowering.finish, *(step for steps in lowering.prepare for step in steps)]
    views = sum(isinstance(step, do.Reshape) for step in steps)
    kernels = len(steps) - views + (lowering.combine is not None)
    inside = len(permuted_inside(lowering)) * GPU.device_launch
    return views * GPU.launch("graph", view=True) + kernels * GPU.launch("graph") + inside


@pytest.mark.parametrize("sizes", [LARGE, SMALL], ids=["large", "small"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gpu_permutes_nothing_that_flags_or_another_order_spare(sizes, dtype):
    spared = 0
    for equation, known in random_contractions(sizes):
        on = {m: Contraction.of(equation, known, dtype, machine=m) for m in (CPU, GPU)}
        own = dict(on[GPU].sizes)
        products = [x for x in candidates(on[GPU]) if x.kernel in MATRIX_PRODUCTS]
        if products and lower(on[GPU]).kernel in MATRIX_PRODUCTS:
            least = min(permuted(x, own) for x in products)
            assert permuted(lower(on[GPU]), own) == 0 or least > 0, (equation, known)
            spared += least == 0 and permuted(lower(on[CPU]), own) > 0
    assert spared or dtype != "float32" or sizes == SMALL  # which a CPU does permute


@pytest.mark.parametrize("sizes", [LARGE, SMALL], ids=["large", "small"])
def test_a_gpu_moves_no_more_than_the_einsum_op_does(sizes):
    compared = 0
    for equation, known in random_contractions(sizes):
        c = Contraction.of(equation, known, "float32", machine=GPU)
        for one in (c, c.transpose(0), c.transpose(1)):
            prices = {x: price(x, dict(one.sizes), GPU).bytes_moved for x in candidates(one)}
            native = [moved for x, moved in prices.items() if x.kernel == "einsum"]
            compared += len(native)
            assert prices[lower(one)] <= min(native, default=prices[lower(one)]), (one, known)
    assert compared > 100


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_gpu_multiplies_matrices_of_halves_as_they_are(dtype):
    kernels = []
    for equation, known in random_contractions(LARGE):
        lowering = lower(Contraction.of(equation, known, dtype, machine=GPU))
        kernels.append(lowering.kernel)
        assert lowering.kernel != "matmul" or lowering.compute_dtype is None
    assert kernels.count("matmul") > 50


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_gpu_starts_what_starts_soonest_for_small_tensors(dtype):
    for equation, known in random_contractions(SMALL):
        c = Contraction.of(equation, known, dtype, machine=GPU)
        least = min(map(starting_us, candidates(c)))
        assert starting_us(lower(c)) == pytest.approx(least), (equation, known)


def test_machines_are_found_by_name():
    assert list(MACHINES) == [machine.name for machine in MACHINES.values()]
    assert shipped("gpu") is GPU
    with pytest.raises(MachineError) as error:
        shipped("tpu")
    assert str(error.value) == "requires a machine among cpu, cpu-onednn, gpu, got 'tpu'"


def test_a_machine_equals_itself_alone():
    """It is hashed with every decision that is looked up, so that takes no walk over its fields."""
    copy = dataclasses.replace(GPU)
    assert copy != GPU
    assert len({copy, GPU}) == 2


def test_a_chosen_machine_is_put_back():
    before = machine_here()
    with pytest.raises(KeyError), using(GPU), using(CPU):
        assert machine_here() is chosen() is CPU
        raise KeyError
    assert machine_here() is before
    assert chosen() is None
