"""A trace through the allocator."""

from __future__ import annotations

from dataclasses import replace

from autobatch.prediction.allocator import CachingAllocator, Driver
from autobatch.prediction.predict import LivePart, TraceReplay, predict, trace_timeline
from autobatch.prediction.trace import Category, Mark, PlainFacts, Storage, Trace, Workspace

MIB = 2**20
CARD = PlainFacts(compute_capability=(8, 0), num_sms=108)


def storage(mib: int, category: Category, module: str = "fc") -> Storage:
    return Storage(num_bytes=mib * MIB, category=category, module=module, operator="op")


#: A weight, cuBLAS, two activations of which one goes before a gradient comes.
TRACE = Trace(
    batch_size=8,
    compute_capability=(8, 0),
    storages=(
        storage(40, Category.PARAMETER),
        Storage(
            num_bytes=0,
            category=Category.WORKSPACE,
            module="",
            operator="mm",
            workspace=Workspace.CUBLAS,
        ),
        storage(60, Category.ACTIVATION, "act"),
        storage(20, Category.ACTIVATION),
        storage(30, Category.GRADIENT),
    ),
    events=(0, 1, 2, 3, ~2, 4),
)


def test_the_peak_and_what_is_live_then() -> None:
    prediction = predict(TRACE, CARD)
    assert prediction.fits
    assert prediction.peak_requested_bytes == 120 * MIB + 8_519_680
    assert prediction.peak_event == 3
    assert prediction.live == (
        LivePart(category=Category.ACTIVATION, module="act", num_bytes=60 * MIB),
        LivePart(category=Category.PARAMETER, module="fc", num_bytes=40 * MIB),
        LivePart(category=Category.ACTIVATION, module="fc", num_bytes=20 * MIB),
        LivePart(category=Category.WORKSPACE, module="", num_bytes=8_519_680),
    )
    assert prediction.bytes_by_category() == {
        Category.ACTIVATION: 80 * MIB,
        Category.PARAMETER: 40 * MIB,
        Category.WORKSPACE: 8_519_680,
    }


def test_reserved_memory_is_that_of_the_allocator() -> None:
    # 40, 20 for the workspace, 60, 20, and the 30 go into the 60 that were freed.
    assert predict(TRACE, CARD).peak_reserved_bytes == 140 * MIB


def test_a_card_that_is_too_small_says_what_no_longer_fitted() -> None:
    prediction = predict(TRACE, CARD, CachingAllocator(Driver(125 * MIB)))
    assert not prediction.fits
    assert prediction.failed_at == TRACE.storages[3]
    assert prediction.num_alloc_retries == 1


def test_the_timeline_ends_with_what_is_left() -> None:
    timeline = trace_timeline(TRACE, CARD)
    assert len(timeline) == len(TRACE.events)
    assert timeline[-1] == (
        5,
        {
            Category.PARAMETER: 40 * MIB,
            Category.WORKSPACE: 8_519_680,
            Category.ACTIVATION: 20 * MIB,
            Category.GRADIENT: 30 * MIB,
        },
    )


#: Each step makes and frees 24 and 12 MiB, and leaves 20 to the next one, which frees them.
STEPS = Trace(
    batch_size=8,
    compute_capability=(8, 0),
    storages=tuple(storage(mib, Category.ACTIVATION) for mib in (24, 12, 20) * 2),
    events=(0, ~0, 1, 2, ~1, 3, ~2, ~3, 4, 5, ~4),
    marks=(Mark(name="forward", step=1, position=0), Mark(name="forward", step=2, position=5)),
)


def test_a_later_step_may_reserve_more_than_the_first_two() -> None:
    replay = TraceReplay(STEPS, CARD, CachingAllocator())
    replay.play()
    assert replay.allocator.statistics.reserved_bytes == 44 * MIB
    # In the third step, what it left itself lies where 24 MiB were.
    replay.repeat()
    assert replay.allocator.statistics.reserved_bytes == 68 * MIB
    replay.repeat()
    assert replay.allocator.statistics.reserved_bytes == 68 * MIB
    assert predict(STEPS, CARD).peak_reserved_bytes == 68 * MIB


def test_what_fits_for_two_steps_alone_does_not_fit() -> None:
    prediction = predict(STEPS, CARD, CachingAllocator(Driver(46 * MIB)))
    assert not prediction.fits
    assert prediction.failed_at == STEPS.storages[3]
    assert predict(STEPS, CARD, CachingAllocator(Driver(68 * MIB))).fits


def test_a_step_that_leaves_other_things_than_it_found_is_not_repeated() -> None:
    # The last step keeps its 12 MiB, too: another one would find more than it did.
    unlike = replace(STEPS, events=STEPS.events[:-1])
    assert STEPS.find_heirs() == {2: 5}
    assert unlike.find_heirs() is None
    assert predict(unlike, CARD).peak_reserved_bytes == 44 * MIB
