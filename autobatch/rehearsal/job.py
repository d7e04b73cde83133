"""The rehearsal as a job. Importing this module does not load PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autobatch.probe.protocol import Crash, JobContext
from autobatch.records.rehearsal import Rehearsal, RehearsedStage


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalJob:
    """Rehearse the training at a batch size.

    Attributes:
        batch_size: Samples of a pass.
        num_passes: Passes before the optimizer steps.
        max_steps: Most shuffled steps.
        max_time_s: Time after which no further step is started.
        eval_batch_size: Samples of a batch in evaluation; as the workload's own loader if ``None``.
        max_evaluation_s: Time that its own evaluation may take.
    """

    doing: ClassVar[str] = "while the training was rehearsed"

    batch_size: int
    num_passes: int = 1
    max_steps: int = 300
    max_time_s: float = 120.0
    eval_batch_size: int | None = None
    max_evaluation_s: float = 30.0

    def run(self, context: JobContext) -> Rehearsal:
        """Run its parts."""
        from autobatch.rehearsal.stages import rehearse

        return rehearse(context, self)

    def from_crash(self, crash: Crash) -> Rehearsal:
        """The rehearsal of a process that was ended: the size does not pass."""
        stage = RehearsedStage(
            name="the rehearsal", fits=False, peak_bytes=crash.peak_bytes, message=crash.message
        )
        return Rehearsal(batch_size=self.batch_size, stages=(stage,))
