"""Numbers to text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch import units
from autobatch.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("8GiB", 8 * 2**30),
        ("500 MB", 500_000_000),
        ("1073741824B", 2**30),
        ("1.5gib", 3 * 2**29),
        (" 64 KiB ", 65_536),
        ("1tb", 10**12),
        ("7 B", 7),
    ],
)
def test_a_memory_size_is_read_with_any_unit(text, num_bytes):
    assert units.parse_bytes(text) == num_bytes


@pytest.mark.parametrize(
    "text", ["", "GiB", "8", "1073741824", "8 bananas", "-1GiB", "0", "0.1B", "1e9", "8GiB!", "٣x"]
)
def test_what_is_not_a_memory_size_is_repeated_with_a_hint(text):
    with pytest.raises(SettingsError) as caught:
        units.parse_bytes(text)
    assert str(caught.value) == f"{text!r} is not a memory size"
    assert caught.value.hint == "write it like 8GiB or 500MB"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("8", "8GiB"),
        (" 40 ", "40GiB"),
        ("800", "800MiB"),
        ("1073741824", "1073741824B"),
        ("0", ""),
        ("lots", ""),
        ("8GiB", ""),
        ("9" * 400, ""),
    ],
)
def test_a_number_without_a_unit_is_taken_for_a_likely_size_and_never_for_bytes(text, meant):
    assert units.add_unit(text) == meant
    if meant:
        assert units.parse_bytes(meant) >= 2**20


@pytest.mark.parametrize(
    ("text", "fraction"), [("10%", 0.1), ("0.1", 0.1), ("0", 0.0), (" 99.5 % ", 0.995)]
)
def test_a_share_is_read_in_per_cent_or_as_a_fraction(text, fraction):
    assert units.parse_fraction(text) == pytest.approx(fraction)


@pytest.mark.parametrize("text", ["", "%", "ten", "1", "100%", "-1%", "nan", "inf", "10%%"])
def test_what_is_not_a_share_is_repeated_with_a_hint(text):
    with pytest.raises(SettingsError) as caught:
        units.parse_fraction(text)
    assert repr(text) in str(caught.value)
    assert caught.value.hint == "write it like 10% or 0.1"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5min", 90),
        ("2h", 7200),
        ("3m", 180),
        ("250 ms", 0.25),
        ("1us", 1e-6),
    ],
)
def test_a_time_is_read_with_any_unit(text, seconds):
    assert units.parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "0s", "-5", "5 days", "5:30"])
def test_what_is_not_a_time_is_repeated_with_a_hint(text):
    with pytest.raises(SettingsError) as caught:
        units.parse_seconds(text)
    assert str(caught.value) == f"{text!r} is not a time"
    assert caught.value.hint == "write it like 90s or 5min"


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (412 * 2**20, "412 MiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (2**30 - 1, "1.0 GiB"),
        (3 * 2**40, "3.0 TiB"),
        (-(2**20), "-1.0 MiB"),
    ],
)
def test_bytes_are_written_with_a_binary_unit(num_bytes, text):
    assert units.format_bytes(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 us"),
        (4.2e-6, "4.2 us"),
        (0.0032, "3.2 ms"),
        (0.9999, "1 s"),
        (12, "12 s"),
        (99.4, "99.4 s"),
        (99.6, "1 min 40 s"),
        (3599, "59 min 59 s"),
        (3599.9, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_a_time_is_written_with_the_unit_that_suits_it(seconds, text):
    assert units.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(3290.4, "3,290 samples/s"), (99.96, "100 samples/s"), (12.34, "12.3 samples/s")],
)
def test_a_rate_has_three_digits_or_more(rate, text):
    assert units.format_rate(rate) == text
    assert units.format_rate(1.519) == "1.52 samples/s"


@pytest.mark.parametrize(
    ("price", "text"), [(0.001234, "0.00123"), (0.5, "0.5"), (1, "1.00"), (1234.567, "1,234.57")]
)
def test_money_has_cents_or_three_digits(price, text):
    assert units.format_price(price) == text


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.05, "5 %"), (0.004, "0.4 %"), (0, "0 %"), (1.56, "156 %")]
)
def test_a_share_is_written_in_per_cent(fraction, text):
    assert units.format_fraction(fraction) == text


def test_counts_and_learning_rates_are_short():
    assert units.format_count(24_000) == "24,000"
    assert units.format_learning_rate(3.2) == "3.2"
    assert units.format_learning_rate(0.00014142) == "0.0001414"


@given(st.integers(min_value=1, max_value=2**60))
def test_a_size_that_was_written_is_read_back_within_its_digits(num_bytes):
    again = units.parse_bytes(units.format_bytes(num_bytes))
    assert abs(again - num_bytes) <= 0.051 * num_bytes


@pytest.mark.parametrize(
    ("factor", "text"),
    [(8, "8"), (0.5, "0.5"), (1 / 64, "1/64"), (1 / 2048, "1/2,048"), (0.125**0.5, "0.3536")],
)
def test_a_factor_is_a_fraction_where_four_digits_would_round_it(factor, text):
    assert units.format_factor(factor) == text


@pytest.mark.parametrize(
    ("beta", "text"),
    [
        (0.9, "0.9"),
        (0.999, "0.999"),
        (0.6, "0.6"),
        (0.0, "0"),
        (0.996875, "0.9969"),
        (0.99996875, "0.999969"),
        (1.0, "1"),
    ],
)
def test_a_beta_is_never_rounded_to_1(beta, text):
    assert units.format_beta(beta) == text
