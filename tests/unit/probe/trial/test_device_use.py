"""Throttling on a trial, and a trial that ends its device."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
import torch
from fixtures.cuda import FakeEvent
from fixtures.tasks import make_context
from torch import nn

from autobatch.devices.cpu import CpuDevice
from autobatch.devices.watch import ThrottleReasons
from autobatch.errors import DeviceLostError
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.probe.trial.run import run_trial
from autobatch.records import Outcome, Unknown

SAMPLES = [(torch.randn(4), torch.randn(3))] * 64
STICKY = "CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA"


class ScriptedWatch:
    """Tells what it was given, and keeps what it was asked."""

    def __init__(self, reasons: ThrottleReasons) -> None:
        self.reasons = reasons
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def sample(self) -> None:
        self.calls.append("sample")

    def stop(self) -> ThrottleReasons:
        self.calls.append("stop")
        return self.reasons


def _trial(task: Any, device: Any = None, watch: Any = None, **plan: Any) -> Any:
    plan = {"min_steps": 5, "max_time_s": 0.0, **plan}
    context = make_context(task, device=device or CpuDevice())
    return run_trial(context, 8, TimingPlan(**plan), watch=watch)


def test_what_the_watch_saw_is_on_the_trial(make_task: Any) -> None:
    watch = ScriptedWatch(("power limit",))
    trial = _trial(make_task(nn.Linear(4, 3), dataset=SAMPLES), watch=watch)
    assert trial.throttle_reasons == ("power limit",)
    assert trial.unknown == {}  # nothing was left untold


def test_the_watch_sees_the_timed_steps_alone(make_task: Any) -> None:
    watch = ScriptedWatch(())

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        watch.calls.append("step")
        return output.sum()

    trial = _trial(make_task(nn.Linear(4, 3), dataset=SAMPLES, loss=loss), watch=watch)
    first = watch.calls.index("start")
    assert watch.calls[:first].count("step") == trial.num_warmup_steps
    assert watch.calls[first:].count("step") == len(trial.step_times_s)
    assert watch.calls[-1] == "stop"


def test_the_watch_looks_between_steps_of_a_longer_run(make_task: Any) -> None:
    watch = ScriptedWatch(())
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES)
    _trial(task, watch=watch, max_time_s=0.5, precision_fraction=0.0)
    assert "sample" in watch.calls


def test_what_cannot_be_told_is_none_with_a_reason(make_task: Any) -> None:
    watch = ScriptedWatch(Unknown(reason="no permission"))
    trial = _trial(make_task(nn.Linear(4, 3), dataset=SAMPLES), watch=watch)
    assert trial.throttle_reasons is None
    assert trial.unknown["throttle_reasons"] == "no permission"


def test_a_cpu_does_not_tell(make_task: Any) -> None:
    trial = _trial(make_task(nn.Linear(4, 3), dataset=SAMPLES))
    assert trial.throttle_reasons is None
    assert "NVIDIA" in trial.unknown["throttle_reasons"]


class FragileDevice(CpuDevice):
    """A device that must not be touched once it is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.is_lost = False

    def _touch(self) -> None:
        assert not self.is_lost, "the device was touched after it was lost"

    def release(self) -> None:
        self._touch()
        super().release()

    def synchronize(self) -> None:
        self._touch()

    def read_peak(self) -> Any:
        self._touch()
        return super().read_peak()


def _losing(device: FragileDevice, message: str = STICKY) -> Any:
    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        device.is_lost = True
        raise RuntimeError(message)

    return loss


class FragileOptimizer(torch.optim.SGD):
    """Says so if its gradients are cleared."""

    num_cleared = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.num_cleared += 1
        super().zero_grad(set_to_none)


class CountingDevice(CpuDevice):
    """An allocator at its limit: it gives its cache back twice in each step."""

    def __init__(self, num_before: int) -> None:
        super().__init__()
        self.num_retries = num_before

    def synchronize(self) -> None:
        self.num_retries += 2

    def count_alloc_retries(self) -> int | None:
        return self.num_retries


