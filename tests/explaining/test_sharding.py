"""Bytes all-reduced: by hand on known cases, and against a simulation on NumPy blocks."""

import itertools

import numpy as np
import pytest

import tf_einsum_grad as teg
from tf_einsum_grad.algebra.equation import Equation, parse_equation
from tf_einsum_grad.explaining.sharding import communication

SIZES = dict(zip("bkmnijh", (8, 4, 4, 8, 4, 4, 4), strict=True))


@pytest.mark.parametrize(
    ("equation", "mesh", "expected"),
    [  # what is reduced, and bytes, for the forward pass and each gradient
        ("bk,kn->bn", {"b": 4}, [("", 0), ("", 0), ("b", 4 * 4 * 8)]),  # data parallel
        ("bk,kn->bn", {"n": 4}, [("", 0), ("n", 4 * 8 * 4), ("", 0)]),  # columns of the kernel
        ("bk,kn->bn", {"k": 2}, [("k", 4 * 8 * 8), ("", 0), ("", 0)]),  # rows of the kernel
        ("bk,kn->bn", {"b": 4, "n": 2}, [("", 0), ("n", 4 * 2 * 4), ("b", 4 * 4 * 4)]),
        ("bij,bjk->bik", {"b": 8}, [("", 0)] * 3),  # a batch label: nothing, ever
        ("bij->b", {"i": 2, "j": 2}, [("ij", 4 * 8), ("", 0)]),
        ("bk,kn->bn", {"b": 1}, [("", 0)] * 3),
        ("bk,kn->bn", {}, [("", 0)] * 3),
    ],
)
def test_by_hand(equation, mesh, expected):
    parts = communication(parse_equation(equation), SIZES, "float32", mesh)
    assert [("".join(p.reduced), p.bytes) for p in parts] == expected
    assert [p.what for p in parts] == ["forward", *(f"gradient {k}" for k in range(len(parts) - 1))]


def test_equations_devices_and_ring():
    forward, first, second = communication(
        Equation(("bk", "kn"), "bn"), SIZES, "bfloat16", {"b": 4}
    )
    assert [str(p.equation) for p in (forward, first, second)] == [
        "bk,kn->bn",
        "bn,kn->bk",
        "bk,bn->kn",
    ]
    assert second.devices == 4 and second.bytes == 2 * 4 * 8
    assert second.bytes_sent == 2 * 3 * second.bytes // 4
    assert forward.devices == 1 and forward.bytes_sent == 0


@pytest.mark.parametrize(
    "equation", ["bk,kn->bn", "bij,bjk->bik", "bik,khn->bihn", "ijkm,ijkn->imn"]
)
def test_blocks_add_up_to_the_whole_exactly_where_it_says(equation):
    """Every device contracts its blocks; summing over `reduced`, and nothing else, gives the whole."""
    rng = np.random.default_rng(0)
    parsed = parse_equation(equation)
    for label_a, label_b in itertools.combinations(parsed.labels, 2):
        mesh = {label_a: 2, label_b: 2}
        for part in communication(parsed, SIZES, "float64", mesh):
            _assert_blocks_add_up(part, mesh, rng)


def _assert_blocks_add_up(part, mesh, rng):
    arrays = [rng.normal(size=[SIZES[x] for x in term]) for term in part.equation.inputs]

    def block(array, term, place):
        cut = tuple(
            slice(place[x] * SIZES[x] // 2, (place[x] + 1) * SIZES[x] // 2)
            if x in place
            else slice(None)
            for x in term
        )
        return array[cut]

    whole = np.einsum(str(part.equation), *arrays)
    totals, local_bytes = {}, set()
    for position in itertools.product(range(2), repeat=2):
        place = dict(zip(mesh, position, strict=True))
        local = np.einsum(
            str(part.equation),
            *(block(a, t, place) for a, t in zip(arrays, part.equation.inputs, strict=True)),
        )
        local_bytes.add(local.nbytes)
        group = tuple(p for x, p in place.items() if x not in part.reduced)
        # Replicas of a label that the equation's inputs lack would count twice; there are none here.
        totals.setdefault(group, [0, place])[0] += local
    for total, place in totals.values():
        np.testing.assert_allclose(total, block(whole, part.equation.output, place))
    assert part.bytes == (local_bytes.pop() if part.reduced else 0)
    assert part.devices == 2 ** len(part.reduced)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (("...k,kn->...n", {}), teg.EquationError, "without '...'"),
        (("bk,kn->bn", {"z": 2}), teg.EquationError, "its own labels, got 'z'"),
        (("ii->i", {"i": 2}), teg.EquationError, "no term repeats, got 'i'"),
        (("bk,kn->bn", {"b": 3}), teg.SizeError, "label 'b' that 3 shards divide, got 8"),
        (("bk,kn->bn", {"b": 0}), teg.SizeError, "from 1 on for label 'b', got 0"),
        (("bk,kq->bq", {"b": 2}), teg.SizeError, "a size for label 'q'"),
    ],
)
def test_errors(call, error, message):
    equation, mesh = call
    with pytest.raises(error, match=message):
        communication(parse_equation(equation), SIZES, "float32", mesh)
