"""From a run to a trial: waits until enough steps are seen, and reads what they took.

start ... imports, data, first steps | warm-up | timed steps | ...        a run of its own
load peak ----------------'          peak -------'

| held | size 64: warm-up | timed | held | size 128: ...                  several sizes in one run
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from autobatch.command.cores import OthersWatch
from autobatch.command.events import Speaker
from autobatch.command.gpu import read_gpu, with_gpu
from autobatch.command.run import Cause, Ending, Run
from autobatch.command.steps import Step, StepsSeen, find_steps, merge_ranks
from autobatch.devices import linux
from autobatch.probe.protocol import TimingPlan
from autobatch.probe.trial.timing import is_enough
from autobatch.records import Outcome, TimingRound, Trial

# The start of a command takes seconds: steps may take a part of that, beside what the plan says.
_FRACTION_OF_START = 0.1
_LONGEST_WINDOW_S = 1.0
_PAUSE_RATIO = 20.0
_MOST_WAITING = 8.0
_OUTCOMES = {
    Cause.OUT_OF_MEMORY: Outcome.OUT_OF_MEMORY,
    Cause.OVER_BUDGET: Outcome.OVER_BUDGET,
    Cause.TIMED_OUT: Outcome.TIMED_OUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run showed at one size.

    Attributes:
        trial: The trial; ``None`` if it ended otherwise than a trial can.
        ending: Why the run is over, if it is.
        seen: The steps of all trainers together.
        load_peak_bytes: Highest use before the timed steps.
        first_step_s: Time from the start to the end of the first step.
    """

    trial: Trial | None
    ending: Ending | None
    seen: StepsSeen
    load_peak_bytes: int = 0
    first_step_s: float | None = None


