"""What `price` says of lowerings written by hand, an instruction at a time, on machines made up."""

import dataclasses
import math

import pytest

from tf_einsum_grad.algebra.equation import parse_equation
from tf_einsum_grad.lowering import instructions as do
from tf_einsum_grad.lowering.contraction import Lowering
from tf_einsum_grad.lowering.cost import Cost, count_flops, price
from tf_einsum_grad.lowering.machine import CPU, Machine

# Every launch and every byte costs; what is not under test costs nothing.
PLAIN = Machine(
    **{field.name: 1e30 for field in dataclasses.fields(Machine)}
    | {"name": "plain", "eager_launch": 10.0, "graph_launch": 1.0, "xla_launch": 0.0}
    | {"device_launch": 0.0, "stream": 100.0, "stream_outer": 100.0}
    | {"einsum_matmul_factor": 1.0, "einsum_vector_factor": 1.0}
    | {"permute_inner": 10.0, "permute_rows": 20.0, "xla_permute_inner": 40.0}
    | {"xla_permute_rows": 80.0, "short_row": 8, "diagonal_reads": 4, "einsum_permute_factor": 3}
    | {"matmul_start": 0.0, "matmul_side": 0, "matmul_depth": 0, "run": 0.0, "dot_run": 0.0}
    | {
        "cache": 32,
        "diag": 25.0,
        "diag_one": 5.0,
        "sum_both_ends": 2.0,
        "long_run": 64,
        "sum_outer": 100.0,
    }
    | {"xla_sum": 100.0}
)
ACROSS = {
    f"{kernel}across_{side}": 4.0
    for kernel in ("", "batch_", "einsum_")
    for side in ("left", "right")
}
SIZES = {"a": 10, "b": 20, "c": 30}


def unary(text, *instructions, dtype="float32", target="graph"):
    return Lowering(parse_equation(text), dtype, target, None, (tuple(instructions),))


def binary(text, lhs, rhs, combine, finish=(), target="graph", swap=False):
    equation = parse_equation(text)
    return Lowering(equation, "float32", target, None, (lhs, rhs), combine, swap, finish)


def us(lowering, machine=PLAIN, sizes=SIZES):
    return price(lowering, sizes, machine).microseconds


@pytest.mark.parametrize(("target", "launch"), [("eager", 10.0), ("graph", 1.0), ("xla", 0.0)])
def test_a_reshape_is_a_launch(target, launch):
    cost = price(unary("ab->ab", do.Reshape(("ab",)), target=target), SIZES, PLAIN)
    assert (cost.microseconds, cost.bytes_moved, cost.scratch_bytes) == (launch, 0, 0)


def test_nothing_costs_nothing():
    assert price(unary("ab->ab"), SIZES, PLAIN) == price(unary("ab->ab"), {"a": 0, "b": 0}, CPU)


@pytest.mark.parametrize(
    ("axes", "target", "rate"),
    [
        ((1, 0, 2), "graph", 20.0),  # rows of c stay together
        ((0, 2, 1), "graph", 10.0),
        ((1, 0, 2), "xla", 80.0),
        ((0, 2, 1), "xla", 40.0),
    ],
)
def test_a_permute_reads_and_writes(axes, target, rate):
    lowering = unary("abc->abc", do.Permute(axes), target=target)
    launch = 1.0 if target == "graph" else 0.0
    assert us(lowering) == launch + 2 * 4 * 6000 / rate
    assert price(lowering, SIZES, PLAIN).bytes_moved == 2 * 4 * 6000


def test_short_rows_are_not_worth_keeping_together():
    assert us(unary("abc->bac", do.Permute((1, 0, 2))), sizes=SIZES | {"c": 1}) == 1 + 1600 / 10


@pytest.mark.parametrize(("dtype", "item"), [("float16", 2), ("float64", 8), ("bool", 1)])
def test_bytes_are_those_of_the_dtype(dtype, item):
    assert us(unary("ab->ba", do.Permute((1, 0)), dtype=dtype)) == 1 + 2 * item * 200 / 10


def test_a_broadcast_writes():
    steps = do.Reshape(("", "b")), do.Broadcast(("a", "b"))
    assert us(unary("b->ab", *steps), sizes={"a": 10, "b": 21}) == 1 + 1 + 4 * 210 / 100