@pytest.mark.parametrize("num_before", [0, 7])
def test_retries_of_the_allocator_are_counted_over_the_timed_steps(
    make_task: Any, num_before: int
) -> None:
    trial = _trial(make_task(nn.Linear(4, 3), dataset=SAMPLES), CountingDevice(num_before))
    assert trial.alloc_retries_per_step == 2.0


def test_where_none_counts_they_are_unknown(make_task: Any) -> None:
    trial = _trial(make_task(nn.Linear(4, 3), dataset=SAMPLES))
    assert trial.alloc_retries_per_step is None


def test_a_lost_device_is_named_and_left_alone(make_task: Any) -> None:
    device, model = FragileDevice(), nn.Linear(4, 3)
    optimizer = FragileOptimizer(model.parameters())
    task = make_task(model, dataset=SAMPLES, loss=_losing(device), optimizer=optimizer)
    with pytest.raises(DeviceLostError) as caught:
        _trial(task, device)
    assert "batch size 8 left the device unusable: CUDA error: device-side" in str(caught.value)
    assert "DSA" not in str(caught.value)
    assert "CUDA_LAUNCH_BLOCKING" in caught.value.hint
    assert optimizer.num_cleared == 0


def test_a_lost_device_is_recognised_before_out_of_memory(make_task: Any) -> None:
    device = FragileDevice()
    message = "CUDA error: an illegal memory access was encountered; out of memory"
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES, loss=_losing(device, message))
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        _trial(task, device)


def test_after_plain_out_of_memory_the_device_is_read_and_gradients_go(make_task: Any) -> None:
    device, model = FragileDevice(), nn.Linear(4, 3)
    optimizer = FragileOptimizer(model.parameters())

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    task = make_task(model, dataset=SAMPLES, loss=loss, optimizer=optimizer)
    trial = _trial(task, device)
    assert trial.outcome is Outcome.OUT_OF_MEMORY
    assert trial.peak_bytes > 0
    assert optimizer.num_cleared > 0


def test_a_lost_device_is_not_asked_to_lift_its_budget() -> None:
    from autobatch.devices.sticky import undo_at_end

    undone: list[str] = []

    @contextmanager
    def enforced() -> Any:
        with undo_at_end(lambda: undone.append("lifted")):
            yield

    with pytest.raises(RuntimeError), enforced():
        raise RuntimeError(STICKY)
    assert undone == []
    with pytest.raises(KeyError), enforced():
        raise KeyError
    assert undone == ["lifted"]


class RunningAhead(CpuDevice):
    """A device with a queue, that keeps what it was asked."""

    name = "cpu:0"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def mark(self) -> Any:
        self.calls.append("mark")
        event: Any = FakeEvent(enable_timing=True)
        event.record()
        return event

    def synchronize(self) -> None:
        self.calls.append("synchronize")


def test_steps_of_a_device_with_a_queue_are_not_waited_for_one_by_one(make_task: Any) -> None:
    device = RunningAhead()
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES)
    plan = TimingPlan(min_steps=40, max_time_s=0.0, precision_fraction=0)
    trial = run_trial(make_context(task, device=device), 8, plan)
    timed = device.calls[device.calls.index("mark") + 1 :]
    assert trial.outcome is Outcome.FITS
    assert len(trial.step_times_s) >= 40
    assert timed.count("mark") > 40
    assert timed.count("synchronize") < 20
    assert min(trial.step_times_s) > 0


class Kept(CpuDevice):
    """A device whose peak is never below what its allocator keeps."""

    name = "cpu:0"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def release(self) -> None:
        self.calls.append("release")

    def reset_peak(self) -> None:
        self.calls.append("reset_peak")


def test_an_evaluation_is_measured_without_the_cache_that_training_left(make_task: Any) -> None:
    device = Kept()
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES)
    plan = TimingPlan(purpose=Purpose.FINAL, min_steps=1, max_time_s=0.0)
    trial = run_trial(make_context(task, device=device), 8, plan)
    assert trial.eval_fits
    assert device.calls[-2:] == ["release", "reset_peak"]
