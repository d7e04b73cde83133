"""Steps and memory of trainings on GPUs, from what their hooks say."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.command.events import Speaker
from autobatch.command.gpu import held_against_gpu, read_gpu, with_gpu
from autobatch.command.steps import find_steps
from autobatch.records import Outcome, Trial

GIB = 2**30


def make_speaker(reserved_bytes: int, *, index: int = 0, free_bytes: int = 80 * GIB) -> Speaker:
    speaker = Speaker(None)
    speaker.hear(["gpu", index, f"GPU {index}", 100 * GIB, 90 * GIB])
    speaker.hear(["gpu_memory", reserved_bytes, reserved_bytes // 2, 8 * GIB, free_bytes])
    return speaker


def play(num_steps: int, *, told: int) -> list[list[Any]]:
    """Steps that the script starts every millisecond, and the GPU takes 20 ms for."""
    events: list[list[Any]] = [["loader", 0, "TensorDataset", 4096, 16, 256, 0, True]]
    for number in range(1, num_steps + 1):
        now = number / 1000
        events.append(["D", now - 0.0005, now - 0.0004, 0, [[16, 3]]])
        events.append(["B", now - 0.0002, now - 0.0001])
        events.append(["O", now, 0, 0.1, number])
    return events + [["T", number, 5 + number / 50] for number in range(1, told + 1)]


def test_a_step_takes_as_long_as_the_gpu_does() -> None:
    seen = find_steps(play(6, told=6))
    assert [step.time_s for step in seen.clean] == pytest.approx([0.02] * 5)


def test_steps_that_the_gpu_has_not_done_yet_are_left_out() -> None:
    assert len(find_steps(play(6, told=3)).steps) == 2
    assert find_steps(play(6, told=0)).num_boundaries == 0


def test_backward_passes_and_skipped_steps_are_marked_alike() -> None:
    passes: list[list[Any]] = [["B", n / 1000, n / 1000, n] for n in range(1, 6)]
    ends: list[list[Any]] = [["T", n, n / 10] for n in range(1, 6)]
    assert [each.time_s for each in find_steps(passes + ends).steps] == pytest.approx([0.1] * 4)
    skipped: list[list[Any]] = []
    for number in (1, 2, 3):
        skipped += [["B", 0.0, 0.0], ["S", 0.0, number]]
    assert [e.time_s for e in find_steps(skipped + ends).steps] == pytest.approx([0.1, 0.1])


def test_the_rank_with_the_highest_peak_counts() -> None:
    gpu = read_gpu([make_speaker(9 * GIB), make_speaker(10 * GIB, index=1), Speaker(None)])
    assert gpu is not None
    assert (gpu.index, gpu.name) == (1, "GPU 1")
    # Of what was available, 10 GiB are gone, and 8 of them are the allocator's.
    assert gpu.overhead_bytes == 2 * GIB
    assert gpu.peak_bytes == 12 * GIB
    assert read_gpu([Speaker(None)]) is None


@pytest.mark.parametrize(("limit_bytes", "budget_bytes"), [(None, 85 * GIB), (20 * GIB, 19 * GIB)])
def test_the_budget_is_what_others_leave_less_the_headroom(
    limit_bytes: int | None, budget_bytes: int
) -> None:
    gpu = read_gpu([make_speaker(9 * GIB)])
    assert gpu is not None
    assert gpu.budget(limit_bytes, 0.05).budget_bytes == pytest.approx(budget_bytes)


def test_a_trial_has_the_memory_of_its_gpu_beside_that_of_the_host() -> None:
    trial = Trial(batch_size=8, outcome=Outcome.FITS, peak_bytes=GIB, host_peak_bytes=GIB)
    assert with_gpu(trial, None) is trial
    told = with_gpu(trial, read_gpu([make_speaker(9 * GIB)]))
    assert (told.peak_bytes, told.host_peak_bytes) == (11 * GIB, GIB)
    assert (told.peak_reserved_bytes, told.peak_allocated_bytes) == (9 * GIB, 9 * GIB // 2)
    assert held_against_gpu(told, 11 * GIB) is told
    over = held_against_gpu(told, 10 * GIB)
    assert over.outcome is Outcome.OVER_BUDGET
    assert over.message == "memory of 11.0 GiB exceeded the budget of 10.0 GiB"
