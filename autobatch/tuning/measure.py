"""Settings in, an attempt out: is it true, which size goes with it, how fast beside the start."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from autobatch.errors import WorkloadError
from autobatch.finder import find
from autobatch.loading.choose import find_likely
from autobatch.loading.examine import count_batches, examine_loading
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.recommend.accumulation import count_passes
from autobatch.records import Finding, Phase, Settings, SilentObserver, StopReason, Trial
from autobatch.reporting.activity import Activity
from autobatch.tuning.asked import TuneSettings
from autobatch.tuning.jobs import FactsJob, TruthJob
from autobatch.tuning.levers import loader_value, offer_levers, touches_step
from autobatch.tuning.probers import Opener, Trainer, settings_with
from autobatch.tuning.ratios import mean_of, smallest_as_fast
from autobatch.tuning.records import Attempt, AttemptOutcome, Changes, Facts, Start
from autobatch.tuning.sizes import Limits, Sized, find_size

_COMPILING_RATIO = 3
# Sizes down to this part of the one of the climb show whether throughput still rises there.
_NEAR_RATIO = 8
# By as much a larger size is slower for a reason that a lever may remove, such as page faults.
_FALLEN_FRACTION = 0.05
_MEMORY = (StopReason.MEMORY, StopReason.MEMORY_EXPECTED)
_MOST_TRUTH_SAMPLES = 8
# Enough to tell what is likely, which is timed in turn with the start afterwards.
_LOADER_TIME_S = 24.0
_ROUND = TimingPlan(min_steps=1, max_time_s=0.2, precision_fraction=0, patience_s=2.0)
# Workers deliver in bursts: over many steps their mean tells the throughput.
_ROUND_OF_WORKERS = replace(_ROUND, min_steps=8, max_time_s=1.5, patience_s=10.0)


class _Shown(SilentObserver):
    """Shows the trials of a search as details of an attempt."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        self._activity.detail(f"batch size {batch_size}")