def test_a_sum_reads_all_and_writes_less():
    assert us(unary("ab->a", do.Sum((1,)))) == 1 + 4 * 210 / 100
    assert us(unary("ab->", do.Sum((0, 1)))) == 1 + 4 * 201 / 100


def test_moved_bytes_are_those_that_are_read_and_written():
    def moved(*steps):
        return price(unary("ab->a", *steps), SIZES, PLAIN).bytes_moved

    assert moved(do.Sum((1,))) == 4 * (200 + 10)
    assert moved(do.Permute((1, 0)), do.Sum((0,))) == 4 * (2 * 200 + 200 + 10)


def test_limits_are_not_beyond_themselves():
    """A row, a run and a tensor that are just as long as a limit; a result just as large."""
    rows = unary("abc->bac", do.Permute((1, 0, 2)))
    assert us(rows, sizes=SIZES | {"c": 2}) == 1 + 2 * 4 * 400 / 20
    total = unary("ab->a", do.Sum((1,)))
    assert us(total, dataclasses.replace(PLAIN, run=0.5, long_run=20)) == us(total)
    summed = binary("ab,b->a", (), (), do.Multiply(), (do.Sum((1,)),))
    assert us(summed, dataclasses.replace(PLAIN, fresh_limit=800, fresh=8.0)) == us(summed)
    reshapes = (do.Reshape(("a", "")),), (do.Reshape(("", "c")),)
    outer = binary("a,c->ac", *reshapes, do.MatMul(False, False, False))
    small, large = (
        dataclasses.replace(PLAIN, outer=1.0, large_outer=0.5, large_outer_limit=limit)
        for limit in (1201, 1200)
    )
    assert us(outer, large) - 3 == 2 * (us(outer, small) - 3)


def test_sums_of_nothing_have_a_price():
    assert us(unary("ab->a", do.Sum((1,))), CPU, {"a": 3, "b": 0}) > 0


def test_a_sum_over_both_ends_has_a_rate_of_its_own_but_for_xla():
    assert us(unary("abc->b", do.Sum((0, 2)))) == 1 + 4 * 6020 / 2
    assert us(unary("abc->b", do.Sum((0, 2)), target="xla")) == 4 * 6020 / 100


def test_each_run_that_is_summed_has_to_be_started():
    runs = dataclasses.replace(PLAIN, run=0.5)
    assert us(unary("ab->a", do.Sum((1,))), runs) == 1 + 8.4 + 0.5 * 10  # a run for each of a
    assert us(unary("ab->b", do.Sum((0,))), runs) == 1 + 4 * 220 / 100  # rows are added whole


@pytest.mark.parametrize("kernel", ["stride", "gather", "diag_part"])
def test_a_diagonal_reads_lines(kernel):
    step = do.Diagonal(0, 1, ("a",), kernel)
    assert us(unary("aa->a", step)) == 1 + 4 * 4 * 10 / 100


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("select", 1 + 400 / 100),
        ("segment_sum", 1 + 2 * 400 / 100),
        ("set_diag", 2 + 2 * 400 / 100),
        ("diag", 1 + 400 / 5),
    ],
)
def test_embedding(kernel, expected):
    lowering = unary("a->aa", do.EmbedDiagonal(0, 1, ("a",), kernel))
    assert us(lowering) == expected
    assert price(lowering, SIZES, PLAIN).bytes_moved == 2 * 400


def test_a_batch_of_diagonals_is_shared_among_threads():
    step = do.EmbedDiagonal(1, 2, ("b", "a"), "diag")
    assert us(unary("ba->baa", step)) == 1 + 4 * 2000 / 25
    assert us(unary("ba->baa", step), sizes=SIZES | {"b": 2}) == 1 + 4 * 200 / 25


def test_an_eager_diagonal_is_set_in_a_copy():
    fresh = dataclasses.replace(PLAIN, fresh_limit=100, fresh=1.0)
    step = do.EmbedDiagonal(0, 1, ("a",), "set_diag")
    assert us(unary("a->aa", step, target="eager"), fresh) == 20 + 800 / 100 + 400
    assert us(unary("a->aa", step, target="graph"), fresh) == 2 + 800 / 100


