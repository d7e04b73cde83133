"""The sizes that a search may try."""

from __future__ import annotations

import pytest

from autobatch.decide.choice import find_exact_size
from autobatch.decide.grid import make_grid
from autobatch.errors import SettingsError
from autobatch.records import Axis, Settings, StopReason


@pytest.mark.parametrize("cap", [1, 2, 3, 5, 8, 1000])
def test_the_largest_size_that_was_asked_for_is_a_candidate(cap: int) -> None:
    grid = make_grid(Settings(max_batch_size=cap), None, 1)
    assert grid.sizes[-1] == cap
    assert grid.end is StopReason.CAP
    assert set(grid.sizes) - {cap} <= {2**power for power in range(10)}


def test_a_cap_beyond_the_dataset_adds_no_candidate() -> None:
    grid = make_grid(Settings(max_batch_size=1000), 100, 1)
    assert grid.sizes == (1, 2, 4, 8, 16, 32, 64, 100)
    assert grid.end is StopReason.DATASET


@pytest.mark.parametrize("start", [1, 2, 3, 4])
def test_multiples_begin_at_the_multiple_and_are_all_that_is_tried(start: int) -> None:
    asked = Settings(min_batch_size=start, max_batch_size=20, grid_multiple=3)
    first = 3 if start <= 3 else 6
    assert make_grid(asked, 1000, 1, your_batch_size=16).sizes[0] == first
    assert set(make_grid(asked, 1000, 1, your_batch_size=16).sizes) | {3} == {3, 6, 12, 18}


@pytest.mark.parametrize("multiple", [2, 3, 7, 8, 10])
@pytest.mark.parametrize("dataset_size", [None, 11, 100, 1797])
@pytest.mark.parametrize("yours", [None, 24, 32])
def test_no_candidate_is_anything_but_a_multiple(
    multiple: int, dataset_size: int | None, yours: int | None
) -> None:
    asked = Settings(grid_multiple=multiple, global_batch_size=768, max_batch_size=500)
    sizes = make_grid(asked, dataset_size, 2, yours).sizes
    assert sizes
    assert all(size % multiple == 0 for size in sizes)
    cap = min(dataset_size or 500, 500)
    assert sizes[-1] == cap // multiple * multiple, "the last multiple of all"
    if yours and yours % multiple == 0 and yours <= cap:
        assert yours in sizes


def test_the_usual_multiple_is_still_made_of_powers_of_two() -> None:
    assert make_grid(Settings(grid_multiple=8, max_batch_size=128), None, 1).sizes == (
        *(8, 16, 32, 64, 128),
    )


def test_a_size_that_divides_the_global_batch_is_a_multiple_too() -> None:
    asked = Settings(grid_multiple=3, global_batch_size=180)
    assert find_exact_size(asked, 24) == 18, "20 divides 180 as well"
    assert find_exact_size(Settings(grid_multiple=7, global_batch_size=180), 28) is None
    assert find_exact_size(Settings(global_batch_size=180), 24) == 20


@pytest.mark.parametrize(
    ("settings", "dataset_size", "words"),
    [
        ({"grid_multiple": 8}, 5, "`grid=multiple:8` begins at 8, above the largest candidate, 5"),
        ({"min_batch_size": 9}, 5, "`min_batch_size=9` exceeds the largest candidate, 5"),
    ],
)
def test_limits_that_leave_no_candidate_are_named(
    settings: dict[str, int], dataset_size: int, words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        make_grid(Settings(**settings), dataset_size, 1)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert caught.value.hint


def test_a_cap_below_the_first_multiple_is_refused_before_anything_runs() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(grid_multiple=8, min_batch_size=2, max_batch_size=5)
    assert str(caught.value) == (
        "`grid=multiple:8` has no size from `min_batch_size=2` to `max_batch_size=5`"
    )
    assert caught.value.hint == "use `max_batch_size=8`"


@pytest.mark.parametrize(("num_devices", "largest"), [(1, 1797), (2, 899), (8, 225)])
def test_no_device_gets_more_than_its_part_of_the_dataset(num_devices: int, largest: int) -> None:
    grid = make_grid(Settings(num_devices=num_devices), 1797, 1)
    assert grid.sizes[-1] == largest
    assert grid.end is StopReason.DATASET


def test_lengths_end_at_the_positions_of_the_model() -> None:
    settings = Settings(axis=Axis.SEQUENCE_LENGTH, batch_size=8)
    grid = make_grid(settings, None, 1, num_positions=100)
    assert grid.sizes == (16, 32, 64, 100)
    assert grid.end is StopReason.POSITIONS