class Measurer:
    """Tries settings of one workload.

    Args:
        opener: Opens probers of it with levers on.
        settings: Device, memory, precision, global batch.
        asked: What may be tuned, and for how long.
        activity: Is shown the trials.
        clock: Returns seconds from any origin.

    Attributes:
        references: Keeps a worker of the start or the best so far, to be timed in turn with.
    """

    def __init__(
        self,
        opener: Opener,
        settings: Settings,
        asked: TuneSettings,
        activity: Activity,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opener, self._settings, self._asked = opener, settings, asked
        self._observer, self._clock = _Shown(activity), clock
        self._reference: tuple[Changes, Trainer] | None = None
        self.references = ExitStack()

    def start(self, left_s: float | None) -> tuple[Start, Attempt]:
        """Measure the user's own settings, and see which levers there are.

        Args:
            left_s: Seconds that there are, ``None`` without a limit.

        Raises:
            AutobatchError: If they cannot be measured.
        """
        begin, opener = self._clock(), self._opener
        settings = replace(self._settings, time_limit_s=self._limit_s({}, left_s))
        facts: Facts | None = None
        with opener.open({}, {}) as trainer:
            finding = self._search(trainer, settings)
            if opener.takes_jobs:
                facts = trainer.run(FactsJob(), timeout_s=settings.trial_timeout_s)
            device = finding.device
            known = facts or Facts(
                num_threads=finding.workload.num_threads, optimizer_has_state=True
            )
            found, refused = offer_levers(known, device, self._asked, opener.refuses)
            if facts is None:  # only what its environment decides
                found = {name: found[name] for name in ("allocator", "threads") if name in found}
                refused = {}
            elif "loader" not in {*self._asked.skipped, *opener.refuses}:
                found = {**self._offer_loader(trainer, finding), **found}
                refused = {name: why for name, why in refused.items() if name not in found}
        attempt = self._to_start(finding, begin)
        assert attempt.batch_size is not None
        assert attempt.samples_per_s is not None
        yours = finding.decision.estimate_of(finding.decision.your_batch_size or 0)
        return Start(
            device=device,
            environment=finding.environment,
            workload=finding.workload,
            budget=finding.budget,
            own_batch_size=yours.batch_size if yours else attempt.batch_size,
            own_ratio=yours.samples_per_s / attempt.samples_per_s if yours else 1.0,
            facts=facts,
            offers={**found, **opener.placeholders},
            refused=refused,
            placeholders=opener.start,
            limits=self._find_limits(finding, attempt),
            contention=finding.contention,
        ), attempt

    def attempt(
        self, start: Start, against: Attempt, changes: Changes, left_s: float | None
    ) -> Attempt:
        """Try settings.

        Args:
            start: What is known of the workload.
            against: The settings that they are timed in turn with: the start, or the best so far.
            changes: Levers to put on.
            left_s: Seconds that there are, ``None`` without a limit.

        Raises:
            AutobatchError: If they cannot be measured; the user's code may raise anything.
        """
        begin, limit_s = self._clock(), self._limit_s(changes, left_s)
        with self._opener.open(changes, start.remedy) as trainer:
            trainer.load(timeout_s=limit_s)
            truth = None
            if self._opener.takes_jobs and touches_step(changes):
                samples = min(max(start.limits.first, 2), _MOST_TRUTH_SAMPLES)
                truth = trainer.run(TruthJob(batch_size=samples), timeout_s=limit_s)
                if truth.fault:
                    return Attempt(
                        changes=changes,
                        outcome=AttemptOutcome.NOT_EXACT,
                        truth=truth,
                        message=truth.fault,
                        time_s=self._clock() - begin,
                    )
            sized = self._find_size(trainer, start, against, changes, begin + limit_s)
        rate = against.samples_per_s or 0.0
        return Attempt(
            changes=changes,
            outcome=AttemptOutcome.MEASURED,
            batch_size=sized.batch_size,
            samples_per_s=rate * mean_of(sized.ratios),
            peak_bytes=sized.peaks_bytes[sized.batch_size],
            ratios=tuple(against.ratio * each for each in sized.ratios),
            truth=truth,
            sizes=tuple(
                (each, rate * ratio, sized.peaks_bytes[each])
                for each, ratio in sorted(sized.climbed.items())
            ),
            time_s=self._clock() - begin,
        )

    def resize(self, start: Start, attempt: Attempt, left_s: float | None) -> Attempt:
        """Search for the batch size of settings anew, as for the start.

        A climb times each size once, which on a busy machine may end it early.

        Args:
            start: What is known of the workload.
            attempt: The settings, with the size that a climb found.
            left_s: Seconds that there are, ``None`` without a limit.

        Returns:
            The attempt with the size that is fastest, or as it was.

        Raises:
            AutobatchError: If they cannot be measured; the user's code may raise anything.
        """
        begin, changes = self._clock(), attempt.changes
        settings = settings_with(self._settings, changes)
        settings = replace(settings, time_limit_s=self._limit_s(changes, left_s))
        if "compile" in changes:  # each size is compiled anew
            near = (attempt.batch_size or 1) // _NEAR_RATIO
            settings = replace(settings, min_batch_size=max(settings.min_batch_size, near))
        with self._opener.open(changes, start.remedy) as trainer:
            finding = self._search(trainer, settings)
        rates = {each.batch_size: each.samples_per_s for each in finding.decision.estimates}
        own = rates.get(attempt.batch_size or 0)
        if own is None:
            return attempt
        chosen = smallest_as_fast(rates)
        peaks = {each.batch_size: each.peak_bytes for each in finding.trials}
        scale = (attempt.samples_per_s or 0.0) / own
        return replace(
            attempt,
            batch_size=chosen,
            samples_per_s=scale * rates[chosen],
            peak_bytes=peaks[chosen],
            ratios=tuple(rates[chosen] / own * each for each in attempt.ratios),
            sizes=tuple((size, scale * rate, peaks[size]) for size, rate in sorted(rates.items())),
            time_s=attempt.time_s + self._clock() - begin,
        )

    def time_round(
        self,
        trainer: Trainer,
        start: Start,
        changes: Changes,
        size: int,
        purpose: Purpose = Purpose.FINAL,
    ) -> tuple[Trial, float]:
        """Run a size for a short time.

        Args:
            trainer: Has the levers on.
            start: Says whether workers load the batches.
            changes: The levers.
            size: Samples of a pass.
            purpose: What the run is for.

        Returns:
            The trial, and its throughput in samples per second; 0 if it does not fit.
        """
        is_command = not self._opener.takes_jobs  # whose levers may be about workers
        has_workers = is_command or start.workload.num_loader_workers or "loader" in changes
        plan = replace(
            _ROUND_OF_WORKERS if has_workers else _ROUND,
            purpose=purpose,
            num_windows=2 if purpose is Purpose.FINAL else 1,  # slow warm-up steps count as one
            num_passes=count_passes(self._settings, size),
            num_threads=start.contention.num_threads if start.contention else None,
        )
        trial = trainer.measure(size, plan, timeout_s=self._settings.trial_timeout_s)
        times = trial.step_times_s
        if not trial.fits or not times:
            return trial, 0.0
        return trial, size / (statistics.mean(times) if has_workers else statistics.median(times))

    def _limit_s(self, changes: Changes, left_s: float | None) -> float:
        ratio = _COMPILING_RATIO if "compile" in changes else 1
        limit_s = ratio * self._asked.lever_time_limit_s
        return limit_s if left_s is None else min(limit_s, left_s)

    def _search(self, trainer: Trainer, settings: Settings) -> Finding:
        name, clock = self._opener.name, self._clock
        return find(trainer, settings, target=name, observer=self._observer, clock=clock)

    def _offer_loader(self, trainer: Trainer, finding: Finding) -> dict[str, tuple[str, ...]]:
        """The loader's settings to try, where waiting for data is the bound."""
        settings = replace(finding.settings, time_limit_s=_LOADER_TIME_S)
        asked = replace(finding, settings=settings, search_time_s=0.0)
        choice = examine_loading(trainer, asked).loading
        best = None if choice is None else find_likely(choice, count_batches(finding))
        return {} if best is None else {"loader": (loader_value(best),)}

    def _find_size(
        self, trainer: Trainer, start: Start, against: Attempt, changes: Changes, deadline: float
    ) -> Sized:
        """Climb from the size of other settings, timed in turn with them.

        Only on CPUs: on a GPU two processes would share its memory, and timings scatter little.
        """
        other = against.batch_size or 1

        def run(size: int, purpose: Purpose) -> tuple[Trial, float]:
            self._observer.trial_started(size, Phase.SEARCH)
            return self.time_round(trainer, start, changes, size, purpose)

        def reference() -> float:
            if start.device != "cpu":
                return against.samples_per_s or 0.0
            opened = self._open_reference(start, against.changes)
            trial, rate = self.time_round(opened, start, against.changes, other, Purpose.RACE)
            if not rate:
                raise WorkloadError(
                    f"batch size {other} fitted, and does not any more: {trial.message}",
                    hint="keep memory free of other processes",
                )
            return rate

        peak_bytes = against.peak_bytes or start.limits.first_peak_bytes
        limits = replace(start.limits, first=other, first_peak_bytes=peak_bytes)
        return find_size(run, reference, limits, lambda: self._clock() > deadline)

    def _open_reference(self, start: Start, changes: Changes) -> Trainer:
        """A worker that stays, and is replaced where it is timed against other settings."""
        if self._reference is None or self._reference[0] != changes:
            self.references.close()
            opened = self._opener.open(changes, start.remedy)
            self._reference = changes, self.references.enter_context(opened)
            self._reference[1].load(timeout_s=self._settings.trial_timeout_s)
        return self._reference[1]

    def _to_start(self, finding: Finding, begin: float) -> Attempt:
        estimates = finding.decision.estimates
        best = finding.decision.estimate_of(finding.batch_size)
        if best is None:
            raise WorkloadError(
                f"batch size {finding.batch_size} was not timed", hint="raise `lever_time_limit`"
            )
        peaks = {each.batch_size: each.peak_bytes for each in finding.trials}
        return Attempt(
            changes={},
            outcome=AttemptOutcome.MEASURED,
            batch_size=best.batch_size,
            samples_per_s=best.samples_per_s,
            peak_bytes=peaks[best.batch_size],
            ratios=(1.0,),
            sizes=tuple(
                (each.batch_size, each.samples_per_s, peaks[each.batch_size]) for each in estimates
            ),
            time_s=self._clock() - begin,
        )

    def _find_limits(self, finding: Finding, first: Attempt) -> Limits:
        settings, size = self._settings, first.batch_size or 1
        global_size = settings.global_batch_size
        caps = (
            settings.max_batch_size,
            global_size and global_size // settings.num_devices,
            settings.dataset_size or finding.workload.dataset_size,
        )
        curve, least = finding.memory_curve, (1 - _FALLEN_FRACTION) * (first.samples_per_s or 0.0)
        has_fallen = any(
            each.batch_size > size and each.samples_per_s < least
            for each in finding.decision.estimates
        )
        return Limits(
            first=size,
            smallest=min(size, settings.first_batch_size),
            largest=min((cap for cap in caps if cap), default=2**26),
            budget_bytes=finding.budget.budget_bytes,
            first_peak_bytes=first.peak_bytes or 0,
            per_sample_bytes=curve.per_sample_bytes if curve else 0.0,
            noise_fraction=finding.decision.noise_fraction,
            is_bound_by_memory=finding.stop_reason in _MEMORY,
            has_fallen=has_fallen,
        )
