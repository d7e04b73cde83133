"""Host memory as a limit of its own: on what is predicted, and in what is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autobatch.decide.grid import make_grid
from autobatch.decide.step import Rules, predict_largest
from autobatch.errors import NothingFitsError
from autobatch.finder import find
from autobatch.probe.protocol import Loaded
from autobatch.records import MemoryBudget, Outcome, Settings, Trial
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

MIB = 2**20
HOST = MemoryBudget(
    capacity_bytes=2048 * MIB,
    used_by_others_bytes=0,
    headroom_fraction=0.0,
    budget_bytes=1024 * MIB,
    bound_by="physical memory",
)


def _trial(size: int, host_peak_bytes: int | None) -> Trial:
    return Trial(
        batch_size=size,
        outcome=Outcome.FITS,
        peak_bytes=(100 + size) * MIB,
        host_peak_bytes=host_peak_bytes,
    )


def _rules(host_budget_bytes: int | None) -> Rules:
    asked = Settings()
    return Rules(
        grid=make_grid(asked, None, 1),
        goal=asked.goal,
        budget_bytes=4196 * MIB,
        uncertainty_fraction=0.1,
        host_budget_bytes=host_budget_bytes,
    )


@pytest.mark.parametrize(("host_budget", "largest"), [(None, 4096), (1024 * MIB, 64)])
def test_what_is_predicted_fits_both_memories(host_budget: int | None, largest: int) -> None:
    trials = {size: _trial(size, (300 + 8 * size) * MIB) for size in (1, 2, 4, 8)}
    assert predict_largest(_rules(host_budget), trials) == largest


def test_without_host_peaks_the_devices_memory_alone_predicts() -> None:
    trials = {size: _trial(size, None) for size in (1, 2, 4, 8)}
    assert predict_largest(_rules(1024 * MIB), trials) == 4096


class OneTrialProber(SimulatedProber):
    """Every trial ends as it is told, beside a budget of host memory."""

    trial = Trial(batch_size=1, outcome=Outcome.FITS)

    def load(self, **arguments: Any) -> Loaded:
        return replace(super().load(**arguments), host_budget=HOST)

    def measure(self, *arguments: Any, **named: Any) -> Trial:
        return self.trial


def _end(trial: Trial) -> NothingFitsError:
    asked = Settings()
    device = SimulatedDevice(8192 * MIB)
    prober = OneTrialProber(SimulatedWorkload.linear(), device, asked)
    prober.trial = trial
    with pytest.raises(NothingFitsError) as caught:
        find(prober, asked, target="simulated", clock=prober.clock)
    return caught.value


def test_a_size_that_the_host_refuses_is_refused_by_name() -> None:
    error = _end(
        Trial(
            batch_size=1,
            outcome=Outcome.OVER_BUDGET,
            peak_bytes=200 * MIB,
            host_peak_bytes=2000 * MIB,
            loader_bytes=1500 * MIB,
            message="host memory of 2.0 GiB exceeded the budget of 1.0 GiB",
        )
    )
    assert str(error) == (
        "batch size 1 does not fit: host memory of 2.0 GiB exceeded the budget of 1.0 GiB "
        "(physical memory)"
    )
    assert "num_workers" in error.hint


REQUEST = (
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate {} bytes. Error code 12"
)


@pytest.mark.parametrize(
    ("requested_mib", "hint"),
    [(512, "gradient checkpointing"), (10240, "a smaller model, or smaller samples")],
    ids=["one of many tensors", "a tensor larger than the budget"],
)
def test_what_the_allocation_that_failed_asked_for_is_said(requested_mib: int, hint: str) -> None:
    message = REQUEST.format(requested_mib * MIB)
    trial = Trial(
        batch_size=1, outcome=Outcome.OUT_OF_MEMORY, peak_bytes=7100 * MIB, message=message
    )
    error = _end(trial)
    asked_for = "512 MiB" if requested_mib == 512 else "10.0 GiB"
    assert f"batch size 1 does not fit: it asked for {asked_for} beside a peak of" in str(error)
    assert hint in error.hint


def test_a_loader_worker_that_ran_out_of_memory_is_named() -> None:
    message = "Caught MemoryError in DataLoader worker process 0."
    error = _end(Trial(batch_size=1, outcome=Outcome.OUT_OF_MEMORY, message=message))
    assert "batch size 1 ran out of memory in a DataLoader worker" in str(error)
    assert "num_workers" in error.hint
