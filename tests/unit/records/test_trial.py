"""Two runs of one size as one trial."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autobatch.records import Outcome, TimingRound, Trial

GIB = 2**30
TIMED = TimingRound(number=0, step_times_s=(0.1, 0.2), data_times_s=(0.0, 0.0))


def _trial(batch_size: int = 8, **fields: Any) -> Trial:
    fields = {"rounds": (TIMED,), **fields}
    return Trial(batch_size=batch_size, outcome=Outcome.FITS, **fields)


def test_a_second_round_adds_its_steps() -> None:
    merged = _trial().with_round(_trial())
    assert merged.step_times_s == (0.1, 0.2, 0.1, 0.2)


def test_a_confirmation_adds_no_steps() -> None:
    assert _trial().confirmed_by(_trial()).step_times_s == (0.1, 0.2)


@pytest.mark.parametrize(("first", "second"), [(3, 5), (5, 3), (None, 5), (5, None)])
def test_the_higher_peak_is_kept(first: int | None, second: int | None) -> None:
    assert _trial(peak_bytes=first).confirmed_by(_trial(peak_bytes=second)).peak_bytes == 5


def test_every_part_of_the_higher_peak_is_kept() -> None:
    first = _trial(peak_bytes=9, peak_reserved_bytes=8, peak_allocated_bytes=3)
    second = _trial(peak_bytes=8, peak_reserved_bytes=7, peak_allocated_bytes=5)
    for merged in (first.confirmed_by(second), second.confirmed_by(first)):
        parts = (merged.peak_bytes, merged.peak_reserved_bytes, merged.peak_allocated_bytes)
        assert parts == (9, 8, 5)


def test_the_more_retries_are_kept() -> None:
    often, never = _trial(alloc_retries_per_step=2.0), _trial(alloc_retries_per_step=0.0)
    assert never.confirmed_by(often).alloc_retries_per_step == 2.0
    assert often.with_round(never).alloc_retries_per_step == 2.0
    assert _trial().confirmed_by(_trial()).alloc_retries_per_step is None


def test_a_trial_needs_its_peak_less_what_the_allocator_cached() -> None:
    assert _trial(peak_bytes=9).needed_bytes == 9
    assert _trial().needed_bytes is None
    whole = _trial(peak_bytes=9, peak_reserved_bytes=7, peak_allocated_bytes=4)
    assert whole.needed_bytes == 6, "4 of tensors, and 2 that the driver holds besides"


def test_why_a_figure_is_unknown_is_kept_while_it_is() -> None:
    known, unknown = _trial(throttle_reasons=()), _trial(unknown={"throttle_reasons": "no counter"})
    assert known.confirmed_by(unknown).unknown == unknown.confirmed_by(known).unknown == {}
    assert unknown.confirmed_by(unknown).unknown == {"throttle_reasons": "no counter"}


def test_throttling_is_what_was_seen_in_either_run() -> None:
    first, second = _trial(throttle_reasons=("power",)), _trial(throttle_reasons=("heat", "power"))
    assert first.confirmed_by(second).throttle_reasons == ("power", "heat")
    assert _trial(throttle_reasons=()).confirmed_by(_trial()).throttle_reasons == ()
    assert _trial().confirmed_by(_trial()).throttle_reasons is None


def test_a_loss_that_was_not_finite_once_is_not() -> None:
    assert not _trial().confirmed_by(_trial(loss_is_finite=False)).loss_is_finite


def test_runs_of_two_sizes_are_no_trial() -> None:
    with pytest.raises(ValueError, match="8 and 16"):
        _trial().confirmed_by(_trial(16))


@pytest.mark.parametrize(
    ("message", "requested_bytes"),
    [
        ("can't allocate memory: you tried to allocate 10737418240 bytes. Error code 12", 10 * GIB),
        ("CUDA out of memory. Tried to allocate 2.50 GiB (GPU 0; 6.00 GiB total", 5 * GIB // 2),
        ("HIP out of memory. Tried to allocate 512.00 KiB. GPU 0 has", 2**19),
        ("Unable to allocate 1.00 TiB for an array with shape (137438953472,)", 2**40),
        ("unable to mmap 4096 bytes from file </torch_1_2>: Cannot allocate memory (12)", 4096),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", None),
        ("std::bad_alloc", None),
        ("", None),
    ],
)
def test_what_an_allocation_asked_for_is_read_from_its_error(
    message: str, requested_bytes: int | None
) -> None:
    failed = Trial(batch_size=8, outcome=Outcome.OUT_OF_MEMORY, message=message)
    assert failed.requested_bytes == requested_bytes
    assert replace(failed, outcome=Outcome.FAILED).requested_bytes is None
