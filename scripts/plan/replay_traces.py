"""Does the model of the allocator give every request the address that it got on a GPU?

A folder of recordings is replayed: ``*.json.gz`` (format ``autobatch-allocator-trace/1``), and
``*.pickle`` as ``torch.cuda.memory._dump_snapshot`` writes them.
Exit status 1 if an address, the size of a segment, the bytes of a release or a peak differs.

    python -m scripts.plan.replay_traces FOLDER
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autobatch.prediction.allocator import AllocatorSettings
from autobatch.prediction.allocator.replay import Agreement, Event, EventKind, Segment, replay
from autobatch.prediction.snapshot import read_snapshot
from scripts.plan.verdict import Row
from scripts.workbench import make_parser, print_table

_MOST_S = 60.0


def main() -> int:
    """Replay all and print."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path)
    begin = time.perf_counter()
    found = check_all(parser.parse_args().folder)
    rows = figures(found)
    print_table(f"{len(found)} traces", ("", "the same", "of"), rows)
    print(*differences(found), sep="\n", end="")
    print(f"{time.perf_counter() - begin:.1f} s")
    return 0 if found and all(same == of for _, same, of in rows) else 1


def check_replay(folder: Path) -> Iterator[Row]:
    """The row of all traces in a folder of measurements."""
    begin = time.process_time()  # whatever else the machine does
    found = check_all(folder / "traces")
    time_s = time.process_time() - begin
    rows = figures(found)
    is_exact = bool(found) and all(same == of for _, same, of in rows)
    parts = ", ".join(f"{same:,} of {of:,} {name}" for name, same, of in rows)
    yield Row(
        name=f"replay of {len(found)} traces",
        must=f"all the same, in {_MOST_S:.0f} s of CPU time",
        found=f"{parts}, {time_s:.0f} s",
        is_met=is_exact and time_s <= _MOST_S,
        details=tuple(differences(found)),
    )


def check_all(folder: Path) -> dict[str, tuple[Agreement, bool]]:
    """How far the model agrees with each trace of a folder, by its name."""
    traces = {
        file.name: check(json.loads(gzip.decompress(file.read_bytes())))
        for file in sorted(folder.glob("*.json.gz"))
    }
    snapshots = {file.name: _check_snapshot(file) for file in sorted(folder.glob("*.pickle"))}
    return traces | snapshots


def figures(found: dict[str, tuple[Agreement, bool]]) -> list[tuple[str, int, int]]:
    """What is the same, of how many: name, number and number."""
    return [
        ("addresses", *_sum(found, "num_same_addresses", "num_allocations")),
        ("sizes of new segments", *_sum(found, "num_same_segments", "num_segment_decisions")),
        ("bytes of releases", *_sum(found, "num_same_releases", "num_releases")),
        ("peaks", sum(is_exact for _, is_exact in found.values()), len(found)),
    ]


def differences(found: dict[str, tuple[Agreement, bool]]) -> Iterator[str]:
    """A line for each trace that differs."""
    for name, (agreement, is_exact) in found.items():
        if not is_exact or agreement.num_same_addresses != agreement.num_allocations:
            yield f"different: {name}: {agreement}"


def check(document: dict[str, Any]) -> tuple[Agreement, bool]:
    """How far the model agrees with a trace, and whether the peak is the measured one."""
    columns = document["events"]
    count = len(columns["kind"])
    streams = columns["stream"] if isinstance(columns["stream"], list) else [0] * count
    events = [
        Event(kind=EventKind(kind), address=address, size=size, stream=stream)
        for kind, address, size, stream in zip(
            columns["kind"], columns["address"], columns["size"], streams, strict=True
        )
    ]
    segments = [
        Segment(
            address=each["address"],
            size=each["size"],
            stream=each["stream"],
            is_small=each["small"],
            is_expandable=bool(each["expandable"]),
            blocks=tuple(map(tuple, each["blocks"])),
        )
        for each in document["initial_segments"]
    ]
    is_expandable = bool(document["allocator"]["expandable_segments"])
    settings = AllocatorSettings(expandable_segments=is_expandable)
    agreement = replay(segments, events, settings)
    measured_bytes = document["measured"]["peak_reserved"]
    peaks = {agreement.peak_reserved_bytes, agreement.recorded_peak_reserved_bytes}
    return agreement, peaks == {measured_bytes}


def _check_snapshot(file: Path) -> tuple[Agreement, bool]:
    """The same of a file that PyTorch dumped, whose start is worked out from its end."""
    recording = read_snapshot(str(file))
    agreement = replay(recording.segments, recording.events, recording.settings)
    return agreement, agreement.peak_reserved_bytes == agreement.recorded_peak_reserved_bytes


def _sum(found: dict[str, tuple[Agreement, bool]], same: str, of: str) -> tuple[int, int]:
    agreements = [agreement for agreement, _ in found.values()]
    return sum(getattr(each, same) for each in agreements), sum(
        getattr(each, of) for each in agreements
    )


if __name__ == "__main__":
    sys.exit(main())
