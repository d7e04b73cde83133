"""Records made by hand, with what a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autobatch.records import (
    Outcome,
    ThroughputCurve,
    TimingRound,
    Trial,
    WorkloadSummary,
)


def _trial(
    batch_size: int,
    step_time_s: float = 0.1,
    *,
    data_time_s: float = 0.0,
    spread_fraction: float = 0.0,
    num_steps: int = 9,
    **fields: Any,
) -> Trial:
    half = spread_fraction / 2 * step_time_s
    times = [step_time_s + (-half, 0.0, half)[index % 3] for index in range(num_steps)]
    timed = TimingRound(
        number=0, step_times_s=tuple(times), data_times_s=(data_time_s,) * num_steps
    )
    fields = {"outcome": Outcome.FITS, "peak_bytes": 2**30, **fields}
    rounds = (timed,) if fields["outcome"] is Outcome.FITS else ()
    return Trial(batch_size=batch_size, rounds=rounds, **fields)


def _curve(**fields: Any) -> ThroughputCurve:
    defaults: dict[str, Any] = {
        "latency_s": 0.01,
        "per_sample_s": 0.001,
        "late_per_sample_s": 0.0,
        "late_from": 0.0,
        "quadratic_s": 0.0,
        "r_squared": 0.99,
        "is_good": True,
        "band": (),
    }
    return ThroughputCurve(**{**defaults, **fields})


def _workload(**fields: Any) -> WorkloadSummary:
    defaults: dict[str, Any] = {
        "model": "Net",
        "num_parameters": 1000,
        "data": "a data set",
        "loss": "cross_entropy",
        "optimizer": "SGD",
        "optimizer_was_given": True,
        "dataset_size": 24_000,
        "base_batch_size": 32,
        "base_learning_rate": 0.1,
        "has_batch_norm": False,
        "num_loader_workers": 0,
        "num_threads": 2,
    }
    return WorkloadSummary(**{**defaults, **fields})


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    return _trial


@pytest.fixture
def make_curve() -> Callable[..., ThroughputCurve]:
    return _curve


@pytest.fixture
def make_workload() -> Callable[..., WorkloadSummary]:
    return _workload
