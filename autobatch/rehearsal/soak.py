"""Hundreds of shuffled steps, and what their growth in memory comes to by the end of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autobatch.decide.leak import find_growth_bytes_per_step
from autobatch.rehearsal.stage import StageRunner
from autobatch.units import format_bytes, format_count

if TYPE_CHECKING:
    from autobatch.rehearsal.job import RehearsalJob

# Each has a peak: together they show whether memory grows.
_NUM_WINDOWS = 6


class Soak:
    """Shuffled steps.

    Attributes:
        num_steps: How many ran.

    Args:
        job: How many there are to be.
        step: Makes an optimizer step.
        epoch_steps: Steps of an epoch; ``None`` if unknown.
        clock: Returns seconds from any origin.
    """

    def __init__(
        self,
        job: RehearsalJob,
        step: Callable[[], None],
        epoch_steps: int | None,
        clock: Callable[[], float],
    ) -> None:
        self._job, self._step, self._epoch_steps, self._clock = job, step, epoch_steps, clock
        self.num_steps = 0

    def run(self, stage: StageRunner) -> str:
        """Run them.

        Returns:
            Why an epoch of them would not fit; empty if nothing says so.
        """
        peaks, counts = list[int](), list[int]()
        window_s = self._job.max_time_s / _NUM_WINDOWS
        now = begin = self._clock()
        while self.num_steps < self._job.max_steps and now - begin <= self._job.max_time_s:
            stage.reset_peak()
            window_end, before = begin + window_s * (len(peaks) + 1), self.num_steps
            while now <= window_end or self.num_steps == before:
                self._step()
                self.num_steps += 1
                stage.name = f"{format_count(self.num_steps)} shuffled steps"
                now = self._clock()
                if self.num_steps >= self._job.max_steps * (len(peaks) + 1) / _NUM_WINDOWS:
                    break
            used = stage.read()
            if not used.fits:
                return used.message
            peaks.append(used.peak_bytes or 0)
            counts.append(self.num_steps - before)
        return self._judge(stage, find_growth_bytes_per_step(peaks, counts), peaks[-1])

    def _judge(self, stage: StageRunner, growth_bytes: float, peak_bytes: int) -> str:
        """What steady growth comes to by the end of an epoch."""
        left = max(0, (self._epoch_steps or 0) - self.num_steps)
        if not growth_bytes or not left:
            return ""
        grows = f"memory grows by {format_bytes(growth_bytes)} a step"
        budget_bytes, at_end_bytes = stage.budget_bytes, round(peak_bytes + growth_bytes * left)
        stage.expect(at_end_bytes)
        if at_end_bytes <= budget_bytes:
            stage.name += f" ({grows})"
            return ""
        after = self.num_steps + int((budget_bytes - peak_bytes) / growth_bytes)
        return (
            f"{grows}, beyond the budget of {format_bytes(budget_bytes)} after about "
            f"{format_count(after)} of the {format_count(self._epoch_steps or 0)} steps of an epoch"
        )