def test_a_product_reads_both_and_writes_one():
    lowering = binary("ab,b->ab", (), (), do.Multiply())
    assert us(lowering) == 1 + 4 * (200 + 20 + 200) / 100
    runs = dataclasses.replace(PLAIN, run=0.5)
    assert us(lowering, runs) == us(lowering) + 0.5 * 10  # b stands in both, a in one
    elementwise = binary("ab,ab->ab", (), (), do.Multiply())
    few = {"a": 2, "b": 3}
    assert us(elementwise, runs, few) == us(elementwise, PLAIN, few) == 1 + 4 * 18 / 100


def test_xla_reads_a_permuted_operand_across_its_rows():
    def permuted(machine):
        lhs = do.Permute((1, 0)), do.Reshape(("ab", ""))
        rhs = (do.Reshape(("ab", "c")),)
        return us(binary("ba,abc->abc", lhs, rhs, do.Multiply(), target="xla"), machine)

    # A row of the product takes its elements from all of the operand, 800 bytes.
    near, far = (permuted(dataclasses.replace(PLAIN, cache=n)) for n in (800, 799))
    assert far - near == pytest.approx(2 * 4 * (6000 - 200) / 10)


def test_a_row_of_what_was_reshaped_is_that_of_the_reshaped():
    lhs = do.Reshape(("ab", "c", "d")), do.Permute((0, 2, 1)), do.Reshape(("abd", "c"))
    lowering = binary("abcd,c->abdc", lhs, (), do.Multiply(), target="xla")
    sizes = {"a": 2, "b": 3, "c": 4, "d": 5}
    near, far = (us(lowering, dataclasses.replace(PLAIN, cache=n), sizes) for n in (80, 79))
    assert near == far  # as large as the product: each element is read once
    twice = dataclasses.replace(
        binary("abcd,ce->abdce", lhs, (), do.Multiply(), target="xla"),
        prepare=((*lhs, do.Reshape(("abd", "c", ""))), (do.Reshape(("", "c", "e")),)),
    )
    sizes["e"] = 2
    near, far = (us(twice, dataclasses.replace(PLAIN, cache=n), sizes) for n in (80, 79))
    assert far - near == pytest.approx(2 * 4 * 120 / 10)


def test_xla_makes_one_loop_of_a_product_its_sum_and_a_permute():
    plain = binary(
        "abc,a->bc", (), (do.Reshape(("a", "", "")),), do.Multiply(), (do.Sum((0,)),), "xla"
    )
    permuted = dataclasses.replace(plain, finish=(do.Sum((0,)), do.Permute((1, 0))))
    extra = us(permuted) - us(plain)
    assert extra == pytest.approx(2 * 4 * 600 / 40 + 2 * 4 * 6000 / 10)


def test_a_product_that_is_summed_is_scratch():
    lowering = binary("ab,b->a", (), (), do.Multiply(), (do.Sum((1,)),))
    cost = price(lowering, SIZES, PLAIN)
    assert cost.scratch_bytes == 4 * 200
    fresh = dataclasses.replace(PLAIN, fresh_limit=799, fresh=8.0)
    assert us(lowering, fresh) == cost.microseconds + 100


def test_neither_operands_nor_the_result_are_scratch():
    assert (
        price(
            binary("ab,bc->ac", (), (), do.MatMul(False, False, False)), SIZES, PLAIN
        ).scratch_bytes
        == 0
    )
    assert price(unary("ab->ba", do.Permute((1, 0))), SIZES, PLAIN).scratch_bytes == 0
    prepared = binary("ba,bc->ac", (do.Permute((1, 0)),), (), do.MatMul(False, False, False))
    assert price(prepared, SIZES, PLAIN).scratch_bytes == 4 * 200
    two = unary("ab->a", do.Permute((1, 0)), do.Sum((0,)))
    assert price(two, SIZES, PLAIN).scratch_bytes == 4 * 200


MATMUL = dataclasses.replace(PLAIN, flops=50.0, stream=1e30)


