from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.decide.choice import largest_divisor
from autobatch.errors import SettingsError
from autobatch.recommend.accumulation import (
    GlobalBatchSplit,
    count_passes,
    split_global_batch,
)
from autobatch.records import Settings


@pytest.mark.parametrize(
    ("global_batch_size", "num_devices", "batch_size", "steps", "remainder"),
    [
        (1_024, 1, 128, 8, 0),
        (1_024, 4, 128, 2, 0),
        (1_000, 1, 128, 8, 24),
        (64, 1, 128, 1, 64),
        (None, 4, 128, 1, 0),
    ],
)
def test_a_global_batch_is_split_as_by_hand(
    global_batch_size: int | None, num_devices: int, batch_size: int, steps: int, remainder: int
) -> None:
    asked = Settings(global_batch_size=global_batch_size, num_devices=num_devices)
    total = global_batch_size or batch_size * num_devices
    assert split_global_batch(asked, batch_size) == GlobalBatchSplit(total, steps, remainder)


def test_passes_that_are_given_make_the_global_batch() -> None:
    asked = Settings(gradient_accumulation_steps=3, num_devices=2)
    assert split_global_batch(asked, 8) == GlobalBatchSplit(48, 3, 0)


def test_passes_and_a_global_batch_contradict_each_other() -> None:
    with pytest.raises(SettingsError, match=r"gradient_accumulation_steps=2.*global_batch_size=64"):
        Settings(gradient_accumulation_steps=2, global_batch_size=64)


@pytest.mark.parametrize(("size", "passes"), [(64, 1), (32, 2), (8, 2)])
def test_a_trial_makes_two_passes_where_training_makes_two_or_more(size: int, passes: int) -> None:
    assert count_passes(Settings(global_batch_size=64), size) == passes
    assert count_passes(Settings(), size) == 1


@given(per_device=st.integers(1, 10**5), num_devices=st.integers(1, 64), size=st.integers(1, 10**5))
def test_steps_less_the_remainder_are_exactly_the_global_batch(
    per_device: int, num_devices: int, size: int
) -> None:
    asked = Settings(global_batch_size=per_device * num_devices, num_devices=num_devices)
    split = split_global_batch(asked, size)
    assert num_devices * (split.steps * size - split.remainder) == per_device * num_devices
    assert 0 <= split.remainder < size


@given(per_device=st.integers(1, 2_000), at_most=st.integers(1, 3_000))
def test_the_largest_divisor_is_the_one_that_counting_down_finds(
    per_device: int, at_most: int
) -> None:
    counted = next(
        size for size in range(min(at_most, per_device), 0, -1) if per_device % size == 0
    )
    assert largest_divisor(per_device, at_most) == counted