class Measurement:
    """Watches a run at one size.

    Args:
        run: It is running, and nothing has been heard yet or it is held.
        batch_size: The size that was asked for; ``None`` for the one that the script has by itself.
        plan: How long to time steps.
        is_resized: Whether the run was held, and goes on with this size.
    """

    def __init__(
        self, run: Run, batch_size: int | None, plan: TimingPlan, *, is_resized: bool = False
    ) -> None:
        self._run, self._asked, self._plan = run, batch_size, plan
        self._is_resized = is_resized
        self._load_peak_bytes = self._peak_bytes = 0
        self._peaks: list[int] = []
        self._rounds: list[TimingRound] = []
        self._num_used = 0
        self._first_step_s: float | None = None
        self._seen = StepsSeen()
        self._others = OthersWatch(run.members)

    def wait(self) -> Measured:
        """Listen until the plan is carried out or the run is over."""
        num_windows = self._plan.num_windows if self._plan.is_confirmation else 1
        has_heard, next_s = False, 0.0
        while len(self._rounds) < num_windows and self._run.ending is None:
            heard = self._run.listen()
            trainers = self._run.trainers
            has_heard |= any(speaker in trainers for speaker, _ in heard)
            if has_heard and time.monotonic() >= next_s and self._run.has_all_ranks:
                has_heard, begin_s = False, time.monotonic()
                self._advance(trainers)
                # On the cores of the training: a small part of the time at most.
                next_s = time.monotonic() + _PAUSE_RATIO * (time.monotonic() - begin_s)
        if self._run.ending is not None and self._run.trainers:
            self._finish_with_what_there_is(self._run.trainers)
        return self._conclude()

    def _advance(self, trainers: Sequence[Speaker]) -> None:
        if self._is_resized:  # and there is one rank alone
            events = trainers[0].events
            starts = [index for index, event in enumerate(events) if event[0] == "resumed"]
            if not starts:
                return
            # It may have been held in the middle of a step, with the batch already there.
            events[: starts[-1]] = [each for each in events[: starts[-1]] if each[0] == "D"][-1:]
        self._seen = self._find_steps(trainers)
        if self._first_step_s is None and self._seen.num_boundaries:
            self._first_step_s = self._run.elapsed_s
        clean = self._seen.clean
        num_warmup = max(1, self._plan.num_warmup_steps - (not self._is_resized))
        if len(clean) < num_warmup:
            return
        if not self._num_used:
            self._num_used = num_warmup
            self._load_peak_bytes = self._take_peak()
            self._others.begin()
        timed = clean[self._num_used :]
        if self._is_enough(timed):
            self._close_window(timed)

    def _is_enough(self, timed: tuple[Step, ...]) -> bool:
        plan = self._plan
        if self._first_step_s is not None and not self._is_resized:
            window_s = min(_FRACTION_OF_START * self._first_step_s, _LONGEST_WINDOW_S)
            plan = replace(plan, max_time_s=max(plan.max_time_s, window_s))
        if not timed:
            return False
        times = [self._time_of_batch(step) for step in timed]
        # Where most of the time is evaluation, a part of the wanted steps must do.
        wall_s = timed[-1].end_s - timed[0].end_s
        return is_enough(
            times, plan, max(sum(step.time_s for step in timed), wall_s / _MOST_WAITING)
        )

    def _close_window(self, steps: tuple[Step, ...]) -> None:
        self._num_used += len(steps)
        self._rounds.append(
            TimingRound(
                number=self._plan.round_number,
                step_times_s=tuple(map(self._time_of_batch, steps)),
                data_times_s=tuple(self._per_batch(step, step.data_time_s) for step in steps),
            )
        )
        self._peaks.append(self._take_peak())

    def _find_steps(self, trainers: Sequence[Speaker]) -> StepsSeen:
        return merge_ranks([find_steps(each.events, self._asked) for each in trainers])

    def _finish_with_what_there_is(self, trainers: Sequence[Speaker]) -> None:
        """Where the run is over early but has shown some steps, those are what is known."""
        self._peak_bytes = max(self._peak_bytes, self._run.seen_bytes)
        if self._run.ending is None or self._run.ending.cause is not Cause.EXITED:
            return
        self._seen = self._find_steps(trainers)
        left = self._seen.clean[self._num_used :]
        if left and not self._rounds and self._run.ending.exit_code == 0:
            self._close_window(left)

    def _time_of_batch(self, step: Step) -> float:
        return self._per_batch(step, step.time_s)

    def _per_batch(self, step: Step, time_s: float) -> float:
        """The part of a time that belongs to as many samples as were asked for.

        A step may take several batches: gradients are accumulated, or a script divides what it is
        asked for.
        """
        num_samples = step.num_samples
        if not num_samples:
            num_samples = self._batch_size * max(1, step.num_passes)
        return time_s * self._batch_size / num_samples

    @property
    def _batch_size(self) -> int:
        """The size that was asked for, or else that of most batches."""
        return self._asked or self._seen.batch_size or 1

    def _take_peak(self) -> int:
        """The most that was held of the device since the last call.

        On the CPU that is what all trainers and their workers held.
        """
        own = 0
        for trainer in self._run.trainers:
            with suppress(OSError, KeyError):
                own += linux.read_status_bytes(trainer.pid)["VmHWM"]
            with suppress(OSError):
                Path(f"/proc/{trainer.pid}/clear_refs").write_text("5")
        held = own + self._run.loader_bytes
        self._peak_bytes = max(self._peak_bytes, held)
        gpu = read_gpu(self._run.trainers)
        return held if gpu is None else gpu.peak_bytes

    def _others_busy_cores(self) -> float | None:
        """Not where a search might look for a remedy that would cost many starts."""
        is_worth_it = self._is_resized or self._plan.is_confirmation
        return self._others.read() if is_worth_it else None

    def _conclude(self) -> Measured:
        ending = self._run.ending
        # A script that ends in an error after its steps does so in training, too.
        is_whole = bool(self._rounds) and (ending is None or ending.exit_code == 0)
        trial = None
        if is_whole:
            num_warmup = self._num_used - sum(len(each.step_times_s) for each in self._rounds)
            trial = Trial(
                batch_size=self._batch_size,
                outcome=Outcome.FITS,
                peak_bytes=self._peak_bytes or None,
                host_peak_bytes=self._peak_bytes or None,
                loader_bytes=self._run.loader_bytes,
                window_peaks_bytes=tuple(self._peaks) if self._plan.is_confirmation else (),
                rounds=tuple(self._rounds),
                others_busy_cores=self._others_busy_cores(),
                num_warmup_steps=num_warmup + (not self._is_resized),
            )
        elif ending is not None and ending.cause in _OUTCOMES:
            trial = Trial(
                batch_size=self._batch_size,
                outcome=_OUTCOMES[ending.cause],
                peak_bytes=self._peak_bytes or self._run.seen_bytes or None,
                host_peak_bytes=self._peak_bytes or self._run.seen_bytes or None,
                message=ending.message,
            )
        return Measured(
            trial=None if trial is None else with_gpu(trial, read_gpu(self._run.trainers)),
            ending=ending,
            seen=self._seen,
            load_peak_bytes=self._load_peak_bytes,
            first_step_s=self._first_step_s,
        )
