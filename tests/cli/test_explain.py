import json

import pytest

from tests.cli.running import run


def test_explain(capsys):
    code, out, err = run(capsys, "explain", "ij,jk->ik", "3,4", "4,5")
    assert (code, err) == (0, "")
    assert "dL/dA = einsum('ik,jk->ij', dL/dY, B)" in out


def test_explain_as_json(capsys):
    _, out, _ = run(capsys, "explain", "i,->i", "3", "scalar", "--json")
    assert json.loads(out)["shapes"] == [[3], []]


def test_explain_on_a_mesh(capsys):
    code, out, _ = run(capsys, "explain", "bk,kn->bn", "64,8", "8,8", "--mesh", "b=4")
    assert code == 0
    assert "sums over b: an all-reduce of 256 B over 4 devices" in out


def test_sizes_of_new_labels(capsys):
    for arguments in (["--size", "j=5", "i->ij", "3"], ["i->ij", "3", "--size", "j=5"]):
        code, out, _ = run(capsys, "explain", *arguments)
        assert code == 0 and "Y(3, 5)" in out
    for sizes in (["--size", "j=5,k=2"], ["--size", "j=5", "--size", "k=2"]):
        assert "Y(3, 5, 2)" in run(capsys, "explain", "i->ijk", "3", *sizes)[1]


@pytest.mark.parametrize(("columns", "widest"), [(None, 100), (40, 40), (80, 80), (200, 120)])
def test_it_fits_the_terminal(capsys, monkeypatch, columns, widest):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = run(capsys, "explain", "ijkm,ijkn->imn", "100,28,28,512", "100,28,28,512")
    assert widest - 20 < max(map(len, out.splitlines())) <= widest


def test_where_it_runs(capsys):
    for target, where in (("eager", "in eager mode"), ("xla", "under XLA")):
        assert where in run(capsys, "explain", "ij,jk", "2,3", "3,4", "--target", target)[1]
