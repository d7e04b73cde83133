"""One run of a size, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autobatch.records import Confirmation, TimingRound, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A run of one size, or several in succession.

    Attributes:
        trial: What was measured; the highest peak of several runs.
        num_steps: Steps of all runs, warm-up included.
        time_s: Seconds that they took, the start of each process included.
    """

    trial: Trial
    num_steps: int
    time_s: float

    def followed_by(self, again: Measured) -> Measured:
        """Combine this run with one more of the same size."""
        fits = again.trial.fits
        return replace(
            self,
            trial=self.trial.confirmed_by(again.trial) if fits else again.trial,
            num_steps=self.num_steps + again.num_steps,
            time_s=self.time_s + again.time_s,
        )

    def as_first_run(self) -> Trial:
        """The trial with its steps as one round, like the other trials of the search."""
        rounds = self.trial.rounds
        if len(rounds) < 2:
            return self.trial
        whole = TimingRound(
            number=rounds[0].number,
            step_times_s=self.trial.step_times_s,
            data_times_s=self.trial.data_times_s,
        )
        return replace(self.trial, rounds=(whole,))

    def to_confirmation(self) -> Confirmation:
        """The record of a final run."""
        trial = self.trial
        return Confirmation(
            batch_size=trial.batch_size,
            num_steps=self.num_steps,
            peak_bytes=trial.peak_bytes,
            window_peaks_bytes=trial.window_peaks_bytes,
            window_num_steps=_count_steps(trial),
            step_time_s=trial.step_time_s,
            compile_time_s=trial.compile_time_s,
            eval_fits=trial.eval_fits,
            eval_peak_bytes=trial.eval_peak_bytes,
            eval_message=trial.eval_message,
            also_ran=trial.also_ran,
        )


def _count_steps(trial: Trial) -> tuple[int, ...]:
    """Steps of each window that has a peak; where steps are slow, the warm-up is one of them."""
    timed = tuple(len(each.step_times_s) for each in trial.rounds)
    has_warmup = len(trial.window_peaks_bytes) > len(timed)
    return (trial.num_warmup_steps, *timed) if has_warmup else timed