@pytest.mark.parametrize(
    ("text", "flags"),
    [("ab,bc->ac", (0, 0)), ("ba,bc->ac", (1, 0)), ("ab,cb->ac", (0, 1)), ("ba,cb->ac", (1, 1))],
)
def test_a_matmul_is_its_flops_and_what_it_reads_across_rows(text, flags):
    lowering = binary(text, (), (), do.MatMul(*map(bool, flags), False))
    assert us(lowering, MATMUL) == pytest.approx(1 + 2 * 6000 / 50)
    for long_row, right in ((20, 600), (10, 600), (40, 300)):
        slow = dataclasses.replace(MATMUL, **ACROSS, long_row=long_row)
        across = flags[0] * 200 + flags[1] * right
        assert us(lowering, slow) == pytest.approx(1 + 2 * 6000 / 50 + across)
    double = dataclasses.replace(lowering, dtype="float64")
    assert us(double, MATMUL) - 1 == pytest.approx(2 * (us(lowering, MATMUL) - 1))


def test_a_matmul_is_no_faster_than_memory():
    lowering = binary("ab,bc->ac", (), (), do.MatMul(False, False, False))
    assert us(lowering, dataclasses.replace(PLAIN, stream=2.0)) == 1 + 4 * (200 + 600 + 300) / 2


def test_short_sides_slow_a_matmul_down():
    lowering = binary("ab,bc->ac", (), (), do.MatMul(False, False, False))
    slow = dataclasses.replace(MATMUL, matmul_side=10)
    assert us(lowering, slow) - 1 == pytest.approx((us(lowering, MATMUL) - 1) * 2 * (1 + 1 / 3))
    deep = dataclasses.replace(MATMUL, matmul_depth=20)
    assert us(lowering, deep) - 1 == pytest.approx((us(lowering, MATMUL) - 1) * 2)


@pytest.mark.parametrize(
    ("field", "lhs", "rhs"),
    [
        ("matvec", ("a", "b"), ("b", "")),
        ("vecmat", ("", "b"), ("b", "c")),
        ("dot", ("", "b"), ("b", "")),
        ("outer", ("a", ""), ("", "c")),
    ],
)
def test_products_with_vectors_have_rates_of_their_own(field, lhs, rhs):
    inputs = "".join(lhs), "".join(rhs)
    output = "".join(x for x in "abc" if (x in lhs) != (x in rhs))
    reshapes = (do.Reshape(lhs),), (do.Reshape(rhs),)
    lowering = binary(f"{','.join(inputs)}->{output}", *reshapes, do.MatMul(False, False, False))
    moved = 4 * sum(count_elements(term) for term in (*inputs, output))
    assert us(lowering, dataclasses.replace(PLAIN, **{field: 0.5})) == 3 + moved / 0.5


def test_a_product_with_a_vector_starts_on_each_short_row():
    """Of (a, b) and (b,), once for each element of c."""
    reshapes = (), (do.Reshape(("c", "b", "")),)
    lowering = binary("cab,cb->ca", *reshapes, do.MatMul(False, False, True))
    short, long = (dataclasses.replace(PLAIN, dot_run=0.5, long_dot=n) for n in (21, 20))
    assert us(lowering, short) - us(lowering, long) == pytest.approx(0.5 * 30 * 10)
    start = dataclasses.replace(PLAIN, matmul_start=0.5)
    assert us(lowering, start) - us(lowering, PLAIN) == pytest.approx(0.5 * 30)


@pytest.mark.parametrize(("text", "field"), [("ab,b->a", "matvec"), ("b,bc->c", "vecmat")])
def test_the_einsum_op_knows_a_vector_too(text, field):
    lowering = binary(text, (), (), do.NativeEinsum(text))
    slow = dataclasses.replace(PLAIN, **{field: 0.5})
    assert us(lowering, slow) > 100 > us(lowering)


def count_elements(term):
    return math.prod(SIZES[label] for label in term)


def test_swapped_operands_are_priced_in_the_order_in_which_they_run():
    machine = dataclasses.replace(MATMUL, **ACROSS)
    plain = binary("ab,bc->ac", (), (), do.MatMul(False, False, False))
    swapped = binary(
        "ab,bc->ac", (), (), do.MatMul(True, True, False), (do.Permute((1, 0)),), swap=True
    )
    # c b times b a: the left operand, b c, is read across its rows, and the right one's are short.
    extra = us(swapped, machine) - us(plain, machine)
    assert extra == pytest.approx(1 + 2 * 4 * 300 / 10 + 600, rel=1e-6)


