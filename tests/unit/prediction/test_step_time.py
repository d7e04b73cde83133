"""The time of a step, from its operators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fixtures.plans import make_card

from autobatch.cards import find_card, list_cards, read_unlisted
from autobatch.cards.peaks import Units, peaks_of
from autobatch.prediction import step_time
from autobatch.prediction.step_time import bounds_of, estimate_step_s, scale_of
from autobatch.prediction.work import Operation, WorkKind

CARD = make_card()  # 1e12 bytes/s, 100 multiprocessors at 2 GHz


def operation(kind: WorkKind = WorkKind.PRODUCT, **values: Any) -> Operation:
    return Operation(
        **{"kind": kind, "units": Units.HALF, "num_flops": 0, "num_bytes": 0, **values}
    )


@pytest.mark.parametrize(
    ("name", "units", "tera"),
    [
        ("a100-40gb", Units.HALF, 312),
        ("a100-40gb", Units.TF32, 156),
        ("a100-40gb", Units.SINGLE, 19.5),
        ("h100-80gb", Units.SINGLE, 66.9),
        ("rtx-3090", Units.HALF, 71),
        ("rtx-4090", Units.HALF, 165),
        ("rtx-4090", Units.SINGLE, 82.6),
        ("rtx-5090", Units.HALF, 209.5),
        ("l40s", Units.HALF, 183),
        ("t4", Units.HALF, 65),
        ("t4", Units.TF32, 8.1),  # has none
        ("v100-16gb", Units.SINGLE, 15.7),
    ],
)
def test_peaks_are_those_of_the_data_sheets(name: str, units: Units, tera: float) -> None:
    peaks = peaks_of(find_card(name))
    assert peaks is not None
    assert peaks[units] == pytest.approx(tera * 1e12, rel=0.01)


def test_an_operator_is_bound_by_arithmetic_or_by_memory() -> None:
    peaks = peaks_of(CARD)
    assert peaks is not None
    peak = peaks[Units.HALF]
    assert peak == 100 * 2e9 * 512
    bounds = bounds_of(
        [
            operation(num_flops=int(3 * peak), num_bytes=10**12),
            operation(num_flops=int(peak), num_bytes=2 * 10**12),
            operation(WorkKind.DEPTHWISE, num_flops=int(9 * peak), num_bytes=10**12),
        ],
        CARD,
    )
    assert bounds is not None
    assert bounds[WorkKind.PRODUCT] == pytest.approx(3 + 2)
    assert bounds[WorkKind.DEPTHWISE] == pytest.approx(1)
    assert sum(bounds.values()) == pytest.approx(6)


def test_passes_repeat_all_but_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "_FACTORS", dict.fromkeys(WorkKind, 2.0))
    step = [
        operation(num_bytes=10**12),
        operation(WorkKind.COPY, num_bytes=3 * 10**12),
        operation(WorkKind.OPTIMIZER, num_bytes=5 * 10**12),
    ]
    assert estimate_step_s(step, CARD) == pytest.approx(2 * (1 + 3 + 5))
    assert estimate_step_s(step, CARD, passes=4) == pytest.approx(2 * (4 * (1 + 3) + 5))


def test_small_operators_take_as_long_as_their_launch() -> None:
    step = [operation(num_bytes=8)] * 2000
    assert estimate_step_s(step, CARD) == pytest.approx(2000 * 5e-6)


def test_without_clock_or_bandwidth_there_is_no_estimate() -> None:
    step = [operation(num_bytes=8)]
    assert estimate_step_s(step, read_unlisted("24GiB:8.9")) is None
    assert estimate_step_s(step, replace(CARD, boost_hz=None)) is None
    assert estimate_step_s(step, replace(CARD, bandwidth_bytes_per_s=None)) is None


def test_only_cards_that_others_timed_have_a_scale() -> None:
    known = {card.name for card in list_cards() if scale_of(card) is not None}
    assert known == {"rtx-3090", "rtx-4090", "rtx-5090", "rtx-pro-6000-max-q", "l40s"}
    assert scale_of(find_card("h100")) is None
