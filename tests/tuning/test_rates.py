"""Rates from times that are made up: what a machine is said to be, it is found to be."""

import dataclasses
import math

import pytest

from tf_einsum_grad.lowering.machine import CPU, Machine
from tf_einsum_grad.tuning.rates import PROBES, Probe, fit

# Everything takes as long as to move its operands and results through memory, and 100 us a call.
CALL, RATE = 100.0, 1000.0


def plain(probe: Probe) -> float:
    return CALL + sum(4 * math.prod(shape) for shape in probe.shapes) / RATE


def fitted(**slow):
    """The machine on which probes of a kernel take that many times as long."""
    return fit(lambda p: (plain(p) - CALL) * slow.get(p.kernel, 1) + CALL, CPU, "made up")


def test_each_probe_is_asked_for_once():
    asked = []
    fit(lambda probe: asked.append(probe) or 1000.0, CPU, "x")
    assert len(asked) == PROBES


def test_a_machine_has_a_name_and_all_that_is_not_measured():
    machine = fitted()
    assert machine.name == "made up"
    kept = ("xla_launch", "device_launch", "fresh_limit", "short_row", "cache", "long_run")
    for name in kept:
        assert getattr(machine, name) == getattr(CPU, name)


def test_rates_are_bytes_for_each_microsecond():
    machine = fitted()
    assert machine.permute_inner == pytest.approx(2 * RATE)  # read and written
    assert machine.vecmat == pytest.approx(RATE, rel=0.01)
    assert machine.dot == pytest.approx(RATE)
    assert machine.stream == pytest.approx(2 * RATE, rel=0.01)
    assert fitted(permute=4).permute_rows == pytest.approx(machine.permute_rows / 4, rel=1e-3)
    assert fitted(sum=3).sum_both_ends == pytest.approx(machine.sum_both_ends / 3, rel=1e-3)


def test_launches_are_told_from_the_length_of_a_chain():
    def time(probe: Probe) -> float:
        if probe.target == "eager":
            return {"reshape": 20.0, "permute": 30.0, "einsum": 10.0}[probe.kernel]
        return CALL + 2.0 * 5 * dict(probe.options).get("length", 0)

    machine = fit(time, CPU, "x")
    assert machine.eager_launch == 20.0
    assert machine.graph_launch == pytest.approx(2.0)


def slower_where(condition, us):
    """A machine on which some probes take so many microseconds more."""
    return fit(lambda p: plain(p) + us * bool(condition(p, dict(p.options))), CPU, "x")


@pytest.mark.parametrize(
    ("field", "kernel", "rank", "option", "target"),
    [
        ("across_left", "matmul", 2, "transpose_a", "graph"),
        ("across_right", "matmul", 2, "transpose_b", "graph"),
        ("batch_across_left", "matmul", 3, "transpose_a", "graph"),
        ("batch_across_right", "matmul", 3, "transpose_b", "graph"),
        ("xla_across_left", "matmul", 2, "transpose_a", "xla"),
        ("xla_across_right", "matmul", 2, "transpose_b", "xla"),
    ],
)
def test_what_is_read_across_rows_has_a_rate(field, kernel, rank, option, target):
    def is_it(probe, options):
        thick = min(probe.shapes[0][-2:]) > 1 < min(probe.shapes[-1][-2:])
        same = probe.kernel == kernel and len(probe.shapes[0]) == rank and probe.target == target
        return same and thick and options.get(option)

    fields = [f.name for f in dataclasses.fields(Machine) if "across_" in f.name]
    free = fitted()
    machine = slower_where(is_it, 4000.0)
    changed = [name for name in fields if getattr(machine, name) != getattr(free, name)]
    assert changed == [field]
    assert 1_000 < getattr(machine, field) < 10_000
    assert all(getattr(free, name) > 1e9 for name in fields)  # nothing more is as good as free


def test_fresh_pages_are_what_a_large_result_takes_more():
    machine = slower_where(lambda p, _: p.kernel == "multiply" and p.shapes[0] == (4096, 4096), 1e6)
    assert machine.fresh == pytest.approx(4 * 4096**2 / 1e6, rel=0.2)
    assert fitted().fresh > 1e9


def test_noise_makes_no_rate_negative():
    machine = fit(lambda probe: CALL, CPU, "x")  # nothing takes longer than a call
    for field in dataclasses.fields(Machine):
        value = getattr(machine, field.name)
        assert not isinstance(value, float) or 0 <= value <= 1e12
