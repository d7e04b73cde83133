"""One builder of hand-made findings for all tests of the reports."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from autobatch.records import (
    Bottleneck,
    Confirmation,
    Environment,
    Finding,
    LearningRateRule,
    MemoryBudget,
    MemoryCurve,
    Outcome,
    Recommendation,
    Regime,
    Settings,
    StopReason,
    ThroughputCurve,
    TimingRound,
    Trial,
    WorkloadSummary,
)

MIB = 2**20
_WOBBLE = (1.0, 0.97, 1.02, 0.99, 1.05, 1.0, 1.01)


def _trial(batch_size: int, outcome: Outcome = Outcome.FITS, **changes: Any) -> Trial:
    """A trial of a workload with 4 ms of latency, 0.3 ms and 3 MiB per sample."""
    step_time_s = 0.004 + 0.0003 * batch_size + 2e-7 * batch_size**2
    times = tuple(step_time_s * wobble for wobble in _WOBBLE)
    fits = outcome is Outcome.FITS
    made = Trial(
        batch_size=batch_size,
        outcome=outcome,
        peak_bytes=max(300, 250 + 3 * batch_size) * MIB,
        num_warmup_steps=3 if fits else 0,
        rounds=(TimingRound(number=0, step_times_s=times, data_times_s=(1e-4,) * len(times)),)
        if fits
        else (),
        page_faults_per_step=12.0 if fits else None,
        kernel_time_fraction=0.04 if fits else None,
        message="" if fits else "can't allocate memory: you tried to allocate 8589934592 bytes",
    )
    return replace(made, **changes)


def _recommendation(trials: tuple[Trial, ...], **changes: Any) -> Recommendation:
    fitted = [trial for trial in trials if trial.fits]
    best = max(fitted, key=lambda trial: trial.samples_per_s or 0.0)
    made = Recommendation(
        batch_size=best.batch_size,
        reason="the smallest size within 5 % of the best measured throughput",
        knee=best.batch_size,
        largest_batch_size=fitted[-1].batch_size,
        largest_was_run=True,
        gradient_accumulation_steps=1,
        num_devices=1,
        global_batch_size=best.batch_size,
        iterations_per_epoch=-(-60_000 // best.batch_size),
        last_batch_size=60_000 % best.batch_size or best.batch_size,
        drop_last=False,
        samples_per_s=best.samples_per_s or 0.0,
        step_time_s=best.step_time_s or 0.0,
        epoch_time_s=60_000 / (best.samples_per_s or 1.0),
        peak_bytes=best.peak_bytes,
        regime=Regime.MINI_BATCH,
        learning_rate=0.1 * best.batch_size / 32,
        learning_rate_multiplier=best.batch_size / 32,
        learning_rate_rule=LearningRateRule.LINEAR,
        learning_rate_reason="SGD: the rate grows with the batch, with warm-up (Goyal et al. 2017)",
        base_learning_rate=0.1,
        base_batch_size=32,
        adam_betas=None,
        adam_epsilon_multiplier=None,
        bottleneck=Bottleneck.DEVICE,
    )
    return replace(made, **changes)


def _throughput_curve(trials: tuple[Trial, ...]) -> ThroughputCurve:
    sizes = [trial.batch_size for trial in trials if trial.fits]
    curve = ThroughputCurve(
        latency_s=0.004,
        per_sample_s=0.0003,
        late_per_sample_s=0.0,
        late_from=0.0,
        quadratic_s=2e-7,
        r_squared=0.998,
        is_good=True,
        band=(),
    )
    rates = [(size, curve.samples_per_s(size)) for size in sizes]
    return replace(curve, band=tuple((size, 0.95 * rate, 1.06 * rate) for size, rate in rates))


def _finding(trials: tuple[Trial, ...] | None = None, **changes: Any) -> Finding:
    """A finding that is consistent; ``recommendation`` may be a dict of changes to it."""
    if trials is None:
        fitting = (_trial(2**power) for power in range(11))
        trials = (*fitting, _trial(2048, Outcome.OUT_OF_MEMORY))
    recommended = changes.pop("recommendation", {})
    made = Finding(
        target="examples/cnn.py",
        device="cpu",
        settings=Settings(),
        environment=Environment(
            device_name="Intel Xeon E5-2680 v4",
            driver_version=None,
            torch_version="2.8.0",
            python_version="3.11.7",
            platform="Linux-6.8-x86_64",
            num_cores=2,
            isolation="process",
            variables={},
        ),
        workload=WorkloadSummary(
            model="SmallCNN",
            num_parameters=1_234_567,
            data="random images of 3x32x32",
            loss="cross entropy",
            optimizer="SGD",
            optimizer_was_given=True,
            dataset_size=60_000,
            base_batch_size=32,
            base_learning_rate=0.1,
            has_batch_norm=True,
            num_loader_workers=0,
            num_threads=2,
            guesses=("loss: cross entropy, since the targets are class numbers",),
        ),
        budget=MemoryBudget(
            capacity_bytes=5 * 2**30,
            used_by_others_bytes=512 * MIB,
            headroom_fraction=0.1,
            budget_bytes=4 * 2**30,
            bound_by="physical memory",
        ),
        trials=trials,
        confirmation=Confirmation(
            batch_size=256,
            num_steps=32,
            peak_bytes=1018 * MIB,
            window_peaks_bytes=(1018 * MIB,) * 3,
            window_num_steps=(10,) * 3,
        ),
        memory_curve=MemoryCurve(
            floor_bytes=300.0 * MIB,
            fixed_bytes=250.0 * MIB,
            per_sample_bytes=3.0 * MIB,
            residual_bytes=1.0 * MIB,
            num_points=11,
        ),
        throughput_curve=_throughput_curve(trials),
        recommendation=_recommendation(trials, **recommended),
        warnings=(),
        stop_reason=StopReason.MEMORY,
        search_time_s=42.0,
    )
    return replace(made, **changes)


@pytest.fixture(scope="session")
def make_trial() -> Callable[..., Trial]:
    """Makes one trial; keywords are changes to its fields."""
    return _trial


@pytest.fixture(scope="session")
def make_finding() -> Callable[..., Finding]:
    """Makes a finding of given trials; keywords are changes to its fields."""
    return _finding


@pytest.fixture(scope="session")
def printed() -> Callable[..., str]:
    """Calls a reporting function with a console of a width, as in a pipe; returns the text."""

    def call(function: Callable[..., None], *subjects: Any, width: int = 80, **kind: Any) -> str:
        stream = io.StringIO()
        function(*subjects, Console(file=stream, width=width, **kind))
        return stream.getvalue()

    return call
