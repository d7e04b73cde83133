"""The breakdown as a job. Importing this module does not load PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autobatch.probe.protocol import Crash, JobContext
from autobatch.records.breakdown import MemoryBreakdown


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakdownJob:
    """Record where the memory of a step goes.

    Attributes:
        batch_size: Samples of a pass.
        num_passes: Passes before the optimizer steps.
    """

    doing: ClassVar[str] = "while its memory was broken down"

    batch_size: int
    num_passes: int = 1

    def run(self, context: JobContext) -> MemoryBreakdown:
        """Record it."""
        from autobatch.breakdown.measure import break_down

        return break_down(context, self.batch_size, self.num_passes)

    def from_crash(self, crash: Crash) -> MemoryBreakdown:
        """Say why there is none."""
        return MemoryBreakdown(batch_size=self.batch_size, reason=crash.message)
