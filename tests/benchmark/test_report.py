import json

import pytest

from tf_einsum_grad.benchmark import Report


def test_json_round_trip(full, tmp_path):
    path = tmp_path / "report.json"
    text = full.to_json(path)
    assert path.read_text() == text
    assert Report.from_json(text) == full
    assert json.loads(text)["comparisons"][0]["workload"]["equation"] == "ij,jk->ik"


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"schema": 999}', '{"schema": 1}'])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(ValueError, match=r"report|schema"):
        Report.from_json(text)
