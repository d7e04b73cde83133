"""Trials that share one process: what one of them spoils is not the next one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autobatch.compare.jobs import SplitJob, TrainJob
from autobatch.compare.records import RunOutcome
from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.probe.worker.process import start_process
from autobatch.records import Outcome, Settings, Trial

SHARED = (
    "from autobatch.probe.worker.worker import Worker, main; "
    "from autobatch.probe.isolation.in_place import InPlace; "
    "main(Worker(isolate=lambda device, request: InPlace(keeps_weights=request.keeps_weights)))"
)
# Size 4 has a loss that is no number; size 8 has one too, and then runs out of memory.
SPOILING = """
print("loaded")
model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
dataset = [(torch.randn(8), torch.randn(8))] * 64
optimizer = lambda parameters: torch.optim.Adam(parameters, lr=0.1)
num_large = 0
def training_step(model, batch):
    global num_large
    size = len(batch[0])
    loss = nn.functional.mse_loss(model(batch[0]), batch[1])
    if size == 8:
        num_large += 1
        if num_large % 2 == 0:
            raise MemoryError("enough")
    return loss * float("nan") if size in (4, 8) else loss
"""
PLAN = TimingPlan(num_warmup_steps=2, min_steps=1, max_time_s=0.0)


# A device is lost in training alone: the learning rate is not zero.
LOSING = """
print("loaded")
model = nn.Linear(8, 8)
dataset = [(torch.randn(8), torch.randn(8))] * 64
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def training_step(model, batch):
    if optimizer.param_groups[0]["lr"]:
        raise RuntimeError("CUDA error: device-side assert triggered")
    return nn.functional.mse_loss(model(batch[0]), batch[1])
"""


def start_shared(target: str, printed: list[str]) -> TargetProber:
    """A prober whose workers fork for no trial."""
    settings = Settings(device="cpu", min_batch_size=2)
    return TargetProber(
        target, settings, on_output=printed.append, start=lambda: start_process({}, SHARED)
    )


@pytest.fixture
def printed() -> list[str]:
    """What the target prints."""
    return []


@pytest.fixture
def measure(write: Callable[..., str], printed: list[str]) -> Iterator[Callable[[int], Trial]]:
    """Run a size in a worker that forks for no trial."""
    prober = start_shared(write(SPOILING), printed)
    with prober:
        assert prober.load().environment.isolation == "shared"
        yield lambda size: prober.measure(size, PLAN, timeout_s=100)


def test_a_loss_that_is_no_number_leaves_later_trials_their_weights(
    measure: Callable[[int], Trial], printed: list[str]
) -> None:
    sizes = (2, 4, 2, 4, 4, 2, 16)
    finite = [(size, measure(size).loss_is_finite) for size in sizes]
    assert finite == [(size, size != 4) for size in sizes]
    assert printed.count("loaded") == 2, "one worker is replaced, and the next keeps a copy"


def test_nor_does_one_that_runs_out_of_memory_after_it(measure: Callable[[int], Trial]) -> None:
    spoiled = measure(8)
    assert spoiled.outcome is Outcome.OUT_OF_MEMORY
    assert not spoiled.loss_is_finite
    assert measure(2).loss_is_finite


def test_where_every_loss_is_finite_no_worker_is_replaced(
    measure: Callable[[int], Trial], printed: list[str]
) -> None:
    assert all(measure(size).loss_is_finite for size in (2, 16, 2))
    assert printed.count("loaded") == 1


def test_a_final_run_has_a_worker_that_has_run_nothing_else(
    write: Callable[..., str], printed: list[str]
) -> None:
    final = replace(PLAN, purpose=Purpose.FINAL)
    with start_shared(write(SPOILING), printed) as prober:
        prober.load()
        assert prober.measure(2, final, timeout_s=100).fits
        assert printed.count("loaded") == 1, "nothing had run"
        assert prober.measure(16, PLAN, timeout_s=100).fits
        assert prober.measure(2, final, timeout_s=100).fits
        assert printed.count("loaded") == 2
        assert prober.measure(2, PLAN, timeout_s=100).fits
        assert printed.count("loaded") == 2, "the new worker goes on with the search"


def test_unless_loading_would_take_the_time_that_is_left(
    write: Callable[..., str], printed: list[str]
) -> None:
    slow = "import time\ntime.sleep(1)\n" + SPOILING
    with start_shared(write(slow), printed) as prober:
        prober.load()
        assert prober.measure(16, PLAN, timeout_s=100).fits
        assert prober.measure(2, replace(PLAN, purpose=Purpose.FINAL), timeout_s=1.5).fits
    assert printed.count("loaded") == 1


def test_a_job_that_loses_the_device_is_told_and_the_next_has_another_worker(
    write: Callable[..., str], printed: list[str], tmp_path: Path
) -> None:
    job = TrainJob(
        batch_size=8,
        state_path=str(tmp_path / "state.pt"),
        initial_path=str(tmp_path / "initial.pt"),
        num_epochs_done=0,
        num_epochs=1,
        slice_s=60.0,
        rate_multiplier=1.0,
        learning_rate=None,
        validation_fraction=0.0,
    )
    prober = start_shared(write(LOSING), printed)
    with prober:
        prober.load()
        reply = prober.run(job)
        assert reply.outcome is RunOutcome.KILLED
        assert reply.message == "its device was lost: CUDA error: device-side assert triggered"
        assert prober.run(SplitJob(validation_fraction=0.25)) == 48
    assert printed.count("loaded") == 2
