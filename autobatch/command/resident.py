"""A run that stays: it is held between two steps, and goes on with batches of another size."""

from __future__ import annotations

import time

from autobatch.command.events import Speaker
from autobatch.command.measure import Measured, Measurement
from autobatch.command.run import Run
from autobatch.probe.protocol import TimingPlan

# A step of the size before may have to end first.
_HOLD_PATIENCE_S = 60.0


class Resident:
    """Measures sizes in place.

    Args:
        run: Its training loader's batches can be resized; it is running.
        load_peak_bytes: What it held at most before its first timed step: a start of its own would
            take that much at any size.
    """

    def __init__(self, run: Run, load_peak_bytes: int) -> None:
        self._run, self._load_peak_bytes = run, load_peak_bytes

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    @property
    def load_peak_bytes(self) -> int:
        """What it held at most before its first timed step."""
        return self._load_peak_bytes

    def hold(self) -> bool:
        """Have it wait at the end of a step; say whether it does."""
        trainer = self._trainer
        trainer.facts.pop("held", None)
        trainer.order(hold=True)
        deadline = time.monotonic() + _HOLD_PATIENCE_S
        while "held" not in trainer.facts:
            self._run.listen()
            if self._run.ending is not None or time.monotonic() > deadline:
                return False
        return True

    def measure(self, batch_size: int, plan: TimingPlan, timeout_s: float | None) -> Measured:
        """Go on with another size, and hold again once it is measured.

        Args:
            batch_size: The size.
            plan: How long to time steps.
            timeout_s: Longest time of it.
        """
        self._run.begin_anew(timeout_s)
        self._trainer.order(size=batch_size)
        measured = Measurement(self._run, batch_size, plan, is_resized=True).wait()
        if self._run.ending is None:
            self.hold()
        return measured

    @property
    def _trainer(self) -> Speaker:
        return self._run.trainers[0]
