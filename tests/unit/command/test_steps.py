"""Events as a hook sends them, and the steps that they are."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.command.steps import find_steps, merge_ranks

LOADER = ["loader", 0, "TensorDataset", 4096, 16, 256, 0, True]


def play(text: str, size: int = 16) -> list[list[Any]]:
    """Events from letters, one every millisecond.

    D a batch, d a smaller one, B a backward pass, O and o steps of two optimizers, S a step that
    was skipped, E an evaluation, L a new epoch.
    """
    events: list[list[Any]] = []
    for index, letter in enumerate(text.replace(" ", "")):
        now = index / 1000
        events += {
            "D": [["D", now - 0.0002, now, 0, [[size, 3]]]],
            "d": [["D", now - 0.0002, now, 0, [[size // 2, 3]]]],
            "B": [["B", now - 0.0005, now]],
            "O": [["O", now, 0, 0.1]],
            "o": [["O", now, 1, 0.1]],
            "S": [["S", now]],
            "E": [["E", now]],
            "L": [LOADER],
        }[letter]
    return events


def times_ms(text: str, **values: Any) -> list[int]:
    seen = find_steps(play(text), **values)
    return [round(step.time_s * 1000) for step in seen.clean]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("L DBO DBO DBO", [3, 3]),
        ("L DBO DBO EEE DBO DBO", [3, 3]),  # an evaluation
        ("L DBO DBO L DBO DBO", [3, 3]),  # an epoch begins
        ("L DBO DBO dBO DBO", [3, 3]),  # the last batch of an epoch
        ("L DBDBO DBDBO DBDBO", [5, 5]),  # gradients are accumulated
        ("L DBBo BO DBBo BO DBBo BO", [6, 6]),  # two optimizers take turns
        ("L DBO DBS DBO", [3, 3]),  # a scaler skips
        ("L DB DB DB DB DB", [2, 2, 2, 2]),  # no optimizer
        ("L D D D D", [1, 1, 1]),  # no backward pass either
        ("BO BO BO", [2, 2]),  # no loader
        ("OO L DBO DBO", [3]),  # optimizers that step before anything is trained
        ("L DBO", []),
        ("L DB DB", []),  # may be the first passes of a step
    ],
)
def test_what_lies_between_two_ends_of_steps_is_a_step(text: str, clean: list[int]) -> None:
    assert times_ms(text) == clean


def test_two_steps_an_epoch_are_taken_as_they_are_after_three_epochs() -> None:
    assert times_ms("L DBO L DBO L DBO") == []
    assert times_ms("L DBO L DBO L DBO L DBO") == [4, 4, 4]


def test_samples_are_counted_at_the_loader() -> None:
    seen = find_steps(play("L DBDBO DBDBO DBDBO"))
    assert [step.num_samples for step in seen.steps] == [32, 32]
    assert [step.num_passes for step in seen.steps] == [2, 2]
    assert seen.batch_size == 16
    without = find_steps(play("BBO BBO"))
    assert [step.num_samples for step in without.steps] == [None]


def test_waiting_for_batches_is_part_of_a_step() -> None:
    step = find_steps(play("L DBO DBO")).steps[0]
    assert step.data_time_s == pytest.approx(0.0002)


def test_batches_that_were_fetched_at_another_size_do_not_count() -> None:
    events = [*play("L DBO DBO DBO", size=8), *play("DBO DBO", size=64)]
    seen = find_steps(events, batch_size=64)
    assert [step.num_samples for step in seen.clean] == [64, 64]


def test_a_batch_in_another_dimension_is_told_by_its_sampler() -> None:
    events = play("L DBO DBO", size=35)
    for event in events:
        if event[0] == "D":
            event[4] = [[35, 16]]
    assert [step.num_samples for step in find_steps(events).steps] == [16]


def test_the_training_loader_is_the_one_before_the_first_backward_pass() -> None:
    sanity_check = [["loader", 1, "Validation", 100, 5, 20, 0, True], ["D", 0.0, 0.1, 1, [[5, 3]]]]
    seen = find_steps([*sanity_check, *play("L DBO DBO")])
    assert seen.loader == 0
    assert seen.batch_size == 16


def test_a_step_takes_as_long_as_on_the_slowest_rank() -> None:
    first, second = find_steps(play("L DBO DBO DBO")), find_steps(play("L DB  O DBBO DBO DBO"))
    merged = merge_ranks([first, second])
    assert [round(step.time_s * 1000) for step in merged.clean] == [4, 3]
    assert merged.num_boundaries == 3
    assert merge_ranks([first]) == first


def test_a_step_counts_if_it_does_on_every_rank() -> None:
    alone, waiting = play("L DBO EEEE DBO DBO"), play("L DBO DBO DBO")
    merged = merge_ranks([find_steps(waiting), find_steps(alone)])
    assert len(find_steps(waiting).clean) == 2
    assert len(merged.clean) == 1


def test_the_optimizer_that_first_stepped_ends_a_step_wherever_the_events_begin() -> None:
    whole = "L DBO DBO DBO Bo DBO DBO DBO Bo DBO DBO DBO"  # the second one steps after each third
    expected = [3, 3, 5, 3, 3, 5, 3, 3]
    assert times_ms(whole) == expected
    assert times_ms(whole[whole.index("Bo") :]) == [3, 3, 5, 3, 3]
