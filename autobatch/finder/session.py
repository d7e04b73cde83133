"""The loop of a search: carries out what ``decide`` asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from autobatch.decide.action import Finish, MeasureWorth, Run, Time, next_action
from autobatch.decide.numbers import NUMBERS
from autobatch.errors import AutobatchError, SearchInterrupted, WorkerError, cause_of
from autobatch.finder.beyond import IsOver, Measure, failed
from autobatch.finder.buckets import find_buckets
from autobatch.finder.conclude import conclude, nothing_fits
from autobatch.finder.contention import count_busy_cores, find_remedy
from autobatch.finder.evaluation import search_evaluation
from autobatch.finder.evidence import Evidence
from autobatch.finder.forecast import Forecast
from autobatch.finder.plans import FINAL_AGAIN_PLAN, FINAL_PLAN, RACE_PLAN, plan_search
from autobatch.finder.runs import Measured
from autobatch.finder.worth import Worth
from autobatch.probe.probers import Prober
from autobatch.probe.protocol import TimingPlan
from autobatch.recommend.accumulation import count_passes
from autobatch.records import (
    Axis,
    Finding,
    Goal,
    Observer,
    Outcome,
    Phase,
    Settings,
    SilentObserver,
    StopReason,
    Trial,
)

# Each search after the answer may take as long as all before it, or this long if that was short.
_EVALUATION_TIME_S = 15.0
# Reading data and importing libraries may take longer than any step. A limit below the usual one
# is meant to hold for loading too.
_LOADING_TIME_S = 600.0
_USUAL_LIMIT_S = 120.0
_MAX_FINALS_OF_A_SIZE = 3


def find(
    prober: Prober,
    settings: Settings,
    *,
    target: str,
    observer: Observer | None = None,
    worth: Worth | None = None,
    forecast: Forecast | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Finding:
    """Find the batch size for a workload.

    Args:
        prober: Loads the workload and runs it.
        settings: What to look for.
        target: The workload's name, for the finding.
        observer: Notified of every trial.
        worth: Measures the value of a sample at each size, for ``Goal.EFFICIENCY``.
        forecast: Predicts memory, for ``Goal.MEMORY``.
        clock: Returns seconds from any origin.

    Returns:
        A finding whose batch size ran and fitted in this call.

    Raises:
        NothingFitsError: If the smallest size did not fit.
        SearchInterrupted: On Ctrl-C once a size has fitted; carries the best answer so far.
        AutobatchError: If the workload or the device cannot be measured; carries the trials.
    """
    session = _Session(prober, settings, observer or SilentObserver(), worth, forecast, clock)
    try:
        session.run()
        return session.conclude(target)
    except KeyboardInterrupt:
        session.keep_answer()
        if session.evidence is None or not session.evidence.has_answer:
            raise
        session.evidence.stop_reason = StopReason.INTERRUPTED
        raise SearchInterrupted(session.conclude(target)) from None
    except AutobatchError as error:
        session.keep_answer()
        if isinstance(error, WorkerError) and session.stop_for_time():
            return session.conclude(target)  # it died, and there was no time to start another
        if session.evidence is not None:
            error.trials = error.trials or tuple(session.evidence.trials.values())
        raise


class _Session:
    """Asks what to do next and does it, until the search finishes."""

    def __init__(
        self,
        prober: Prober,
        settings: Settings,
        observer: Observer,
        worth: Worth | None,
        forecast: Forecast | None,
        clock: Callable[[], float],
    ) -> None:
        self.evidence: Evidence | None = None
        self._prober = prober
        self._settings = settings
        self._observer = observer
        self._worth = worth
        self._forecast = forecast if settings.goal is Goal.MEMORY else None
        self._clock = clock
        self._begin = self._first_trial_s = self._limit_begin = clock()
        self._looked_for_remedy = False
        self._before_remedy: dict[int, Trial] = {}

    def run(self) -> None:
        if self._worth is not None:
            self._worth.require(self._prober)
        limit_s = self._settings.time_limit_s
        loading_s = self._settings.trial_timeout_s + _LOADING_TIME_S
        is_short = limit_s is not None and limit_s < _USUAL_LIMIT_S
        loaded = self._prober.load(timeout_s=limit_s if is_short else loading_s)
        if self._worth is not None:
            self._worth.require_data(loaded)
        self._first_trial_s = self._clock()
        if not is_short:
            self._limit_begin = self._first_trial_s
        evidence = Evidence(
            settings=self._settings, loaded=loaded, worth=self._worth, forecast=self._forecast
        )
        self.evidence = evidence
        self._observer.loaded(loaded.workload, loaded.budget, loaded.device)
        while not isinstance(action := next_action(evidence.progress(), self._time()), Finish):
            if isinstance(action, MeasureWorth):
                self._measure_worth(evidence)
            else:
                self._carry_out(evidence, action)
        evidence.stop_reason = action.reason
        self.keep_answer()
        if not evidence.has_answer:
            raise nothing_fits(evidence)
        self._evaluate(evidence)
        self._find_buckets(evidence)

    def keep_answer(self) -> None:
        """Where the search ended before anything ran with a remedy, keep what ran without it."""
        if self.evidence is not None and not self.evidence.trials and self._before_remedy:
            self.evidence.trials.update(self._before_remedy)
            self.evidence.contention = None

    def stop_for_time(self) -> bool:
        """Whether time is up and there is an answer; if so, note it as the reason to stop."""
        if self.evidence is None or not self.evidence.has_answer or not self._is_time_up():
            return False
        self.evidence.stop_reason = StopReason.TIME_LIMIT
        return True

    def conclude(self, target: str) -> Finding:
        assert self.evidence is not None
        return conclude(self.evidence, target=target, search_time_s=self._clock() - self._begin)

    def _carry_out(self, evidence: Evidence, action: Run) -> None:
        if action.phase is Phase.TIMING:
            evidence.num_rounds += 1
            plan = replace(RACE_PLAN, round_number=evidence.num_rounds)
            for size in action.batch_sizes:
                self._race(evidence, size, plan)
        elif action.phase is Phase.CONFIRMATION:
            self._confirm(evidence, *action.batch_sizes)
        else:
            self._search(evidence, *action.batch_sizes)

    def _search(self, evidence: Evidence, batch_size: int) -> None:
        plan = plan_search(self._settings.goal)
        is_final = evidence.is_expected_answer(batch_size)
        if is_final:
            plan = FINAL_PLAN  # rather than run it twice
        self._observer.trial_started(batch_size, Phase.SEARCH)
        run = self._measure_and_keep(evidence, batch_size, plan)
        if is_final:
            run = self._run_again_if_close(evidence, run)
        evidence.trials[batch_size] = run.as_first_run()
        if is_final and run.trial.fits:
            evidence.confirmations[batch_size] = run.to_confirmation()
        self._observer.trial_finished(evidence.trials[batch_size], Phase.SEARCH)
        if self._forecast is not None and len(evidence.trials) == 1 and run.trial.fits:
            evidence.proposal = self._forecast.propose(
                evidence.loaded, run.trial, timeout_s=self._timeout_s()
            )
        self._relieve(evidence)

    def _relieve(self, evidence: Evidence) -> None:
        """Once, where other processes keep the cores busy: find what helps, and begin anew."""
        if self._looked_for_remedy or not evidence.has_answer or self._is_time_up():
            return
        others_busy_cores = count_busy_cores(evidence)
        if others_busy_cores is None:
            return
        self._looked_for_remedy = True

        def measure(batch_size: int, num_threads: int | None) -> Trial:
            self._observer.trial_started(batch_size, Phase.TIMING)
            plan = replace(RACE_PLAN, num_threads=num_threads)
            return self._measure_and_keep(evidence, batch_size, plan).trial

        evidence.contention = find_remedy(self._prober, evidence, others_busy_cores, measure)
        if evidence.contention is not None:
            self._before_remedy = dict(evidence.trials)
            evidence.trials.clear()
            evidence.confirmations.clear()
            self._observer.begun_anew(evidence.contention)

    def _measure_worth(self, evidence: Evidence) -> None:
        assert self._worth is not None
        left_s = self._time().left_s
        self._worth.measure(
            self._prober,
            evidence,
            self._observer,
            time_left_s=left_s,
            timeout_s=self._timeout_s(),
        )

    def _race(self, evidence: Evidence, size: int, plan: TimingPlan) -> None:
        begin = self._clock()
        self._observer.trial_started(size, Phase.TIMING)
        again = self._measure_and_keep(evidence, size, plan).trial
        if again.fits:
            evidence.trials[size] = evidence.trials[size].with_round(again)
        elif again.outcome is not Outcome.TIMED_OUT:
            # What fitted a moment ago no longer does: something took the memory.
            evidence.trials[size] = again
        self._observer.trial_finished(evidence.trials[size], Phase.TIMING)
        evidence.raced_s += self._clock() - begin

    def _confirm(self, evidence: Evidence, size: int) -> None:
        """Run the chosen size last, for longer, with the memory that is free by then."""
        self._observer.trial_started(size, Phase.CONFIRMATION)
        run = self._measure_and_keep(evidence, size, FINAL_PLAN)
        run = self._run_again_if_close(evidence, run)
        self._observer.trial_finished(run.trial, Phase.CONFIRMATION)
        if run.trial.outcome is Outcome.TIMED_OUT and self._is_time_up():
            return
        if not run.trial.fits:
            evidence.refused += ((evidence.trials[size], run.trial),)
            evidence.trials[size] = run.trial
            return
        is_compiled = evidence.loaded.workload.is_compiled
        told = _without_memory(run.trial) if is_compiled else run.trial
        evidence.trials[size] = evidence.trials[size].confirmed_by(told)
        if not is_compiled:  # the others ran eagerly
            evidence.count_final_steps(run.trial)
        evidence.confirmations[size] = run.to_confirmation()

    def _run_again_if_close(self, evidence: Evidence, run: Measured) -> Measured:
        """Run a size more often if its peak comes close to the budget and that takes no time."""
        close_bytes = (1 - NUMBERS.peak_scatter) * evidence.loaded.budget.budget_bytes
        for _ in range(_MAX_FINALS_OF_A_SIZE - 1):
            is_enough = self._is_time_up() or run.time_s > NUMBERS.repeat_time_s
            if not run.trial.fits or (run.trial.peak_bytes or 0) < close_bytes or is_enough:
                break
            again = self._measure_and_keep(evidence, run.trial.batch_size, FINAL_AGAIN_PLAN)
            run = run.followed_by(again)
        return run

    def _evaluate(self, evidence: Evidence) -> None:
        """Find the size for evaluation, if asked to or if the training size is too large for it."""
        if self._settings.axis is not Axis.BATCH_SIZE:
            return
        confirmation = evidence.confirmation
        is_too_large = confirmation is not None and confirmation.eval_fits is False
        can_evaluate = confirmation is None or confirmation.eval_fits is not None
        if not (self._settings.evaluation and can_evaluate) and not is_too_large:
            return
        self._look_beyond(evidence, Phase.EVALUATION, search_evaluation)

    def _find_buckets(self, evidence: Evidence) -> None:
        lengths = evidence.loaded.workload.lengths
        if self._settings.by_length and lengths is not None and lengths.differ:
            self._look_beyond(evidence, Phase.LENGTHS, find_buckets)

    def _look_beyond(
        self,
        evidence: Evidence,
        phase: Phase,
        search: Callable[[Evidence, Measure, IsOver], None],
    ) -> None:
        """Run a search after the answer; its failure does not affect the answer."""
        end = self._clock() + max(_EVALUATION_TIME_S, self._clock() - self._begin)

        def is_over() -> bool:
            return phase in evidence.failures or self._is_time_up() or self._clock() > end

        def measure(batch_size: int, plan: TimingPlan) -> Trial | None:
            self._observer.trial_started(batch_size, phase)
            if phase is Phase.LENGTHS:
                plan = replace(plan, num_passes=count_passes(self._settings, batch_size))
            try:
                trial = self._prober.measure(batch_size, plan, timeout_s=self._timeout_s())
            except Exception as error:  # the user's code may raise anything
                evidence.failures[phase] = failed(batch_size, plan, cause_of(error))
                return None
            if trial.outcome is Outcome.FAILED:
                evidence.failures[phase] = failed(batch_size, plan, trial.message)
                return None
            self._observer.trial_finished(trial, phase)
            return trial

        search(evidence, measure, is_over)

    def _measure_and_keep(self, evidence: Evidence, batch_size: int, plan: TimingPlan) -> Measured:
        begin = self._clock()
        plan = replace(plan, num_passes=count_passes(self._settings, batch_size))
        if evidence.contention is not None:
            plan = replace(plan, num_threads=evidence.contention.num_threads)
        trial = self._prober.measure(batch_size, plan, timeout_s=self._timeout_s())
        is_surprise = not evidence.trials or batch_size in evidence.fitting
        if trial.outcome is Outcome.KILLED and is_surprise and not self._is_time_up():
            # The kill may have been meant for another process: the second run counts.
            trial = self._prober.measure(batch_size, plan, timeout_s=self._timeout_s())
        return Measured(trial=trial, num_steps=trial.num_steps, time_s=self._clock() - begin)

    def _time(self) -> Time:
        now = self._clock()
        limit_s = self._settings.time_limit_s
        left_s = None if limit_s is None else max(0.0, limit_s - (now - self._limit_begin))
        start_s = 0.0 if self.evidence is None else self.evidence.loaded.final_start_s
        return Time(spent_s=now - self._first_trial_s, left_s=left_s, final_start_s=start_s)

    def _timeout_s(self) -> float:
        timeout_s, left_s = self._settings.trial_timeout_s, self._time().left_s
        return timeout_s if left_s is None else min(timeout_s, left_s)

    def _is_time_up(self) -> bool:
        return self._time().is_up


def _without_memory(trial: Trial) -> Trial:
    """A compiled run without memory figures, which do not belong on the eager runs' curve."""
    return replace(
        trial,
        peak_bytes=None,
        peak_allocated_bytes=None,
        peak_reserved_bytes=None,
        host_peak_bytes=None,
        loader_bytes=None,
        pinned_bytes=None,
    )
