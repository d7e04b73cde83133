"""A predicted curve says where to look first, and never changes what is found."""

from __future__ import annotations

import pytest

from autobatch.errors import NothingFitsError
from autobatch.finder import find
from autobatch.probe.protocol import Loaded
from autobatch.records import Finding, Goal, MemoryForecast, Settings, Trial
from autobatch.reporting.screen import as_text
from autobatch.reporting.text import render
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

MIB = 2**20
WORKLOAD = SimulatedWorkload.linear(fixed_bytes=256 * MIB, per_sample_bytes=MIB)


class Told:
    """A forecast that is told.

    Attributes:
        asked: First trials that it was asked with.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.asked: list[Trial] = []

    def propose(self, loaded: Loaded, first: Trial, *, timeout_s: float) -> int | None:
        self.asked.append(first)
        return self.size

    def peak_bytes(self, batch_size: int) -> int:
        return 300 * MIB + MIB * batch_size


def search(capacity_mib: int, forecast: Told | None, goal: Goal = Goal.MEMORY) -> Finding:
    asked = Settings(goal=goal, headroom_fraction=0, max_batch_size=2**14)
    prober = SimulatedProber(WORKLOAD, SimulatedDevice(capacity_mib * MIB), asked)
    return find(prober, asked, target="simulated", forecast=forecast, clock=prober.clock)


def sizes_of(finding: Finding) -> list[int]:
    return [trial.batch_size for trial in finding.trials]


@pytest.mark.parametrize("capacity_mib", [257, 260, 300, 511, 513, 2000, 20_000])
@pytest.mark.parametrize("size", [None, 0, 1, 2, 40, 1000, 2**20])
def test_no_proposal_changes_the_answer(capacity_mib: int, size: int | None) -> None:
    plain, told = search(capacity_mib, None), search(capacity_mib, Told(size))
    assert told.batch_size == plain.batch_size
    assert told.recommendation.largest_was_run
    assert told.stop_reason is plain.stop_reason


def test_what_is_predicted_runs_second_and_is_right_in_fewer_trials() -> None:
    plain, told = search(1400, None), search(1400, Told(1100))
    assert sizes_of(told) == [1, 1024]
    assert len(sizes_of(plain)) > 3


def test_the_prediction_stands_beside_what_was_measured() -> None:
    finding = search(1400, Told(1100))
    assert finding.forecast == MemoryForecast(
        batch_size=1024,
        predicted_bytes=1324 * MIB,
        measured_bytes=1280 * MIB,
        largest_batch_size=1100,
    )
    assert finding.forecast.error_fraction == pytest.approx(44 / 1280)
    shown = " ".join(as_text(render, finding, width=100).split())
    assert "1.3 GiB by a trace of the step, 3 % more than measured; 1,100 as the" in shown
    assert search(1400, Told(None)).forecast is None


def test_who_looks_for_the_fastest_asks_for_no_prediction() -> None:
    told = Told(1100)
    assert search(1400, told, Goal.THROUGHPUT).forecast is None
    assert told.asked == []


def test_where_the_first_size_does_not_fit_nothing_is_predicted() -> None:
    told = Told(1100)
    with pytest.raises(NothingFitsError):
        search(200, told)
    assert told.asked == []
