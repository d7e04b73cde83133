"""A recorded training under other settings of the allocator, and with other memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autobatch.cards import USUAL_OUTSIDE
from autobatch.planning.gpus import choose_cards
from autobatch.planning.records import (
    MemoryLimit,
    PlanSettings,
    RerunAtLimit,
    SnapshotPlan,
    Variant,
)
from autobatch.prediction.allocator import AllocatorSettings
from autobatch.prediction.snapshot import Recording, find_least_memory, read_snapshot, rerun

_MIB = 2**20
AS_RECORDED = "as recorded"
#: What the limit is called at which the recorded process ran out of memory.
RECORDED_LIMIT = "recorded GPU"


def plan_snapshot(
    path: str, asked: PlanSettings, *, on_stage: Callable[[str], None] = lambda doing: None
) -> SnapshotPlan:
    """Replay what ``torch.cuda.memory._dump_snapshot`` wrote.

    Args:
        path: The file.
        asked: Cards whose memory to try.
        on_stage: Receives what is done now, in words.

    Raises:
        ResultFormatError: If the file holds no such snapshot.
        SettingsError: If a card is not known.
    """
    named = asked.gpus or asked.gpu_memory
    limits = [
        MemoryLimit(
            name=card.name,
            low_bytes=max(0, card.memory_bytes - USUAL_OUTSIDE.high_bytes),
            high_bytes=max(0, card.memory_bytes - USUAL_OUTSIDE.low_bytes),
        )
        for card in (choose_cards(asked) if named else ())
    ]
    on_stage(f"reading {path}")
    recording = read_snapshot(path)
    if recording.limit_bytes is not None:
        at = recording.limit_bytes
        limits.insert(0, MemoryLimit(name=RECORDED_LIMIT, low_bytes=at, high_bytes=at))
    variants = []
    for setting, settings in _settings_to_try(recording.settings):
        on_stage(f"replaying {recording.num_requests:,} requests, {setting}")
        variants.append(_replay(recording, setting, settings, limits))
    freely = rerun(recording, recording.settings, None)
    return SnapshotPlan(
        snapshot=path,
        device=recording.device,
        num_requests=recording.num_requests,
        num_initial_blocks=sum(len(each.blocks) for each in recording.segments),
        peak_allocated_bytes=freely.peak_allocated_bytes,
        ran_out=recording.limit_bytes is not None,
        limits=tuple(limits),
        variants=tuple(variants),
    )


def _settings_to_try(recorded: AllocatorSettings) -> list[tuple[str, AllocatorSettings]]:
    tried = [(AS_RECORDED, recorded)]
    for is_expandable in (True, False):
        if is_expandable != recorded.expandable_segments:
            settings = replace(recorded, expandable_segments=is_expandable)
            tried.append((f"expandable_segments:{is_expandable}", settings))
    if not recorded.expandable_segments:
        for size_mib in (128, 512):
            settings = replace(recorded, max_split_bytes=size_mib * _MIB)
            if settings != recorded:
                tried.append((f"max_split_size_mb:{size_mib}", settings))
    return tried


def _replay(
    recording: Recording, setting: str, settings: AllocatorSettings, limits: list[MemoryLimit]
) -> Variant:
    freely = rerun(recording, settings, None)
    return Variant(
        setting=setting,
        peak_reserved_bytes=freely.peak_reserved_bytes,
        least_bytes=find_least_memory(recording, settings),
        at_limits=tuple(_at_limit(recording, settings, limit) for limit in limits),
    )


def _at_limit(
    recording: Recording, settings: AllocatorSettings, limit: MemoryLimit
) -> RerunAtLimit:
    middle = rerun(recording, settings, (limit.low_bytes + limit.high_bytes) // 2)
    edge = rerun(recording, settings, limit.low_bytes if middle.fits else limit.high_bytes)
    return RerunAtLimit(
        limit=limit.name,
        fits=middle.fits,
        is_certain=edge.fits == middle.fits,
        num_alloc_retries=middle.num_alloc_retries,
        failed_bytes=middle.failed_bytes,
    )
