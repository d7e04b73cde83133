"""Does the model of the allocator give every request the address that it got on a GPU?

A folder of recorded traces (``*.json.gz``, format ``autobatch-allocator-trace/1``) is replayed.
Exit status 1 if an address, the size of a segment, the bytes of a release or a peak differs.

    python -m scripts.plan.replay_traces FOLDER
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

from autobatch.prediction.allocator import AllocatorSettings
from autobatch.prediction.allocator.replay import Agreement, Event, EventKind, Segment, replay
from scripts.workbench import make_parser, print_table


def main() -> int:
    """Replay all and print."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path)
    files = sorted(parser.parse_args().folder.glob("*.json.gz"))
    begin = time.perf_counter()
    found = {file.name: check(json.loads(gzip.decompress(file.read_bytes()))) for file in files}
    rows = [
        ("addresses", *_sum(found, "num_same_addresses", "num_allocations")),
        ("sizes of new segments", *_sum(found, "num_same_segments", "num_segment_decisions")),
        ("bytes of releases", *_sum(found, "num_same_releases", "num_releases")),
        ("peaks", sum(is_exact for _, is_exact in found.values()), len(found)),
    ]
    print_table(f"{len(found)} traces", ("", "the same", "of"), rows)
    for name, (agreement, is_exact) in found.items():
        if not is_exact or agreement.num_same_addresses != agreement.num_allocations:
            print(f"different: {name}: {agreement}")
    print(f"{time.perf_counter() - begin:.1f} s")
    return 0 if files and all(same == of for _, same, of in rows) else 1


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


def _sum(found: dict[str, tuple[Agreement, bool]], *names: str) -> list[int]:
    return [sum(getattr(agreement, name) for agreement, _ in found.values()) for name in names]


if __name__ == "__main__":
    sys.exit(main())
