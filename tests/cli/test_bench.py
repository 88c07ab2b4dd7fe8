import argparse
import dataclasses

import pytest

from tests.benchmark.conftest import FAST
from tf_einsum_grad.benchmark import Report
from tf_einsum_grad.benchmark.results import Failure, Memory, Peer
from tf_einsum_grad.benchmark.statistics import Ratio
from tf_einsum_grad.benchmark.timing import Effort
from tf_einsum_grad.cli.bench import add_parser, run


def bench(*arguments):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return run(parser.parse_args(["bench", *arguments]))


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(Effort, "quick", classmethod(lambda cls: FAST))


@pytest.fixture
def measured(monkeypatch, report):
    """The suite, already measured."""
    found = {"report": report}
    monkeypatch.setattr(
        "tf_einsum_grad.benchmark.runner.run_suite", lambda *_, **__: found["report"]
    )
    return found


def test_one_einsum(capsys):
    assert bench("ij,jk->ik", "4,5", "5,3", "--quick", "--modes", "graph,eager") == 0
    out = capsys.readouterr().out
    for needed in ("graph", "eager", "forward+backward", "GFLOP/s", "over the bare kernels"):
        assert needed in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_suite_writes_everything(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "html", "png", "md")}
    code = bench(
        *("--suite", "--only", "tiny", "--quick", "--modes", "graph", "--passes", "both"),
        *("--json", str(files["json"]), "--html", str(files["html"])),
        *("--plot", str(files["png"]), "--markdown", str(files["md"])),
    )
    assert code == 0
    out = capsys.readouterr().out
    assert "tiny_attention" in out and "geometric mean" in out
    assert max(map(len, out.splitlines())) <= 100
    report = Report.from_json(files["json"].read_text())
    assert [c.workload.name for c in report.comparisons] == ["tiny_matmul", "tiny_attention"]
    assert all(path.stat().st_size > 300 for path in files.values())


def test_the_widest_table_fits_100_columns(measured, capsys):
    ratio = Ratio(888.8, 800.0, 900.0)
    first = measured["report"].comparisons[0]
    timing = dataclasses.replace(first.measurements[0].ours, median=0.888)
    wide = dataclasses.replace(
        first,
        workload=dataclasses.replace(first.workload, name="a" * 28),
        measurements=tuple(
            dataclasses.replace(m, ratio=ratio, ours=timing, native=timing)
            for m in first.measurements
        ),
        memory=(Memory("graph", 7 << 20, 7 << 20, 0),),
        peers=(Peer("torch", timing, timing), Peer("jax", timing, timing)),
    )
    measured["report"] = dataclasses.replace(measured["report"], comparisons=(wide, wide))
    assert bench("--suite") == 0
    out = capsys.readouterr().out
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= 100 and "…" not in out
    assert "a" * 28 in out


def test_compare_exits_1_when_a_ratio_fell(measured, tmp_path, capsys):
    old = tmp_path / "old.json"
    report = measured["report"]
    report.to_json(old)
    assert bench("--suite", "--compare", str(old)) == 0
    first = report.comparisons[0]
    slower = dataclasses.replace(first.measurements[-1], ratio=Ratio(1e-3, 1e-3, 1e-3))
    first = dataclasses.replace(first, measurements=(*first.measurements[:-1], slower))
    measured["report"] = dataclasses.replace(report, comparisons=(first,))
    capsys.readouterr()
    assert bench("--suite", "--compare", str(old)) == 1
    assert "FELL tiny_matmul (xla, both): 0.00x, was" in capsys.readouterr().out


def test_a_wrong_result_exits_1(measured, capsys):
    failures = (Failure("bad", "computed wrong"),)
    measured["report"] = dataclasses.replace(measured["report"], failures=failures)
    assert bench("--suite") == 1
    assert "FAILED bad: computed wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "an equation with shapes is required, or --suite"),
        (("ij,jk->ik", "2,3"), "requires 2 shapes"),
        (("ij,jk->ik", "2,3", "4,5"), "one size for label 'j'"),
        (("ij,j1->i", "2,3", "4,5"), "letters"),
        (("--suite", "--only", "nothing"), "unknown workload or category 'nothing'"),
        (("--suite", "ij->i"), "--suite takes no equation"),
        (("ij->i", "2,3", "--only", "tiny"), "--only requires --suite"),
        (("--suite", "--seconds", "0"), "more than 0"),
        (("--suite", "--peer-python", "python3"), "--peer-python requires --peers"),
        (("--suite", "--plot", "chart.doc"), ".png"),
        (("--suite", "--plot", "x.png", "--passes", "forward"), "requires 'both'"),
        (("--suite", "--peers", "--peer-python", "/no/python"), "does not run"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert bench(*arguments) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert len(captured.err.splitlines()) == 1 and message in captured.err


def test_nothing_in_common_with_the_old_report_is_bad_usage(measured, tmp_path, capsys):
    old = tmp_path / "old.json"
    measured["report"].to_json(old)
    assert bench("ij->ji", "3,4", "--compare", str(old)) == 2
    assert "has none of these workloads" in capsys.readouterr().err


def test_an_old_report_of_another_kind_is_bad_usage(tmp_path, capsys):
    old = tmp_path / "old.json"
    old.write_text("{}")
    assert bench("--suite", "--compare", str(old)) == 2
    err = capsys.readouterr().err
    assert (
        f"--compare: {str(old)!r}: not a report of this benchmark" in err and err.count("\n") == 1
    )


@pytest.mark.parametrize(
    "arguments", [("--modes", "jit"), ("--passes", ","), ("--dtype", "int8"), ("i", "2,x")]
)
def test_what_argparse_refuses(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        bench(*arguments)
    assert error.value.code == 2
    assert capsys.readouterr().err