def test_the_einsum_op_permutes_inside_one_launch():
    plain = binary("ab,bc->ac", (), (), do.NativeEinsum("ab,bc->ac"))
    matmul = binary("ab,bc->ac", (), (), do.MatMul(False, False, False))
    assert price(plain, SIZES, CPU) == price(matmul, SIZES, CPU)
    permuting = binary("ab,bc->ca", (), (), do.NativeEinsum("ab,bc->ca"))
    assert us(permuting) == pytest.approx(us(plain) + 3 * 2 * 4 * 300 / 10)
    assert price(permuting, SIZES, PLAIN).scratch_bytes == 4 * 300


@pytest.mark.parametrize(
    ("text", "flops"),
    [
        ("ab,bc->ac", 2 * 6000),
        ("ab,ab->ab", 200),
        ("ab->a", 200),
        ("aa->a", 0),
        ("aab->b", 200),
        ("a->ab", 0),
    ],
)
def test_flops(text, flops):
    assert count_flops(parse_equation(text), SIZES) == flops


def test_unknown_sizes_are_large():
    assert us(unary("ab->ba", do.Permute((1, 0))), sizes={"a": None, "b": 1}) == 1 + 2 * 4096 / 10


def test_where_sizes_are_unknown_shapes_are_made_by_three_kernels():
    steps = do.Reshape(("", "b")), do.Broadcast(("a", "b"))
    two = dataclasses.replace(PLAIN, graph_launch=2.0)
    for sizes, shapes in (
        ({"a": 1024, "b": 1024}, 0),
        ({"a": None, "b": 1024}, 3),  # of what is repeated
        ({"a": None, "b": None}, 3),  # a reshape finds out one by itself, and puts in ones
    ):
        assert us(unary("b->ab", *steps), two, sizes) == 2 + 2 + 4 * 2**20 / 100 + 2 * shapes
    merge = unary("abc->abc", do.Reshape(("ab", "c")))
    assert us(merge, two, {"a": None, "b": 2, "c": 3}) == 2
    assert us(merge, two, {"a": None, "b": 2, "c": None}) == 2 * 4
    stretch = unary("ab->ab", do.Stretch("a"))
    assert price(stretch, {"a": None, "b": 2}, two).bytes_moved == 0
    assert us(stretch, two, {"a": None, "b": 2}) == 2 * 4


def test_zeros_are_written():
    lowering = Lowering(
        parse_equation("ab,b->a"), "float32", "graph", None, ((), ()), do.Zeros(("a",))
    )
    assert price(lowering, SIZES, PLAIN) == Cost(1 + 40 / 100, 400, 40, 0)


def test_a_device_starts_on_what_moves_and_not_on_views():
    machine = dataclasses.replace(PLAIN, device_launch=7.0)
    view = unary("ab->ab", do.Reshape(("ab",)))
    moves = unary("ab->ba", do.Permute((1, 0)))
    assert us(view, machine) == us(view)
    assert us(moves, machine) == us(moves) + 7
    # Einsum's own permutes are kernels of the device too; XLA fuses.
    einsum = binary("ab,cb->ca", (), (), do.NativeEinsum("ab,cb->ca"))
    assert us(einsum, machine) == pytest.approx(us(einsum) + 2 * 7)
    fused = dataclasses.replace(moves, target="xla")
    assert us(fused, machine) == us(fused)


