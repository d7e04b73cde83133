"""A recording under other settings, and in other memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.recorded import MIB, RecordedProcess

from autobatch.prediction.allocator import AllocatorSettings
from autobatch.prediction.allocator.replay import EventKind
from autobatch.prediction.snapshot import Recording, find_least_memory, read_snapshot, rerun

EXPANDABLE = AllocatorSettings(expandable_segments=True)


@pytest.fixture
def growing(tmp_path: Path) -> Recording:
    """Steps that each ask for more than the one before, until one does not fit."""
    process = RecordedProcess(capacity_bytes=150 * MIB)
    process.allocate("kept", 30 * MIB)
    for size in range(30, 130, 4):
        process.allocate("kept too", 22 * MIB)
        process.allocate("step", size * MIB)
        process.free("kept too")
        if "step" not in process.blocks:
            break
        process.free("step")
    return read_snapshot(process.dump(tmp_path / "snapshot.pickle"))


def test_without_a_limit_the_requests_need_what_the_recorded_process_reserved(
    tmp_path: Path,
) -> None:
    process = RecordedProcess()
    for size in (30, 40, 50):
        process.allocate("a", size * MIB)
        process.free("a")
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    found = rerun(recording, recording.settings, None)
    assert found.fits
    assert found.peak_reserved_bytes == 120 * MIB
    assert found.peak_allocated_bytes == 50 * MIB
    assert rerun(recording, EXPANDABLE, None).peak_reserved_bytes == 60 * MIB


def test_a_recording_starts_in_the_state_that_it_began_in(tmp_path: Path) -> None:
    process = RecordedProcess()
    process.allocate("a", 30 * MIB)
    process.allocate("b", 30 * MIB)
    process.free("a")
    process.begin()
    process.allocate("c", 40 * MIB)
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    assert rerun(recording, recording.settings, None).peak_reserved_bytes == 100 * MIB
    # Asked for anew, the cache of the time before is not there.
    assert rerun(recording, EXPANDABLE, None).peak_reserved_bytes == 80 * MIB
    within = rerun(recording, recording.settings, 70 * MIB)
    assert (within.fits, within.num_alloc_retries) == (True, 1)
    assert not rerun(recording, recording.settings, 60 * MIB).fits
    assert not rerun(recording, recording.settings, 20 * MIB).fits, "not even what was there"


def test_at_a_limit_the_cache_is_given_back_and_then_a_request_fails(tmp_path: Path) -> None:
    process = RecordedProcess()
    process.allocate("a", 30 * MIB)
    process.free("a")
    process.allocate("b", 40 * MIB)
    process.allocate("c", 20 * MIB)
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    assert rerun(recording, recording.settings, 60 * MIB).num_alloc_retries == 1
    failing = rerun(recording, recording.settings, 59 * MIB)
    assert (failing.fits, failing.failed_bytes) == (False, 20 * MIB)


def test_the_request_that_failed_is_asked_for_again(growing: Recording) -> None:
    [failed] = [event for event in growing.events if event.kind is EventKind.OUT_OF_MEMORY]
    assert growing.limit_bytes == 150 * MIB
    recorded = rerun(growing, growing.settings, growing.limit_bytes)
    assert recorded.failed_bytes == failed.size
    assert rerun(growing, growing.settings, growing.limit_bytes + 4 * MIB).fits


def test_the_least_memory_fits_and_a_little_less_does_not(tmp_path: Path) -> None:
    process = RecordedProcess()
    for size in (300, 400, 500):
        process.allocate("a", size * MIB)
        process.free("a")
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    least_bytes = find_least_memory(recording, recording.settings)
    assert least_bytes == pytest.approx(500 * MIB, rel=0.01)
    assert rerun(recording, recording.settings, least_bytes).fits
    assert not rerun(recording, recording.settings, int(0.99 * least_bytes)).fits


def test_a_call_of_empty_cache_is_made_again_and_a_retry_is_not(tmp_path: Path) -> None:
    process = RecordedProcess(capacity_bytes=100 * MIB)
    process.allocate("a", 30 * MIB)
    process.free("a")
    process.empty_cache()
    process.allocate("b", 40 * MIB)
    process.free("b")
    process.allocate("c", 50 * MIB)
    process.free("c")
    process.allocate("d", 60 * MIB)  # gives b and c back: there are but 100
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    freely = rerun(recording, recording.settings, None)
    assert freely.peak_reserved_bytes == (40 + 50 + 60) * MIB


def test_what_another_stream_used_waits_as_it_did(tmp_path: Path) -> None:
    process = RecordedProcess()
    process.allocate("a", 30 * MIB)
    block = process.free_later("a")
    process.allocate("b", 30 * MIB)
    process.end_use(block)
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    assert rerun(recording, recording.settings, None).peak_reserved_bytes == 60 * MIB
    at_limit = rerun(recording, recording.settings, 40 * MIB)
    assert at_limit.fits, "at its limit the allocator waits for the other stream"
