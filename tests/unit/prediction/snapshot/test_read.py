"""From a dumped snapshot to a recording: its start is worked out, contradictions are refused."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.recorded import MIB, RecordedProcess

from autobatch.errors import ResultFormatError
from autobatch.prediction.allocator import AllocatorSettings
from autobatch.prediction.allocator.replay import Agreement, replay
from autobatch.prediction.snapshot import Recording, read_snapshot

EXPANDABLE = AllocatorSettings(expandable_segments=True)


def agree(recording: Recording) -> Agreement:
    return replay(recording.segments, recording.events, recording.settings)


def is_exact(agreement: Agreement) -> bool:
    return (
        agreement.num_allocations == agreement.num_same_addresses
        and agreement.num_segment_decisions == agreement.num_same_segments
        and agreement.num_releases == agreement.num_same_releases
        and agreement.peak_reserved_bytes == agreement.recorded_peak_reserved_bytes
    )


@pytest.mark.parametrize(
    "settings",
    [
        AllocatorSettings(),
        EXPANDABLE,
        AllocatorSettings(max_split_bytes=64 * MIB),
        AllocatorSettings(roundup_divisions=(8,) * 16),
    ],
    ids=["default", "expandable", "max_split", "roundup"],
)
@pytest.mark.parametrize("seed", range(12))
def test_a_recording_that_began_in_the_middle_replays_to_the_same_addresses(
    tmp_path: Path, settings: AllocatorSettings, seed: int
) -> None:
    process = RecordedProcess(settings)
    chance = random.Random(seed)
    _work(process, chance, 150)
    process.begin()
    _work(process, chance, 150)
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    agreement = agree(recording)
    assert agreement.num_allocations > 50
    if settings.max_split_bytes is None:
        assert is_exact(agreement), agreement
    else:  # what an oversize block that is gone had behind it cannot be told
        assert agreement.num_same_addresses > 0.8 * agreement.num_allocations


def _work(process: RecordedProcess, chance: random.Random, number: int) -> None:
    """Allocate and free at random, small and large, in two streams."""
    waiting: list[Any] = []
    for index in range(number):
        name = f"{chance.random()}"
        action = chance.random()
        if process.blocks and action < 0.4:
            process.free(chance.choice([*process.blocks]))
        elif process.blocks and action < 0.45:
            waiting.append(process.free_later(chance.choice([*process.blocks])))
        elif waiting and action < 0.5:
            process.end_use(waiting.pop(chance.randrange(len(waiting))))
        elif action < 0.7:
            process.allocate(name, chance.randrange(1, MIB), chance.choice((0, 0, 7)))
        else:
            process.allocate(name, chance.randrange(MIB, 40 * MIB), chance.choice((0, 0, 7)))
        if index % 60 == 59:
            for block in waiting:
                process.end_use(block)
            waiting.clear()
            process.empty_cache()
    for block in waiting:
        process.end_use(block)


def test_a_recording_from_birth_begins_with_nothing(tmp_path: Path) -> None:
    process = RecordedProcess()
    process.allocate("a", 3 * MIB)
    process.free("a")
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    assert recording.segments == ()
    assert (recording.device, recording.num_requests, recording.limit_bytes) == (1, 1, None)
    assert is_exact(agree(recording))


def test_up_to_one_mib_behind_a_block_is_its_own(tmp_path: Path) -> None:
    process = RecordedProcess()
    process.allocate("a", 20 * MIB)
    process.free("a")
    process.allocate("b", 19 * MIB + MIB // 2)
    process.begin()
    process.free("b")
    process.allocate("c", 3 * MIB)
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    ((_, size, requested_bytes),) = recording.segments[0].blocks
    assert (size, requested_bytes) == (20 * MIB, 19 * MIB + MIB // 2)


def test_the_next_request_shows_where_a_block_before_it_ended(tmp_path: Path) -> None:
    process = RecordedProcess()
    process.allocate("first", 4 * MIB)
    process.allocate("second", 4 * MIB)
    process.free("first")
    process.allocate("short", 3 * MIB + MIB // 2)  # keeps the 4 MiB whole
    process.free("second")
    process.begin()
    process.allocate("after", 6 * MIB)
    process.free("short")
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    ((_, size, _),) = recording.segments[0].blocks
    assert size == 4 * MIB


def test_the_settings_are_those_of_the_process(tmp_path: Path) -> None:
    settings = AllocatorSettings(
        max_split_bytes=128 * MIB,
        garbage_collection_fraction=0.8,
        roundup_divisions=(0, 2, *(4,) * 14),
    )
    process = RecordedProcess(settings)
    process.allocate("a", MIB)
    assert read_snapshot(process.dump(tmp_path / "snapshot.pickle")).settings == settings


def test_where_a_request_failed_the_limit_is_known(tmp_path: Path) -> None:
    process = RecordedProcess(capacity_bytes=100 * MIB)
    process.allocate("a", 60 * MIB)
    process.allocate("b", 50 * MIB)
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    assert recording.num_requests == 2
    assert recording.limit_bytes == 100 * MIB


def test_under_a_cap_the_limit_is_less_than_what_is_free(tmp_path: Path) -> None:
    process = RecordedProcess(capacity_bytes=100 * MIB)
    process.allocate("a", 60 * MIB)
    process.allocate("b", 50 * MIB)
    process.events[-1]["device_free"] = 900 * MIB
    recording = read_snapshot(process.dump(tmp_path / "snapshot.pickle"))
    assert recording.limit_bytes == 110 * MIB - 1


def _small_snapshot() -> dict[str, Any]:
    process = RecordedProcess()
    process.allocate("a", 3 * MIB)
    process.allocate("b", 3 * MIB)
    process.free("a")
    return process.snapshot()


def _change(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    snapshot = _small_snapshot()
    change(snapshot)
    return snapshot


def _endless() -> list[Any]:
    """A small list that takes a petabyte to write."""
    nested: list[Any] = []
    for _ in range(50):
        nested = [nested, nested]
    return nested


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "does not hold a snapshot"),
        ({"segments": []}, "its history was not recorded"),
        ({"segments": [], "device_traces": [[], []]}, "its history was not recorded"),
        ({"segments": [], "device_traces": 3}, "expected a list"),
        (_change(lambda s: s["device_traces"][1].append({"action": 7})), "dicts with an action"),
        (_change(lambda s: s["device_traces"][1].append(7)), "dicts with an action"),
        (_change(lambda s: s["device_traces"][1][1].update(size="x")), "size: expected a number"),
        (_change(lambda s: s["device_traces"][1][1].update(addr=-1)), "addr: expected a number"),
        (_change(lambda s: s["segments"].append(s["segments"][0])), "two begin at"),
        (_change(lambda s: s["segments"].clear()), "do not lead to its segments"),
        (_change(lambda s: s["device_traces"][1].pop(2)), "do not lead to its segments"),
        (_change(lambda s: s["segments"][0].update(total_size=MIB)), "do not fit into it"),
        (_change(lambda s: s["device_traces"][1][1].update(size=2**44)), "number below"),
        (_change(lambda s: s["device_traces"][1][1].update(size=_endless())), "got list"),
        (_change(lambda s: s["device_traces"][1][1].update(size=1 << 99999)), "got int"),
        (
            _change(lambda s: s["segments"][0].update(segment_pool_id=(1, 0))),
            "pools of CUDA graphs",
        ),
        (
            _change(lambda s: s["segments"][0]["blocks"][0].update(size=0)),
            "do not fit into it",
        ),
        (
            _change(lambda s: s["allocator_settings"].update(max_split_size="x")),
            "expected numbers",
        ),
    ],
)
def test_what_is_no_sound_snapshot_is_refused(tmp_path: Path, document: Any, reason: str) -> None:
    path = tmp_path / "snapshot.pickle"
    path.write_bytes(pickle.dumps(document))
    with pytest.raises(ResultFormatError, match=reason) as caught:
        read_snapshot(str(path))
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_snapshot_of_an_old_pytorch_has_no_settings(tmp_path: Path) -> None:
    snapshot = _small_snapshot()
    del snapshot["allocator_settings"]
    for block in snapshot["segments"][0]["blocks"]:
        del block["address"]
    path = tmp_path / "snapshot.pickle"
    path.write_bytes(pickle.dumps(snapshot))
    assert is_exact(agree(read_snapshot(str(path))))
