"""A training step whose storages are recorded, beside one whose peak is measured."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import torch

from autobatch.breakdown.advise import advise
from autobatch.breakdown.record import OperatorMeter, StorageRecorder, find_blocks
from autobatch.breakdown.timeline import Part, Storage, Timeline
from autobatch.devices import linux
from autobatch.devices.base import Device
from autobatch.devices.host import HostMemory, open_pinned
from autobatch.devices.sticky import is_sticky
from autobatch.errors import first_line_of
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.compiled import run_eagerly
from autobatch.probe.trial.start import drop_gradients_at_end, start_anew
from autobatch.probe.trial.step import TrainingStep
from autobatch.probe.trial.worst import make_worst_batch
from autobatch.records.breakdown import MemoryBreakdown, ModuleMemory
from autobatch.records.device_report import Unknown
from autobatch.workload.task import move_to
from autobatch.workload.tensors import find_tensors

_NUM_STEPS = 2
_MOST_MODULES = 10


def break_down(context: JobContext, batch_size: int, num_passes: int) -> MemoryBreakdown:
    """Record where the memory of a step goes, on the largest samples that are known.

    Args:
        context: What to train, where, and the memory budget.
        batch_size: Samples of a pass.
        num_passes: Passes before the optimizer steps.

    Returns:
        The breakdown, or why there is none: whatever a step raises is no error here.
    """
    task, device = context.task, context.device
    task.model.to(device.name)
    start_anew(device, context.seed)
    with (
        run_eagerly(),
        drop_gradients_at_end(task.built.optimizer),
        device.enforce(context.limits.budget_bytes),
    ):
        try:
            return _Measurement(context, batch_size, num_passes).run()
        except Exception as error:
            if is_sticky(error):
                raise
            reason = f"{type(error).__name__}: {first_line_of(error)}"[:300]
            return MemoryBreakdown(batch_size=batch_size, reason=reason)


def _can_meter(device: Device) -> bool:
    return device.name == "cpu" and sys.platform == "linux" and linux.reset_peak()


class _Step(TrainingStep):
    """A step that tells the recorder how far it is."""

    recorder: StorageRecorder

    def _forward(self, batch: Any) -> torch.Tensor:
        self.recorder.phase = Part.LOGITS
        return super()._forward(batch)

    def _backward(self, loss: torch.Tensor) -> None:
        self.recorder.phase = Part.TEMPORARIES
        super()._backward(loss)


class _Measurement:
    def __init__(self, context: JobContext, batch_size: int, num_passes: int) -> None:
        task = self._task = context.task
        self._device = context.device
        self._batch_size, self._num_passes = batch_size, num_passes
        self._batches = task.source.batches(batch_size)
        self._step = _Step(task, self._device.name, context.precision, num_passes=num_passes)
        self._blocks = find_blocks(task.model)
        self._use(None)
        self._workspace_bytes = 0
        self._host = HostMemory(open_pinned(self._device.name))

    def run(self) -> MemoryBreakdown:
        device = self._device
        for _ in range(_NUM_STEPS):
            self._run_step()
        device.synchronize()
        device.reset_peak()
        for _ in range(_NUM_STEPS):
            self._run_step()
        device.synchronize()
        peak = device.read_peak()
        loader_bytes = self._host.read().loader_bytes if device.name == "cpu" else 0
        meter = OperatorMeter() if _can_meter(device) else None
        timeline, parts = self._record(meter), Counter[Part]()
        at_peak = timeline.at_peak() if meter is None else timeline.after(meter.num_events)
        for storage in at_peak:
            parts[storage.part] += storage.num_bytes
        if meter is not None:
            workspace_bytes = self._workspace_bytes
            cached_bytes = max(0, (peak.peak_bytes or 0) - meter.peak_bytes) + meter.kept_bytes
            buffer_bytes = meter.buffer_bytes
        else:
            reserved_bytes = peak.reserved_bytes or 0
            workspace_bytes = (peak.peak_bytes or 0) - reserved_bytes
            cached_bytes = max(0, reserved_bytes - (peak.allocated_bytes or 0))
            buffer_bytes = 0
        loader_bytes = (
            0 if loader_bytes is None or isinstance(loader_bytes, Unknown) else loader_bytes
        )
        peak_bytes = (peak.peak_bytes or 0) + loader_bytes
        explained_bytes = sum(parts.values()) + workspace_bytes + cached_bytes + buffer_bytes
        explained_bytes += loader_bytes
        told: dict[str, Any] = {part.value: parts[part] for part in Part}
        return MemoryBreakdown(
            batch_size=self._batch_size,
            peak_bytes=peak_bytes,
            workspace_bytes=workspace_bytes,
            cached_bytes=cached_bytes,
            buffer_bytes=buffer_bytes,
            loader_bytes=loader_bytes,
            unexplained_bytes=peak_bytes - explained_bytes,
            modules=self._find_modules(at_peak),
            advice=advise(timeline, self._blocks, peak_bytes),
            **told,
        )

    def _use(self, meter: OperatorMeter | None) -> None:
        device = torch.device(self._device.name)
        self._step.recorder = self._recorder = StorageRecorder(device, meter)

    def _record(self, meter: OperatorMeter | None) -> Timeline:
        """Record a step that begins with all freed memory given back."""
        self._use(meter)
        self._device.release()
        self._note_what_is_there()
        if meter is not None:
            self._workspace_bytes = self._read_workspace()
        with self._recorder.watching(self._task.model, self._blocks), self._recorder:
            self._run_step(is_recorded=True)
        self._device.synchronize()
        return self._recorder.timeline

    def _run_step(self, *, is_recorded: bool = False) -> None:
        worst = make_worst_batch(self._task.source, self._batch_size)
        for _ in range(self._num_passes):
            self._recorder.phase = Part.BATCH
            batch = next(self._batches) if worst is None else worst
            batch = move_to(batch, torch.device(self._device.name))
            if is_recorded:
                # What a loader's worker has made was not seen.
                self._recorder.mark(find_tensors(batch), Part.BATCH)
            self._step(batch)

    def _note_what_is_there(self) -> None:
        model, recorder = self._task.model, self._recorder
        recorder.mark([*model.parameters(), *model.buffers()], Part.WEIGHTS)
        recorder.mark([each.grad for each in model.parameters()], Part.GRADIENTS)
        states = self._task.built.optimizer.state.values()
        recorder.mark((each for state in states for each in state.values()), Part.OPTIMIZER)
        recorder.mark_others()

    def _read_workspace(self) -> int:
        """What the process holds beside tensors, between two steps."""
        self._device.reset_peak()
        now_bytes = self._device.read_peak().peak_bytes or 0
        held_bytes = sum(each.num_bytes for each in self._recorder.timeline.left())
        return max(0, now_bytes - held_bytes)

    def _find_modules(self, at_peak: list[Storage]) -> tuple[ModuleMemory, ...]:
        kinds = {name: type(each).__name__ for name, each in self._task.model.named_modules()}
        held: Counter[str] = Counter()
        for storage in at_peak:
            if storage.part is Part.ACTIVATIONS and storage.module is not None:
                held[storage.module] += storage.num_bytes
        return tuple(
            ModuleMemory(module=name or "(model)", kind=kinds[name], activation_bytes=num_bytes)
            for name, num_bytes in held.most_common(_MOST_MODULES)
        )
