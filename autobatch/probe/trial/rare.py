"""What a training does now and then, in the trials before it: the largest samples, saving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autobatch.devices.base import Device
from autobatch.probe.pace import ALONE, Pace
from autobatch.probe.trial.save import try_to_save
from autobatch.probe.trial.worst import NUM_WORST_PASSES, make_worst_batches
from autobatch.records.rehearsal import SAVING
from autobatch.workload.task import TrainingTask

# From the first largest batch of a final run on; later, none is begun.
_WORST_TIME_S = 10.0


class RareParts:
    """Runs them, untimed, to measure their memory.

    Attributes:
        doing: What runs now; empty if nothing does.

    Args:
        task: What is trained.
        device: Where.
        run_step: Trains on a batch.
        num_passes: Passes of an optimizer step.
        clock: Returns seconds from any origin.
        pace: Decides what runs.
    """

    def __init__(
        self,
        task: TrainingTask,
        device: Device,
        run_step: Callable[[Any], Any],
        num_passes: int,
        clock: Callable[[], float],
        pace: Pace = ALONE,
    ) -> None:
        self._task, self._device, self._run_step = task, device, run_step
        self._num_passes, self._clock = max(NUM_WORST_PASSES, num_passes), clock
        self._pace = pace
        self.doing = ""

    def run(self, batch_size: int, *, is_final: bool) -> tuple[str, ...]:
        """Run steps on the largest samples; in a final run by each criterion, for a limited time.

        A final run saves first, since a checkpoint may leave copies behind.

        Args:
            batch_size: Samples of a batch.
            is_final: Whether it is one.

        Returns:
            What ran in a final run, in words.
        """
        ran: list[str] = []
        if is_final:
            self.doing = SAVING
            ran += try_to_save(self._task)
        self.doing = "the largest samples"
        deadline = self._clock() + _WORST_TIME_S
        worst, agree = make_worst_batches(self._task.source, batch_size), self._pace.agree
        while True:
            name, batch = next(worst, ("", None))
            if not agree(bool(name)):
                break
            self.doing = name
            if agree(batch is not None):
                self._train_on(batch, batch_size)
            ran += [name] if name else []
            if not agree(is_final and self._clock() <= deadline):
                break
        self.doing = ""
        return tuple(ran) if is_final else ()

    def _train_on(self, batch: Any, batch_size: int) -> None:
        if batch is None:  # another process has more of them
            batch = next(self._task.source.batches(batch_size))
        with self._pace.careful():
            for _ in range(self._num_passes):
                self._run_step(batch)
            self._device.synchronize()
