import json

import pytest

from tf_einsum_grad.benchmark import Report


def test_json_round_trip(full, tmp_path):
    path = tmp_path / "report.json"
    text = full.to_json(path)
    assert path.read_text() == text
    assert Report.from_json(text) == full
    assert json.loads(text)["comparisons"][0]["workload"]["equation"] == "ij,jk->ik"


def test_a_report_of_another_schema_is_refused(report):
    data = {**json.loads(report.to_json()), "schema": 999}
    with pytest.raises(
        ValueError, match="requires a report of this benchmark in schema 1, got 999"
    ):
        Report.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"schema": 1}', "[" * 200_000])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(ValueError, match="not a report of this benchmark"):
        Report.from_json(text)


@pytest.mark.parametrize("value", ["1", None, True, [1], {}])
def test_a_number_that_is_none_is_refused(report, value):
    data = json.loads(report.to_json())
    data["environment"]["threads"] = value
    with pytest.raises(ValueError, match="not a report of this benchmark"):
        Report.from_json(json.dumps(data))
