import pytest

from tf_einsum_grad.benchmark.environment import describe_environment


@pytest.mark.parametrize("name", ["TF_ENABLE_ONEDNN_OPTS", "TF_CPU_ALLOCATOR_USE_BFC"])
def test_settings_that_decide_the_speed_are_told(name, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    assert name not in describe_environment().device
    monkeypatch.setenv(name, "1")
    assert f"{name}=1" in describe_environment().device
