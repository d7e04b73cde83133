"""The comparison as a job. Importing this module does not load PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autobatch.probe.protocol import Crash, JobContext
from autobatch.records.accumulation import AccumulationCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class AccumulationJob:
    """Compare the gradient of one batch with that of its parts; nothing is changed.

    Attributes:
        batch_size: Samples of the batch, a multiple of the passes.
        num_passes: Parts.
    """

    doing: ClassVar[str] = "while accumulated gradients were compared"

    batch_size: int
    num_passes: int

    def run(self, context: JobContext) -> AccumulationCheck:
        """Compare them."""
        from autobatch.accumulation.measure import compare_gradients

        return compare_gradients(context, self.batch_size, self.num_passes)

    def from_crash(self, crash: Crash) -> AccumulationCheck:
        """Say that they could not be compared."""
        return AccumulationCheck(
            batch_size=self.batch_size, num_passes=self.num_passes, reason=crash.message
        )
