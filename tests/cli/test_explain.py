import json

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
    code, out, _ = run(capsys, "explain", "i->ij", "3", "--size", "j=5")
    assert code == 0 and "Y(3, 5)" in out
