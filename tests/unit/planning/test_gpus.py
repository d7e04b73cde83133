"""Which cards are planned for, what they hold besides tensors, and which one to take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fixtures.plans import GIB, MIB, make_card_plan, make_peak

from autobatch.cards import USUAL_OUTSIDE, find_card, list_cards
from autobatch.errors import SettingsError
from autobatch.planning.gpus import choose_cards, outside_of, read_prices
from autobatch.planning.records import USUAL_CARDS, PlanSettings, SizeRange
from autobatch.planning.session import choose
from autobatch.records import Finding, Trial


def names(asked: PlanSettings, finding: Finding | None = None) -> list[str]:
    return [card.name for card in choose_cards(asked, finding)]


def test_without_a_name_the_usual_cards_are_planned_for() -> None:
    assert tuple(names(PlanSettings())) == USUAL_CARDS


def test_cards_are_named_or_told_by_memory_and_each_stands_once() -> None:
    asked = PlanSettings(gpus=("H100", "4090", "rtx-4090"), gpu_memory=("24GiB:8.9",))
    assert names(asked) == ["h100-80gb", "rtx-4090", "24GiB:8.9"]
    assert names(PlanSettings(gpu_memory=("24GiB:8.9",))) == ["24GiB:8.9"]
    assert len(names(PlanSettings(gpus=("all",)))) == len(list_cards())


@pytest.fixture
def calibration(make_finding: Any) -> Finding:
    """A probe on an RTX 4090, which held 1.2 to 1.25 GiB besides its allocator."""
    finding: Finding = make_finding()
    trials = [
        replace(each, peak_reserved_bytes=each.peak_bytes - outside_mib * MIB)
        if each.peak_bytes
        else each
        for each, outside_mib in zip(
            [replace(each, peak_bytes=5 * GIB) for each in finding.trials],
            [1200, 1250] * len(finding.trials),
            strict=False,
        )
    ]
    return replace(
        finding,
        environment=replace(finding.environment, device_name="NVIDIA GeForce RTX 4090"),
        budget=replace(finding.budget, capacity_bytes=24210 * MIB),
        trials=tuple(trials),
    )


def test_a_calibration_tells_its_cards_memory_and_what_it_holds(calibration: Finding) -> None:
    asked = PlanSettings(gpus=("l4", "rtx-4090"), calibration="probe.json")
    l4, rtx_4090 = choose_cards(asked, calibration)
    assert rtx_4090.memory_bytes == 24210 * MIB
    outside = outside_of(rtx_4090, asked, calibration, 1)
    assert (outside.low_bytes, outside.high_bytes) == (1200 * MIB, 1250 * MIB)
    assert outside.source == "as measured in probe.json"
    assert outside_of(l4, asked, calibration, 1) == USUAL_OUTSIDE, "it says nothing of others"


def test_a_calibration_alone_plans_for_its_card(calibration: Finding) -> None:
    assert names(PlanSettings(calibration="probe.json"), calibration) == ["rtx-4090"]


def test_a_calibration_of_a_card_that_is_not_planned_for_is_refused(calibration: Finding) -> None:
    with pytest.raises(SettingsError, match=r"probe\.json` is of rtx-4090") as caught:
        choose_cards(PlanSettings(gpus=("l4",), calibration="probe.json"), calibration)
    assert caught.value.hint == "add it: `gpu=l4,rtx-4090`"


def test_a_finding_that_does_not_tell_is_refused(calibration: Finding) -> None:
    untold = tuple(
        Trial(batch_size=each.batch_size, outcome=each.outcome) for each in calibration.trials
    )
    asked = PlanSettings(calibration="probe.json")
    finding = replace(calibration, trials=untold)
    with pytest.raises(SettingsError, match="does not tell what the GPU holds"):
        outside_of(find_card("rtx-4090"), asked, finding, 1)


def test_several_devices_hold_what_nccl_needs_as_well() -> None:
    alone = outside_of(find_card("l40s"), PlanSettings(), None, 1)
    together = outside_of(find_card("l40s"), PlanSettings(), None, 8)
    assert together.low_bytes - alone.low_bytes == 150 * MIB
    assert together.high_bytes - alone.high_bytes == 1350 * MIB
    assert together.source.endswith("with NCCL")


def test_prices_are_by_any_name_of_a_card() -> None:
    asked = PlanSettings(gpus=("a100-40gb", "l4"), prices={"A100": 1.29, "L4": 0.5})
    assert read_prices(asked, choose_cards(asked)) == {"a100-40gb": 1.29, "l4": 0.5}


def test_a_price_of_a_card_that_is_not_planned_for_is_refused() -> None:
    asked = PlanSettings(gpus=("l4",), prices={"h100": 3.0})
    with pytest.raises(SettingsError, match="`price=h100=3` is of a GPU that is not planned for"):
        read_prices(asked, choose_cards(asked))


@pytest.mark.parametrize(
    "text", ["", "a100", "a100=", "a100=x", "a100=0", "a100=-1", "=3", "a=inf"]
)
def test_what_is_no_price_is_refused(text: str) -> None:
    from autobatch.records.options import options_of

    with pytest.raises(SettingsError, match="`price` must be NAME=PRICE"):
        options_of(PlanSettings)["price"].kind.read("price", text)


def test_the_smallest_card_that_fits_is_taken() -> None:
    small = make_card_plan("l4", memory_bytes=22 * GIB, at_batch_size=make_peak(fits=False))
    middle = make_card_plan("a100-40gb", memory_bytes=39 * GIB, at_batch_size=make_peak())
    large = make_card_plan("h100-80gb", memory_bytes=79 * GIB, at_batch_size=make_peak())
    assert choose([large, middle, small]) == "a100-40gb"
    assert choose([small]) is None


def test_with_prices_the_cheapest_that_fits_is_taken() -> None:
    dear = make_card_plan("a100-40gb", memory_bytes=39 * GIB, price=2.0)
    cheap = make_card_plan("h100-80gb", memory_bytes=79 * GIB, price=1.5)
    unpriced = make_card_plan("l4", memory_bytes=22 * GIB)
    assert choose([dear, cheap, unpriced]) == "h100-80gb"
    nothing = SizeRange(likely=0, low=0, high=0)
    assert choose([replace(dear, largest=nothing), unpriced]) == "l4"
