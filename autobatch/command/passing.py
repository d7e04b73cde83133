"""Sizes that were passed to a command, and what its runs trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobatch.command.describe import describe_run
from autobatch.command.effect import Observation, Verdict, judge, observe
from autobatch.command.measure import Measured, Measurement
from autobatch.errors import WorkloadError
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Outcome, Trial
from autobatch.units import format_count

if TYPE_CHECKING:
    from autobatch.command.run import Run
    from autobatch.command.starts import Starts


class PassedSizes:
    """Finds out whether sizes that are passed to a command take effect.

    Args:
        starts: Starts the command.
        place: Where the size goes, in a user's words.

    Attributes:
        rates: Learning rates that were seen, by the size that was passed.
        ratio: Samples of a batch over the size that is passed.
        own: The batch size that the script's own loader had in the latest run, and the size that
            was passed then; ``None`` where no such pair is known.
    """

    def __init__(self, starts: Starts, place: str) -> None:
        self._starts, self._place = starts, place
        self.rates: dict[int, float] = {}
        self.ratio = 1.0
        self.own: tuple[int, int] | None = None
        self._seen: dict[int, Observation] = {}

    def note(self, run: Run, size: int, measured: Measured) -> None:
        """Keep what a run trained with.

        Args:
            run: It has trained.
            size: What it was given.
            measured: What was seen of it.
        """
        first, seen = run.trainers[0], measured.seen
        self._seen[size] = observe(seen.batch_size, first.modules)
        rate = describe_run(run.trainers, seen).learning_rate
        if rate is not None:
            self.rates[size] = rate

    def note_own(self, run: Run, size: int, measured: Measured) -> None:
        """Keep what its loader would have had if its batches had not been resized."""
        loader = run.trainers[0].loaders.get(measured.seen.loader or 0)
        if loader is not None and isinstance(loader[4], int):
            self.own = (loader[4], size)

    @property
    def verdict(self) -> Verdict:
        """Whether the sizes so far had an effect."""
        return judge(self._seen)

    def held_to_size(self, trial: Trial) -> Trial:
        """The trial, as failed where it trained with another size than it was given.

        Raises:
            WorkloadError: If no size has an effect.
        """
        if self.verdict.has_effect is not True:
            self.require_effect(max(1, min(self._seen) // 2), None)
        trained = self._seen[trial.batch_size].batch_size
        if trained is None or trained == round(self.ratio * trial.batch_size):
            return trial
        message = f"trained batches of {trained:,} when {trial.batch_size:,} was passed"
        return Trial(batch_size=trial.batch_size, outcome=Outcome.FAILED, message=message)

    def require_effect(self, other: int, timeout_s: float | None) -> None:
        """Where the runs so far do not show that sizes take effect, run one more.

        Args:
            other: Its size.
            timeout_s: Longest time of it.

        Raises:
            WorkloadError: If they have none.
        """
        verdict = self.verdict
        if verdict.has_effect is None and other not in self._seen:
            run = self._starts.start(other, timeout_s)
            try:
                measured = Measurement(run, other, TimingPlan()).wait()
                if measured.trial is not None and measured.trial.fits:
                    self.note(run, other, measured)
            finally:
                self._starts.end(run)
            verdict = self.verdict
        if verdict.has_effect is False:
            what = "the same"
            if verdict.trained is not None:
                what = f"batches of {format_count(verdict.trained)}"
            raise WorkloadError(
                f"the script trained {what} whatever {self._place} was",
                hint="write {batch_size} where the script takes its training batch size",
            )
        self.ratio = verdict.ratio
