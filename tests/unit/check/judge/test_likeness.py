"""What may be compared with what."""

from __future__ import annotations

import pytest

from autobatch.check.judge.likeness import refuse_or_note
from autobatch.errors import BaselineError


def test_the_same_again_can_be_compared(make_measurement) -> None:
    assert refuse_or_note(make_measurement(), make_measurement(), any_hardware=False) == (True, [])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batch_size": 32}, "batch size 32 then, 64 now"),
        ({"precision": "bf16"}, "precision bf16 then, fp32 now"),
        ({"device": "cuda:0"}, "device cuda then, cpu now"),
    ],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("any_hardware", [False, True])
def test_another_task_is_always_refused(make_measurement, fields, words, any_hardware) -> None:
    with pytest.raises(BaselineError, match=words) as caught:
        refuse_or_note(make_measurement(), make_measurement(**fields), any_hardware=any_hardware)
    assert caught.value.hint


@pytest.mark.parametrize(
    "environment",
    [
        {"device_name": "Another CPU"},
        {"torch_version": "2.5.0"},
        {"num_cores": 64},
        {"platform": "Darwin arm64"},
        {"isolation": "shared"},
    ],
    ids=str,
)
def test_other_hardware_is_refused_or_compared_by_memory_alone(
    make_measurement, environment
) -> None:
    baseline = make_measurement(environment=environment)
    with pytest.raises(BaselineError, match=str(next(iter(environment.values())))) as caught:
        refuse_or_note(make_measurement(), baseline, any_hardware=False)
    assert "`any_hardware`" in caught.value.hint
    can_compare_times, notes = refuse_or_note(make_measurement(), baseline, any_hardware=True)
    assert not can_compare_times
    assert "Memory alone" in notes[0]


def test_gpus_of_one_kind_are_alike_whatever_their_index_and_host(make_measurement) -> None:
    before = make_measurement(device="cuda:0", environment={"num_cores": 8})
    now = make_measurement(device="cuda:1", environment={"num_cores": 16})
    assert refuse_or_note(now, before, any_hardware=False) == (True, [])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"target": "other.py"}, "target other.py then, model.py now"),
        ({"environment": {"variables": {"A": "1"}}}, "`env` A=1 then, none now"),
        ({"environment": {"driver_version": "550"}}, "driver 550 then, None now"),
    ],
    ids=str,
)
def test_what_may_explain_a_change_is_noted(make_measurement, fields, words) -> None:
    can_compare, notes = refuse_or_note(
        make_measurement(), make_measurement(**fields), any_hardware=False
    )
    assert can_compare
    assert any(words in note for note in notes)
