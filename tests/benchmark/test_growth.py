from tests.benchmark.conftest import FAST
from tf_einsum_grad.benchmark.growth import measure_growth


def test_growth_curves():
    chain, batch, planning = measure_growth(FAST, (2, 60), (1, 2), (5, 20), side=4)
    lines = {line.name: dict(line.points) for line in chain.lines}
    assert set(lines["ours, forward"]) == {2, 60} == set(lines["ours, both"])
    assert set(lines["native, both"]) == {2}, "native einsum has no labels for 60 operands"
    assert {line.name for line in batch.lines} == {"ours, both", "native, both"}
    assert [n for n, _ in planning.lines[0].points] == [5, 20]
    assert all(s > 0 for c in (chain, batch, planning) for x in c.lines for _, s in x.points)
