import pytest

from tf_einsum_grad.text import numbers


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4_300_000_000, "4.3 GB"),
        (10**19, "10000.0 PB"),
    ],
)
def test_bytes(n, text):
    assert numbers.show_bytes(n) == text


@pytest.mark.parametrize(
    ("n", "text"), [(7, "7 FLOP"), (8_220_000_000, "8.2 GFLOP"), (10**15, "1.0 PFLOP")]
)
def test_flops(n, text):
    assert numbers.show_flops(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (12.3456, "12.3 s"),
        (0.99951, "1.00 s"),
        (0.9994, "999 ms"),
        (0.00999499, "9.99 ms"),
        (0.0099951, "10.0 ms"),
        (0.09996, "100 ms"),
        (3e-7, "0.30 us"),
        (-2e-3, "-2.00 ms"),
        (float("nan"), "-"),
    ],
)
def test_durations_have_three_digits(seconds, text):
    assert numbers.duration(seconds) == text


def test_durations_of_fewer_digits_keep_those_before_the_point():
    assert [numbers.duration(x, digits=1) for x in (1e-5, 2e-3, 0.5)] == ["10 us", "2 ms", "500 ms"]


def test_milliseconds():
    assert numbers.milliseconds(1.2346) == "1235 ms"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.314, "1.31x"), (9.951, "10.0x"), (152.6, "153x"), (float("nan"), "-")],
)
def test_times(ratio, text):
    assert numbers.times(ratio) == text


def test_percent():
    assert [numbers.percent(x) for x in (0.889, 1.5, float("nan"))] == ["89%", "150%", "-"]


def test_numbers_in_significant_digits():
    assert numbers.number(0.123456, 2) == "0.12"
    assert numbers.number(1234.5, 4) == "1234"
    assert numbers.number(float("nan"), 4) == ""
    assert numbers.number(float("nan"), 4, missing="-") == "-"
