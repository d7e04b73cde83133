"""One part of a rehearsal: run, and held against the budget."""

from __future__ import annotations

import os
from collections.abc import Callable

from autobatch.devices.host import HostMemory, open_pinned
from autobatch.errors import first_line_of
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.host import read_memory
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.records import Trial
from autobatch.records.rehearsal import RehearsedStage


class StageRunner:
    """Runs parts one after the other, each beside what those before have left.

    A part reports on itself as it goes, so that one that fails is told as far as it came.

    Attributes:
        name: What the part has done so far.
        at_any_size: Whether it would not fit at a smaller batch size either.
        left_out: What did not run, one entry each.

    Args:
        context: Where parts run, and the memory budget.
        batch_size: Samples of a pass.
    """

    def __init__(self, context: JobContext, batch_size: int) -> None:
        self._device, self._limits = context.device, context.limits
        self._batch_size = batch_size
        template_pid = os.getppid() if context.is_apart else None
        self._host = HostMemory(open_pinned(context.device.name), template_pid=template_pid)
        self._peak_bytes = 0
        self.name, self.at_any_size = "", False
        self.left_out: list[str] = []

    @property
    def budget_bytes(self) -> int:
        """Memory that a part may use."""
        return self._limits.budget_bytes

    def run(self, name: str, work: Callable[[], str]) -> RehearsedStage:
        """Run a part.

        Args:
            name: What it is called unless it says more.
            work: Does it; returns why it would not fit, if it can tell before it happens.
        """
        self.name, self.at_any_size, self._peak_bytes = name, False, 0
        self.reset_peak()
        try:
            message = work()
            self._device.synchronize()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            message = first_line_of(error)
        used = self.read()
        return RehearsedStage(
            name=self.name,
            fits=used.fits and not message,
            peak_bytes=self._peak_bytes or None,
            message=message or used.message,
            at_any_size=self.at_any_size,
        )

    def reset_peak(self, *, release: bool = False) -> None:
        """Begin a new measurement.

        Args:
            release: Whether to give freed memory back first.
        """
        if release:
            self._device.release()
        self._host.reset_peak()
        self._device.reset_peak()

    def read(self) -> Trial:
        """What was used since the reset, loader workers included."""
        self._device.synchronize()
        used = read_memory(self._device, self._host, self._limits, self._batch_size)
        self.expect(used.peak_bytes or 0)
        return used

    def expect(self, peak_bytes: int) -> None:
        """Note that the part takes as much, at some time."""
        self._peak_bytes = max(self._peak_bytes, peak_bytes)
