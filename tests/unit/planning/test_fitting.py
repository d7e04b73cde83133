"""The largest size that fits, by replaying a trace at the limit."""

from __future__ import annotations

import pytest
from fixtures.plans import GIB, MIB, make_card, make_trace

from autobatch.cards import Outside
from autobatch.planning.buckets import with_buckets
from autobatch.planning.fitting import CardFit
from autobatch.planning.records import SizeRange
from autobatch.planning.timeline import make_timeline
from autobatch.prediction.allocator import AllocatorSettings
from autobatch.prediction.predict import predict

OUTSIDE = Outside(low_bytes=1 * GIB, high_bytes=3 * GIB, source="test")


def make_fit(band_fraction: float = 0.0, outside: Outside = OUTSIDE, **settings: bool) -> CardFit:
    return CardFit(
        make_card(),
        make_trace,
        settings=AllocatorSettings(**settings),
        outside=outside,
        band_fraction=band_fraction,
    )


def _truth(limit_bytes: float) -> int:
    """Weight, gradient, state of two, and a batch, all in whole segments."""
    return int((limit_bytes - 4 * 64 * MIB) // (32 * MIB))


def test_the_range_is_from_the_worst_to_the_best_of_what_is_assumed() -> None:
    assert make_fit().largest() == SizeRange(
        likely=_truth(22 * GIB), low=_truth(21 * GIB), high=_truth(23 * GIB)
    )


def test_a_band_lowers_the_low_end_alone() -> None:
    assert make_fit(0.25).largest() == SizeRange(
        likely=_truth(22 * GIB), low=_truth(21 * GIB / 1.25), high=_truth(23 * GIB)
    )


def test_where_nothing_fits_the_range_is_zero() -> None:
    huge = Outside(low_bytes=24 * GIB, high_bytes=25 * GIB, source="test")
    assert make_fit(outside=huge).largest() == SizeRange(likely=0, low=0, high=0)


@pytest.mark.parametrize(
    ("limit", "fits", "is_certain"),
    [(21.0, True, True), (21.9, True, False), (22.1, False, False), (23.1, False, True)],
)
def test_a_size_fits_for_certain_if_it_does_whatever_is_assumed(
    limit: float, fits: bool, is_certain: bool
) -> None:
    peak = make_fit().at(_truth(limit * GIB))
    assert (peak.fits, peak.is_certain) == (fits, is_certain)


def test_the_peak_is_the_process_and_says_where_it_goes() -> None:
    peak = make_fit().at(100)
    assert peak.peak_bytes == 3200 * MIB + 256 * MIB + 2 * GIB
    assert peak.allocated_bytes == 3200 * MIB + 256 * MIB
    assert peak.parts_bytes == {
        "activations": 3200 * MIB,
        "optimizer state": 128 * MIB,
        "parameters": 64 * MIB,
        "gradients": 64 * MIB,
    }
    assert peak.modules_bytes == {"net.fc": 3328 * MIB, "": 128 * MIB}


def test_a_size_that_does_not_fit_has_the_peak_that_it_would_need() -> None:
    peak = make_fit().at(1000)
    assert not peak.fits
    assert peak.allocated_bytes == 32000 * MIB + 256 * MIB


def test_ddp_adds_buckets_as_large_as_the_gradients() -> None:
    trace, card = make_trace(10), make_card()
    with_them = with_buckets(trace)
    before, after = (predict(each, card).peak_requested_bytes for each in (trace, with_them))
    assert after - before == 64 * MIB
    buckets = with_them.storages[len(trace.storages) :]
    assert [each.num_bytes // MIB for each in buckets] == [25, 25, 14]
    [step] = [mark for mark in with_them.marks if mark.name == "forward" and mark.step == 1]
    assert with_them.events[step.position] == trace.events[1], "they are there before the step"


def test_the_timeline_is_of_the_last_step_and_keeps_the_peak() -> None:
    timeline = make_timeline(make_trace(10), make_card())
    assert timeline.begins == {"forward": 0, "backward": 1, "optimizer": 3}
    assert timeline.positions == (0, 1, 2, 3)
    totals = [sum(each) for each in zip(*timeline.parts_bytes.values(), strict=True)]
    assert max(totals) == (320 + 256) * MIB
    assert timeline.parts_bytes["activations"] == (320 * MIB, 320 * MIB, 0, 0)
