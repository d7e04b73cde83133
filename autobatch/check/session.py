"""A check of one target as it runs.

load | compare environments | first trial: does it fit | target, reference, target, ...
                                                         ^ look at 6, 8, 11 ... 200 rounds
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from autobatch.check.hardware import Hardware
from autobatch.check.judge import memory, timing
from autobatch.check.judge.likeness import refuse_or_note
from autobatch.check.judge.looks import MAX_ROUNDS, Looks
from autobatch.check.observer import CheckObserver, SilentCheckObserver
from autobatch.check.records import (
    FEWEST_ROUNDS,
    NO_REFERENCE,
    CheckReport,
    CheckRound,
    CheckSettings,
    Measurement,
    Verdict,
)
from autobatch.check.reference import Reference, choose_reference, load_reference
from autobatch.check.terms import describe_failure, resolve_batch_size
from autobatch.devices.watch import BlindWatch, DeviceWatch
from autobatch.errors import CheckInterrupted, WorkloadError
from autobatch.probe.probers import Prober
from autobatch.probe.protocol import Loaded, TimingPlan
from autobatch.records import Outcome, RequirementName, Status, Trial
from autobatch.units import format_fraction

# The whole share is used: steps one after the other agree with each other more than with those
# of a moment later, so that what they agree on says little. It is short for the same reason: on a
# shared machine the ratios of 0.1 s strayed up to half as far again as those of 0.2 s.
PLAN = TimingPlan(min_steps=3, max_time_s=0.1, precision_fraction=0, patience_s=20.0)
FEWEST_FOR_BASELINE = 24
_INTERRUPTED = "it was interrupted"


class CheckSession:
    """Measures rounds until every requirement is decided, or the time is used.

    Args:
        prober: Runs the target.
        start: Starts what runs a reference, by the reference's name.
        settings: What is asked.
        target: The target, as the user wrote it.
        baseline: What to compare with.
        hardware: The devices, where something is required of them.
        observer: Is told of every round.
        watch: Makes a watch on a device by its name.
        clock: Seconds from any origin.
    """

    def __init__(
        self,
        prober: Prober,
        settings: CheckSettings,
        *,
        target: str,
        start: Callable[[str], Prober],
        baseline: Measurement | None = None,
        hardware: Hardware | None = None,
        observer: CheckObserver | None = None,
        watch: Callable[[str], DeviceWatch] = lambda name: BlindWatch(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prober, self._start = prober, start
        reference = choose_reference(settings.reference, baseline)
        self._settings, self._target = replace(settings, reference=reference), target
        self._baseline = self._timed_baseline = baseline
        self._hardware = hardware
        self._observer = observer or SilentCheckObserver()
        self._make_watch, self._clock = watch, clock
        self._begin = clock()
        self._looks = Looks()
        self._loaded: Loaded | None = None
        self._measurement: Measurement | None = None
        self._watch: DeviceWatch | None = None
        self._reference: Reference | None = None
        self._peak_is_lower_bound = False
        self._decided: dict[RequirementName, Verdict] = {}
        self._failure = ""
        self._notes: list[str] = []

    def run(self) -> CheckReport:
        """Measure and judge.

        Raises:
            BaselineError: If the baseline is of something else.
            CheckInterrupted: On Ctrl-C; carries the verdicts so far.
            AutobatchError: If the target or the device cannot be measured.
        """
        try:
            self._load()
            self._measure_rounds()
            self._note_precision()
            return self._report()
        except KeyboardInterrupt:
            raise CheckInterrupted(self._report(is_complete=False)) from None

    def _load(self) -> None:
        self._observer.loading(self._target)
        timeout_s = self._settings.training.trial_timeout_s
        loaded = self._prober.load(timeout_s=timeout_s)
        self._measurement = Measurement(
            target=self._target,
            batch_size=resolve_batch_size(self._settings.batch_size, loaded.workload),
            precision=self._settings.training.precision.value,
            device=loaded.device,
            reference=NO_REFERENCE,
            reference_batch_size=None,
            num_threads=loaded.workload.num_threads,
            environment=loaded.environment,
            rounds=(),
            num_ranks=loaded.workload.num_ranks,
            parallel=loaded.workload.parallel,
        )
        if self._baseline is not None:
            can_compare_times, notes = refuse_or_note(
                self._measurement, self._baseline, any_hardware=self._settings.any_hardware
            )
            self._notes += notes
            if not can_compare_times:
                self._timed_baseline = None
        self._loaded = loaded
        self._observer.loaded(loaded.workload, loaded.budget, loaded.device)
        if self._is_compared and self._settings.reference != NO_REFERENCE:
            self._observer.loading(f"the reference, {self._settings.reference}")
            self._reference = load_reference(
                self._measurement, self._baseline, self._settings, self._start
            )
            self._measurement = replace(
                self._measurement,
                reference=self._reference.name,
                reference_batch_size=self._reference.batch_size,
            )

    @property
    def _is_compared(self) -> bool:
        """Whether times are, or will be, compared with those of another day."""
        return self._timed_baseline is not None or self._settings.keeps_baseline

    @property
    def _needs_time(self) -> bool:
        return self._settings.limits.any_of_time or self._is_compared

    def _measure_rounds(self) -> None:
        assert self._loaded is not None
        assert self._measurement is not None
        self._observer.measuring(self._measurement.batch_size, self._settings.time_limit_s)
        self._watch = self._make_watch(self._loaded.device)
        begin = self._clock()
        while not self._failure:
            self._measure_round()
            self._watch.sample()
            num_rounds = len(self._rounds)
            is_time_up = self._clock() - begin >= self._settings.time_limit_s
            is_last = is_time_up or num_rounds >= MAX_ROUNDS
            if num_rounds < FEWEST_ROUNDS and (self._settings.keeps_baseline or not is_time_up):
                self._observer.round_finished(num_rounds, ())
                continue
            if not self._needs_time or self._is_decided(is_last=is_last):
                return

    def _measure_round(self) -> None:
        assert self._measurement is not None
        batch_size = self._measurement.batch_size
        trial = self._run(self._prober, batch_size)
        if not trial.fits:
            self._failure = describe_failure(trial, num_before=len(self._rounds))
            return
        self._peak_is_lower_bound |= trial.peak_is_lower_bound
        reference_times_s: tuple[float, ...] = ()
        if self._reference is not None:
            reference_times_s = self._time_reference(self._reference)
        timed = CheckRound(
            step_times_s=trial.step_times_s,
            reference_times_s=reference_times_s,
            peak_bytes=trial.peak_bytes,
        )
        self._measurement = replace(self._measurement, rounds=(*self._rounds, timed))

    def _time_reference(self, reference: Reference) -> tuple[float, ...]:
        trial = self._run(reference.prober, reference.batch_size)
        if not trial.fits:
            raise WorkloadError(
                f"the reference {reference.name!r} did not run at batch size "
                f"{reference.batch_size}: {describe_failure(trial)}",
                hint="choose another `reference`, or none",
            )
        return trial.step_times_s

    def _run(self, prober: Prober, batch_size: int) -> Trial:
        timeout_s = self._settings.training.trial_timeout_s
        trial = prober.measure(batch_size, PLAN, timeout_s=timeout_s)
        if trial.outcome is Outcome.KILLED:
            # The kill may have been meant for another process: the second run counts.
            trial = prober.measure(batch_size, PLAN, timeout_s=timeout_s)
        return trial

    def _is_decided(self, *, is_last: bool) -> bool:
        assert self._measurement is not None
        alpha = self._looks.alpha_at(len(self._rounds), is_last=is_last)
        if alpha is None:
            self._observer.round_finished(len(self._rounds), ())
            return False
        verdicts = self._judge_times(alpha)
        for verdict in verdicts:
            if verdict.status is not Status.INCONCLUSIVE or is_last:
                self._decided.setdefault(verdict.requirement, verdict)
        self._observer.round_finished(len(self._rounds), verdicts)
        is_open = len(self._decided) < len(verdicts) or not self._is_precise()
        return is_last or not is_open

    def _is_precise(self) -> bool:
        """Whether the measurement is good enough for what it is to be kept for."""
        assert self._measurement is not None
        if not self._settings.keeps_baseline:
            return True
        if len(self._rounds) < FEWEST_FOR_BASELINE:
            return False
        return timing.precision_of(self._measurement) <= timing.PRECISE_ERROR

    def _note_precision(self) -> None:
        if self._settings.keeps_baseline and not self._failure and not self._is_precise():
            assert self._measurement is not None
            error = timing.precision_of(self._measurement)
            self._notes.append(
                f"The times of the baseline are known to {format_fraction(error)} only: with a "
                "longer `time_limit` less will be left open"
            )

    @property
    def _rounds(self) -> tuple[CheckRound, ...]:
        return () if self._measurement is None else self._measurement.rounds

    def _judge_times(self, alpha: float) -> tuple[Verdict, ...]:
        assert self._measurement is not None
        limits, baseline = self._settings.limits, self._timed_baseline
        return tuple(timing.judge_times(limits, self._measurement, baseline, alpha=alpha))

    def _report(self, *, is_complete: bool = True) -> CheckReport:
        measurement = self._measurement if self._rounds else None
        return CheckReport(
            target=self._target,
            devices=self._describe_devices(),
            settings=self._settings,
            verdicts=(*self._hardware_verdicts(), *self._target_verdicts(is_complete)),
            measurement=measurement,
            baseline=self._baseline,
            notes=tuple(self._notes),
            elapsed_s=self._clock() - self._begin,
            is_complete=is_complete,
        )

    def _describe_devices(self) -> tuple[str, ...]:
        if self._loaded is None:
            return () if self._hardware is None else self._hardware.names
        return (f"{self._loaded.device} ({self._loaded.environment.device_name})",)

    def _hardware_verdicts(self) -> tuple[Verdict, ...]:
        if self._hardware is None:
            return ()
        throttled_by = None if self._watch is None else self._watch.stop()
        return self._hardware.judge(self._settings.hardware, throttled_by)

    def _target_verdicts(self, is_complete: bool) -> tuple[Verdict, ...]:
        if self._loaded is None or self._measurement is None:
            return ()
        limits, baseline = self._settings.limits, self._baseline
        batch_size = self._measurement.batch_size
        if self._failure:
            reason = "the batch size does not fit"
            return (
                memory.judge_fit(batch_size, self._failure),
                *memory.not_judged(limits, baseline, reason),
                *timing.not_judged(limits, self._timed_baseline, reason),
            )
        if len(self._rounds) == 0:
            return (
                *memory.not_judged(limits, baseline, _INTERRUPTED),
                *timing.not_judged(limits, self._timed_baseline, _INTERRUPTED),
            )
        return (
            memory.judge_fit(batch_size, ""),
            *memory.judge_memory(
                limits,
                self._measurement.peaks_bytes,
                self._loaded.budget,
                baseline,
                is_lower_bound=self._peak_is_lower_bound,
            ),
            *self._time_verdicts(is_complete),
        )

    def _time_verdicts(self, is_complete: bool) -> tuple[Verdict, ...]:
        limits, baseline = self._settings.limits, self._timed_baseline
        reason = "" if is_complete else _INTERRUPTED
        return tuple(
            self._decided.get(verdict.requirement, verdict)
            for verdict in timing.not_judged(limits, baseline, reason)
        )
