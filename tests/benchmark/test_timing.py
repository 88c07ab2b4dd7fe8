import gc
import time

import pytest

from tf_einsum_grad.benchmark import timing
from tf_einsum_grad.benchmark.timing import Effort, interleave


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a call takes them; the calls, in order."""

    class Clock:
        now, calls = 0.0, []

        def call(self, name, seconds):
            def run():
                self.calls.append(name)
                self.now += seconds

            return lambda: run

    clock = Clock()
    clock.calls = []
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(timing, "synchronize", lambda: None)
    return clock


def test_samples_are_seconds_of_a_call_and_take_turns(clock):
    passes = {"a": clock.call("a", 3.0), "b": clock.call("b", 1.0)}
    assert interleave(passes, Effort(4, 1000.0, 4)) == {"a": [3.0] * 4, "b": [1.0] * 4}
    assert "".join(clock.calls) == "aabb" + "abba" * 2, "two calls each before any sample"


def test_short_calls_are_timed_several_at_once(clock):
    samples = interleave({"a": clock.call("a", 1e-4)}, Effort(3, 0.0))
    assert samples["a"] == pytest.approx([1e-4] * 3)
    assert len(clock.calls) == 2 + 3 * 5, "half a millisecond each"


@pytest.mark.parametrize(
    ("effort", "n"),
    [
        (Effort(repeats=7, seconds=0.0), 3),  # three do where they take very long
        (Effort(repeats=7, seconds=1.0), 7),
        (Effort(repeats=7, seconds=20.0), 21),
        (Effort(repeats=7, seconds=20.0, most=9), 9),
    ],
)
def test_how_many_samples(clock, effort, n):
    assert len(interleave({"a": clock.call("a", 1.0)}, effort)["a"]) == n


def test_garbage_is_collected_before_and_not_meanwhile(clock):
    enabled = []
    interleave({"a": lambda: lambda: enabled.append(gc.isenabled())}, Effort(3, 0.0, 3))
    assert not any(enabled[-3:]) and gc.isenabled()
