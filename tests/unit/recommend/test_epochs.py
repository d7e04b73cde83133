from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.recommend.epochs import epoch_time_s, iterations_per_epoch, last_batch_size

sizes = st.integers(min_value=1, max_value=10**6)


@pytest.mark.parametrize(
    ("dataset_size", "global_batch_size", "drop_last", "iterations", "last"),
    [
        (24_000, 32, False, 750, 32),
        (2_000, 10, False, 200, 10),
        (1_000, 500, False, 2, 500),
        (1_050, 100, False, 11, 50),
        (1_050, 100, True, 10, 100),
        (20, 32, False, 1, 20),
        (20, 32, True, 0, 0),
        (1, 1, True, 1, 1),
    ],
)
def test_an_epoch_is_counted_as_by_hand(
    dataset_size: int, global_batch_size: int, drop_last: bool, iterations: int, last: int
) -> None:
    assert iterations_per_epoch(dataset_size, global_batch_size, drop_last=drop_last) == iterations
    assert last_batch_size(dataset_size, global_batch_size, drop_last=drop_last) == last


@given(dataset_size=sizes, global_batch_size=sizes)
def test_full_steps_and_the_last_one_make_up_the_data_set(
    dataset_size: int, global_batch_size: int
) -> None:
    iterations = iterations_per_epoch(dataset_size, global_batch_size, drop_last=False)
    last = last_batch_size(dataset_size, global_batch_size, drop_last=False)
    assert 1 <= last <= global_batch_size
    assert (iterations - 1) * global_batch_size + last == dataset_size


@given(dataset_size=sizes, global_batch_size=sizes)
def test_drop_last_leaves_out_less_than_one_step(dataset_size: int, global_batch_size: int) -> None:
    iterations = iterations_per_epoch(dataset_size, global_batch_size, drop_last=True)
    assert 0 <= dataset_size - iterations * global_batch_size < global_batch_size


def test_full_passes_take_the_measured_time_each(make_curve) -> None:
    assert epoch_time_s(24_000, 32, 0.2, make_curve()) == pytest.approx(150.0)


def test_a_partial_pass_takes_its_share_of_the_fitted_curve(make_curve) -> None:
    # The curve says 60 ms for 50 samples and 110 ms for 100.
    expected = (10 + 60 / 110) * 0.2
    assert epoch_time_s(1_050, 100, 0.2, make_curve()) == pytest.approx(expected)


@pytest.mark.parametrize("has_curve", [False, True])
def test_without_a_good_curve_a_partial_pass_takes_its_share_of_the_samples(
    make_curve, has_curve: bool
) -> None:
    curve = make_curve(is_good=False) if has_curve else None
    assert epoch_time_s(1_050, 100, 0.2, curve) == pytest.approx(10.5 * 0.2)


def test_drop_last_leaves_the_partial_pass_out_of_the_time(make_curve) -> None:
    assert epoch_time_s(1_050, 100, 0.2, make_curve(), drop_last=True) == pytest.approx(2.0)
    assert epoch_time_s(20, 32, 0.2, make_curve(), drop_last=True) == 0.0


def test_a_data_set_smaller_than_the_batch_is_one_short_pass() -> None:
    assert epoch_time_s(8, 32, 0.2, None) == pytest.approx(0.05)


def test_devices_share_the_passes_and_accumulation_does_not_change_their_number() -> None:
    alone = epoch_time_s(6_400, 32, 0.2, None)
    assert epoch_time_s(6_400, 32, 0.2, None, num_devices=4) == pytest.approx(alone / 4)
    assert epoch_time_s(6_400, 32, 0.2, None, accumulation_steps=4) == pytest.approx(alone)


def test_a_step_that_ends_in_a_short_pass_is_counted_with_it(make_curve) -> None:
    # A global batch of 100 is passes of 64 and 36: 74 ms and 46 ms by the curve.
    expected = 10 * (1 + 46 / 74) * 0.2
    timed = epoch_time_s(1_000, 64, 0.2, make_curve(), accumulation_steps=2, global_batch_size=100)
    assert timed == pytest.approx(expected)


@given(
    dataset_size=sizes,
    batch_size=st.integers(1, 4096),
    num_devices=st.integers(1, 8),
    steps=st.integers(1, 8),
)
def test_without_a_curve_an_epoch_takes_the_samples_of_a_device_at_their_measured_rate(
    dataset_size: int, batch_size: int, num_devices: int, steps: int
) -> None:
    timed = epoch_time_s(
        dataset_size, batch_size, 0.5, None, num_devices=num_devices, accumulation_steps=steps
    )
    per_device = math.ceil(dataset_size / num_devices)
    assert timed == pytest.approx(per_device / batch_size * 0.5)
