"""The replayed device: real operators, and memory by the rules of a caching allocator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from autobatch.prediction.allocator.sizes import MIN_BLOCK_BYTES, round_up
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.records import Outcome, Settings
from autobatch.testing.replayed import InProcessProber, ReplayedDevice, ReplayedGpu
from autobatch.testing.replayed.prober import place
from autobatch.workload.contract import Workload
from autobatch.workload.live import build_task

MIB = 2**20
PLAN = TimingPlan(min_steps=4, max_time_s=0.0)
SETTINGS = Settings(device="cpu", headroom_fraction=0.0)


@pytest.fixture
def device() -> ReplayedDevice:
    return ReplayedGpu(capacity_bytes=100 * MIB).open()


def allocated(device: ReplayedDevice) -> int:
    return device.cuda.allocator.statistics.allocated_bytes


def make_prober(gpu: ReplayedGpu, settings: Settings = SETTINGS, **fields: Any) -> InProcessProber:
    def make_task() -> Any:
        workload = Workload(
            **{"model": nn.Linear(64, 64), "sample": (torch.ones(64),) * 2, **fields}
        )
        return build_task(workload, settings)

    return InProcessProber(make_task, settings, gpu)


def test_a_storage_is_held_for_as_long_as_it_lives(device: ReplayedDevice) -> None:
    with device.storages:
        tensor = torch.ones(MIB)
        view = tensor.view(2, -1)
        assert allocated(device) == 4 * MIB
    del tensor
    assert allocated(device) == 4 * MIB, "the view still needs it"
    del view
    assert allocated(device) == 0
    assert device.cuda.memory_reserved() == 20 * MIB, "it is in the cache"
    device.release()
    assert device.cuda.memory_reserved() == 0


def test_what_backward_makes_is_held_too(device: ReplayedDevice) -> None:
    weights = torch.ones(MIB, requires_grad=True)
    device.storages.hold(weights)
    with device.storages:
        (weights * 2.0).sum().backward()
    assert weights.grad is not None
    assert allocated(device) == 8 * MIB


def test_what_is_made_for_the_host_is_not(device: ReplayedDevice) -> None:
    with device.storages, device.storages.paused():
        kept = torch.ones(MIB)
    assert allocated(device) == 0
    assert kept.numel() == MIB


def test_a_storage_that_grows_in_place_is_held_anew(device: ReplayedDevice) -> None:
    with device.storages:
        tensor = torch.ones(MIB)
        tensor.resize_(2 * MIB)
    assert allocated(device) == 8 * MIB
    del tensor
    assert allocated(device) == 0


def test_beyond_the_memory_an_operator_raises_as_a_gpu_does(device: ReplayedDevice) -> None:
    with device.storages, pytest.raises(torch.OutOfMemoryError, match="out of memory") as caught:
        torch.empty(101 * MIB, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert allocated(device) == 0


def test_a_scale_makes_a_small_tensor_a_large_one() -> None:
    device = ReplayedGpu(capacity_bytes=2**40, scale=1000).open()
    with device.storages:
        tensor = torch.empty(MIB, dtype=torch.uint8)
    assert allocated(device) == 1000 * tensor.nbytes


def test_a_trial_trains_for_real_and_has_the_models_peaks() -> None:
    gpu = ReplayedGpu(capacity_bytes=2**30, overhead_bytes=500 * MIB)
    prober = make_prober(
        gpu, model=nn.Linear(1024, 1024), sample=(torch.ones(1024),) * 2, optimizer=torch.optim.Adam
    )
    trial = prober.measure(512, PLAN)
    assert trial.outcome is Outcome.FITS
    assert trial.loss_is_finite
    assert len(trial.step_times_s) == 4
    # Weights, gradients and two moments: 4 MiB each; a batch and what it comes to: 2 MiB each.
    assert 18 * MIB < trial.peak_allocated_bytes < 34 * MIB
    assert trial.peak_reserved_bytes % (2 * MIB) == 0
    assert trial.peak_bytes == trial.peak_reserved_bytes + 500 * MIB


def test_every_trial_begins_as_a_training_begins() -> None:
    """Adam's moments of one trial are gone before the next: peaks do not depend on the order."""
    gpu = ReplayedGpu(capacity_bytes=2**40, scale=1000)
    peaks = {}
    for order in ((8, 256, 8), (256, 8, 256)):
        prober = make_prober(gpu, optimizer=torch.optim.Adam)
        trials = [prober.measure(size, PLAN) for size in order]
        peaks[order] = {(t.batch_size, t.peak_reserved_bytes, t.peak_bytes) for t in trials}
    assert len(peaks[8, 256, 8]) == 2
    assert peaks[8, 256, 8] == peaks[256, 8, 256]


@pytest.mark.parametrize("loss", [nn.functional.mse_loss, nn.functional.smooth_l1_loss])
def test_a_trial_holds_no_more_than_a_plain_loop(loss: Any) -> None:
    """The loss of the step before is kept, and with some losses a number for each output was."""
    gpu = ReplayedGpu(capacity_bytes=2**40, scale=1000)
    fields = {"model": nn.Linear(64, 2048), "sample": (torch.ones(64), torch.ones(2048))}
    trial = make_prober(gpu, loss=loss, **fields).measure(64, PLAN)
    device = gpu.open()
    task = place(build_task(Workload(**fields, loss=loss), SETTINGS), device)
    batches, optimizer = task.source.batches(64), task.built.optimizer
    with device.storages:
        for _ in range(4):
            batch = next(batches)
            value = task.loss(task.model, batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            del batch, value
    plain_bytes = device.cuda.max_memory_allocated()
    number_bytes = round_up(4 * 1000, MIN_BLOCK_BYTES)
    assert 0 <= trial.peak_allocated_bytes - plain_bytes <= number_bytes


def test_a_final_run_has_a_device_that_has_served_nothing() -> None:
    prober = make_prober(ReplayedGpu(capacity_bytes=2**30))
    prober.measure(8, PLAN)
    before = prober.device
    prober.measure(8, PLAN)
    assert prober.device is before
    prober.measure(8, replace(PLAN, purpose=Purpose.FINAL))
    assert prober.device is not before


def test_the_remedy_is_read_from_the_environment_as_pytorch_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    assert ReplayedGpu(capacity_bytes=MIB).open().cuda.allocator.settings.expandable_segments
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")
    assert not ReplayedGpu(capacity_bytes=MIB).open().cuda.allocator.settings.expandable_segments
