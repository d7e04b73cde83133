"""What workers are started with, and what they may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from autobatch.probe import client
from autobatch.probe.client import TargetProber
from autobatch.probe.trial.host import grown_budget_bytes
from autobatch.records import MemoryBound, MemoryBudget, Settings
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

GIB = 2**30


class Started(Exception):  # noqa: N818 - it ends the test
    """A worker would have been started."""


def variables_of(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    seen: dict[str, str] = {}

    def start(variables: Mapping[str, str], entry: str) -> Any:
        seen.update(variables)
        raise Started

    monkeypatch.setattr(client, "start_process", start)
    with pytest.raises(Started), TargetProber("model.py", settings):
        pass
    return seen


def test_a_worker_for_the_cpu_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = variables_of(Settings(device="cpu"), monkeypatch)
    assert hidden == {"CUDA_VISIBLE_DEVICES": ""}
    assert variables_of(Settings(device="auto"), monkeypatch) == {}
    assert variables_of(Settings(device="cuda"), monkeypatch) == {}


def test_unless_the_user_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(device="cpu", variables={"CUDA_VISIBLE_DEVICES": "1"})
    assert variables_of(settings, monkeypatch) == {"CUDA_VISIBLE_DEVICES": "1"}


def test_host_memory_that_grows_raises_the_budget() -> None:
    bound = MemoryBound.of("physical memory", 16 * GIB, 12 * GIB)
    budget = MemoryBudget.from_bounds((bound,), headroom_fraction=0.25)
    assert budget.budget_bytes == 8 * GIB
    assert grown_budget_bytes(budget, [bound]) == 8 * GIB
    grown = MemoryBound.of("physical memory", 32 * GIB, 12 * GIB)
    other = MemoryBound.of("memory limit of cgroup /", 64 * GIB, 64 * GIB)
    assert grown_budget_bytes(budget, [other, grown]) == 20 * GIB
    assert grown_budget_bytes(budget, [other]) == 8 * GIB


def test_it_is_read_before_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = MemoryBound.of("physical memory", GIB, GIB)
    host_budget = MemoryBudget.from_bounds((bound,), headroom_fraction=0.0)
    workload = SimulatedWorkload.linear()
    loaded = SimulatedProber(workload, SimulatedDevice(GIB)).load()
    ready = client._Ready(None, replace(loaded, host_budget=host_budget), 0.0)  # type: ignore[arg-type]
    for size in (GIB, 3 * GIB):
        now = (MemoryBound.of("physical memory", size, size),)
        monkeypatch.setattr(client.CpuDevice, "bounds", lambda *_, now=now: now)
        assert ready.limit(None).host_budget_bytes == size