def test_a_product_whose_operands_are_both_repeated_has_a_rate_of_its_own():
    slow = dataclasses.replace(PLAIN, stream_outer=1.0)
    outer = do.Reshape(("a", "")), do.Reshape(("", "b"))
    lowering = binary("a,b->ab", outer[:1], outer[1:], do.Multiply())
    assert us(lowering, slow) - us(lowering) == pytest.approx(4 * 230 * (1 - 1 / 100))
    same = binary("ab,ab->ab", (), (), do.Multiply())
    assert us(same, slow) == us(same)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("kernel", "batch", "combine", "target"),
    [
        ("", "", do.MatMul, "graph"),
        ("batch_", "d", do.MatMul, "graph"),
        ("einsum_", "", do.NativeEinsum, "graph"),
        ("batch_", "d", do.NativeEinsum, "graph"),
        ("xla_", "", do.MatMul, "xla"),
        ("xla_", "d", do.MatMul, "xla"),
    ],
)
def test_each_kernel_reads_across_rows_at_rates_of_its_own(side, kernel, batch, combine, target):
    plain = f"{batch}ab,{batch}bc->{batch}ac"
    text = (f"{batch}ba,{batch}bc->{batch}ac", f"{batch}ab,{batch}cb->{batch}ac")[side]
    sizes = {"a": 10, "b": 20, "c": 30, "d": 5}
    machine = dataclasses.replace(MATMUL, long_row=1)

    def lowering(text, flags):
        instruction = do.NativeEinsum(text)
        if combine is do.MatMul:
            instruction = do.MatMul(*flags, bool(batch))
        return binary(text, (), (), instruction, target=target)

    flags = (not side, bool(side))
    field = f"{kernel}across_{('left', 'right')[side]}"
    across = us(lowering(text, flags), dataclasses.replace(machine, **{field: 4.0}), sizes)
    read = (5 if batch else 1) * (200, 600)[side]
    assert across - us(lowering(plain, (False, False)), machine, sizes) == pytest.approx(read)


def test_the_einsum_op_has_factors_without_batch():
    machine = dataclasses.replace(MATMUL, einsum_matmul_factor=3.0, matvec=10.0)
    matrices = binary("ab,bc->ac", (), (), do.NativeEinsum("ab,bc->ac"))
    assert us(matrices, machine) - 1 == pytest.approx(3 * (us(matrices, MATMUL) - 1))
    batch = binary("dab,dbc->dac", (), (), do.NativeEinsum("dab,dbc->dac"))
    sizes = SIZES | {"d": 5}
    assert us(batch, machine, sizes) == us(batch, MATMUL, sizes)
    slow = dataclasses.replace(machine, einsum_vector_factor=2.0)
    vector = binary("ab,b->a", (), (), do.NativeEinsum("ab,b->a"))
    assert us(vector, slow) - 1 == pytest.approx(2 * (us(vector, machine) - 1))


@pytest.mark.parametrize(("text", "flags"), [("ba,b->a", (1, 0)), ("b,cb->c", (0, 1))])
def test_a_matrix_times_a_vector_is_read_across_too(text, flags):
    name = "matvec_across" if flags[0] else "vecmat_across"
    lhs, rhs = (("b", "a"), ("b", "")) if flags[0] else (("", "b"), ("c", "b"))
    lowering = binary(
        text, (do.Reshape(lhs),), (do.Reshape(rhs),), do.MatMul(*map(bool, flags), False)
    )
    slow = dataclasses.replace(PLAIN, **{name: 0.5})
    assert us(lowering, slow) > 100 > us(lowering)


def test_xla_makes_one_loop_of_a_product_and_its_sum():
    lowering = binary("ab,ab->a", (), (), do.Multiply(), (do.Sum((1,)),), target="xla")
    machine = dataclasses.replace(PLAIN, stream=1e-3, xla_sum=10.0)
    assert us(lowering, machine) == pytest.approx(4 * 210 / 10)


def test_a_gather_has_a_rate_of_its_own():
    slow = dataclasses.replace(PLAIN, permute_many=4.0)
    gather = unary("abc->cba", do.Permute((2, 1, 0), "gather"))
    assert us(gather, slow) == pytest.approx(1 + 2 * 4 * 6000 / 4)
    assert us(unary("abc->cba", do.Permute((2, 1, 0))), slow) == pytest.approx(1 + 4800)


def test_a_sum_that_keeps_the_last_dimension_has_a_rate_of_its_own():
    slow = dataclasses.replace(PLAIN, sum_outer=4.0)
    assert us(unary("ab->b", do.Sum((0,))), slow) == 1 + 4 * 220 / 4
    assert us(unary("ab->a", do.Sum((1,))), slow) == us(unary("ab->a", do.Sum((1,))))
