"""What may be asked along another axis than the batch, and what its throughput counts."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.errors import SettingsError
from autobatch.records import Axis, Goal, Settings


def _refusal(**asked: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        Settings(**asked)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("axis", [Axis.SEQUENCE_LENGTH, Axis.IMAGE_SIZE])
def test_lengths_and_image_sizes_need_the_batch_that_they_are_for(axis: Axis) -> None:
    assert f"`axis={axis.value}` needs the size of every batch" in str(_refusal(axis=axis))


@pytest.mark.parametrize("axis", [Axis.BATCH_SIZE, Axis.TOKENS])
def test_what_looks_for_the_batch_is_not_given_it(axis: Axis) -> None:
    assert "`batch_size=8` is the size of every batch" in str(_refusal(axis=axis, batch_size=8))


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("learning_rate", 0.1, "`lr=0.1`"),
        ("evaluation", True, "`eval=True`"),
        ("global_batch_size", 64, "`global_batch_size=64`"),
        ("goal", Goal.EFFICIENCY, "`goal=efficiency`"),
    ],
)
def test_what_follows_from_a_batch_size_is_refused_along_another_axis(
    option: str, value: Any, named: str
) -> None:
    error = _refusal(axis=Axis.TOKENS, **{option: value})
    assert str(error).startswith(
        f"{named} is for a search of the batch size, not for `axis=tokens`"
    )


@pytest.mark.parametrize(
    ("axis", "batch_size", "rate"),
    [
        (Axis.BATCH_SIZE, None, 200.0),
        (Axis.TOKENS, None, 200.0),
        (Axis.SEQUENCE_LENGTH, 8, 8 * 200.0),
        (Axis.IMAGE_SIZE, 8, 8 * 100 * 200.0),
    ],
)
def test_throughput_counts_tokens_and_pixels_of_the_whole_batch(
    axis: Axis, batch_size: int | None, rate: float
) -> None:
    # A step of half a second at size 100: 8 sequences of 100 tokens, 8 images of 100 x 100 pixels.
    along = Settings(axis=axis, batch_size=batch_size).along
    assert along.rate(100, 100 / 0.5) == rate
