"""A search as it runs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from autobatch.decide.race import share_out
from autobatch.decide.step import next_step
from autobatch.errors import AutobatchError, SearchInterrupted, WorkerError
from autobatch.finder.beyond import IsOver, Measure, failed
from autobatch.finder.buckets import find_buckets
from autobatch.finder.conclude import conclude, nothing_fits
from autobatch.finder.evaluation import search_evaluation
from autobatch.finder.evidence import Evidence
from autobatch.finder.plans import (
    CONFIRM_AGAIN_PLAN,
    CONFIRMATION_PLAN,
    CONTEST_PLAN,
    confirmation_time_s,
    contest_time_s,
    plan_search,
)
from autobatch.finder.runs import Run
from autobatch.noise.plan import plan_noise, require_noise_prober
from autobatch.probe.probers import NoiseProber, Prober
from autobatch.probe.protocol import TimingPlan
from autobatch.recommend.choice import choose_exact, find_exact_size
from autobatch.records import (
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

_MAX_CONTEST_ROUNDS = 60
# Timing sizes again may take so much of the time that the search took, and a little more where that
# was short.
_CONTEST_TIME_S = 6.0
_CONTEST_SHARE = 0.6
# Each thing that is looked for after the answer may take as long as all before it, or a little
# more if that was short.
_EVALUATION_TIME_S = 15.0
# Reading data and importing libraries may take longer than any step.
_LOADING_TIME_S = 600.0
# An allocator makes the peaks of one size differ from run to run, on CPU by some percent.
_CLOSE_FRACTION = 0.05
_MAX_CONFIRMATIONS = 3
# What has taken this long was many steps, or is too slow to be asked again.
_CONFIRMATION_TIME_S = 4.0


def find(
    prober: Prober,
    settings: Settings,
    *,
    target: str,
    observer: Observer | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Finding:
    """Find the batch size for a workload.

    Args:
        prober: Loads the workload and runs it.
        settings: What is asked.
        target: The workload's name, for the finding.
        observer: Is told of every trial.
        clock: Seconds from any origin.

    Returns:
        A finding whose batch size ran and fitted in this call.

    Raises:
        NothingFitsError: If the smallest size did not fit.
        SearchInterrupted: On Ctrl-C once a size has fitted; carries the best answer so far.
        AutobatchError: If the workload or the device cannot be measured; carries the trials.
    """
    session = _Session(prober, settings, observer or SilentObserver(), clock)
    try:
        session.run()
        return session.conclude(target)
    except KeyboardInterrupt:
        if session.evidence is None or not session.evidence.has_answer:
            raise
        session.evidence.stop_reason = StopReason.INTERRUPTED
        raise SearchInterrupted(session.conclude(target)) from None
    except AutobatchError as error:
        if isinstance(error, WorkerError) and session.stop_for_time():
            return session.conclude(target)  # it died, and there was no time to start another
        if session.evidence is not None:
            error.trials = error.trials or tuple(session.evidence.trials.values())
        raise


class _Session:
    """Runs trials until the evidence settles the question."""

    def __init__(
        self,
        prober: Prober,
        settings: Settings,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self.evidence: Evidence | None = None
        self._prober = prober
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._begin = self._first_trial_s = clock()
        self._contest_times_s: defaultdict[int, float] = defaultdict(float)
        self._round_number = 0
        self._last_fitting: Run | None = None

    def run(self) -> None:
        require_noise_prober(self._prober, self._settings)
        loaded = self._prober.load(timeout_s=self._timeout_s(_LOADING_TIME_S))
        self._first_trial_s = self._clock()
        evidence = self.evidence = Evidence(settings=self._settings, loaded=loaded)
        self._observer.loaded(loaded.workload, loaded.budget, loaded.device)
        self._search(evidence)
        while evidence.has_answer:
            if self._settle(evidence) and (self._is_time_up() or self._confirm(evidence)):
                self._evaluate(evidence)
                self._find_buckets(evidence)
                return
            self._search(evidence)  # sizes that it had jumped over may now be the largest
        raise nothing_fits(evidence)

    def stop_for_time(self) -> bool:
        """Say whether the time is up and there is an answer; if so, that is why it stopped."""
        if self.evidence is None or not self.evidence.has_answer or not self._is_time_up():
            return False
        self.evidence.stop_reason = StopReason.TIME_LIMIT
        return True

    def conclude(self, target: str) -> Finding:
        assert self.evidence is not None
        return conclude(self.evidence, target=target, search_time_s=self._clock() - self._begin)

    def _search(self, evidence: Evidence) -> None:
        rules = evidence.make_rules()
        while not self._is_time_up():
            step = next_step(rules, evidence.trials)
            if step.batch_size is not None:
                self._probe(evidence, step.batch_size)
                continue
            assert step.stop_reason is not None
            evidence.stop_reason = step.stop_reason
            self._measure_noise(evidence)
            if not self._hold_contest(evidence):
                return
        evidence.stop_reason = StopReason.TIME_LIMIT

    def _probe(self, evidence: Evidence, batch_size: int) -> None:
        plan = plan_search(self._settings.goal, evidence.trials, batch_size)
        if evidence.is_expected_answer(batch_size):
            plan = CONFIRMATION_PLAN  # rather than run it twice
        self._observer.trial_started(batch_size, Phase.SEARCH)
        trial = evidence.trials[batch_size] = self._run(evidence, batch_size, plan).as_first_run()
        self._observer.trial_finished(trial, Phase.SEARCH)

    def _measure_noise(self, evidence: Evidence) -> None:
        """Measure the gradient noise scale, once, if the answer needs it."""
        is_wanted = self._settings.wants_noise and evidence.noise is None
        if not is_wanted or not evidence.has_answer or self._is_time_up():
            return
        assert isinstance(self._prober, NoiseProber)
        plan = plan_noise(evidence, self._time_left_s())
        self._observer.trial_started(plan.micro_batch_size, Phase.NOISE)
        self._last_fitting = None
        evidence.noise = self._prober.measure_noise(plan, timeout_s=self._timeout_s())

    def _hold_contest(self, evidence: Evidence) -> bool:
        """Time the sizes in doubt once more, in turn; say whether anything was timed."""
        is_over = self._round_number >= _MAX_CONTEST_ROUNDS or self._is_time_up()
        if self._settings.goal is Goal.MEMORY or not evidence.has_answer or is_over:
            return False
        contestants = evidence.find_contestants()
        if not contestants:
            return False
        contestants = share_out(contestants, self._contest_times_s)
        cost_s = sum(contest_time_s(evidence.trials[size]) for size in contestants)
        spent_s = sum(self._contest_times_s.values())
        search_time_s = self._clock() - self._first_trial_s - spent_s
        allowed_s = max(_CONTEST_TIME_S, _CONTEST_SHARE * search_time_s)
        if spent_s + cost_s > allowed_s:
            return False
        left_s = self._time_left_s()
        final_s = confirmation_time_s(evidence.trials[max(contestants)])
        if left_s is not None and left_s < cost_s + final_s:
            return False  # better one final run than one more round
        self._round_number += 1
        plan = replace(CONTEST_PLAN, round_number=self._round_number)
        for size in contestants:
            begin = self._clock()
            self._time_again(evidence, size, plan)
            self._contest_times_s[size] += self._clock() - begin
        return True

    def _time_again(self, evidence: Evidence, size: int, plan: TimingPlan) -> None:
        self._observer.trial_started(size, Phase.TIMING)
        again = self._run(evidence, size, plan).trial
        if again.fits:
            evidence.trials[size] = evidence.trials[size].with_round(again)
        elif again.outcome is not Outcome.TIMED_OUT:
            # What fitted a moment ago no longer does: something took the memory.
            evidence.trials[size] = again
        self._observer.trial_finished(evidence.trials[size], Phase.TIMING)

    def _settle(self, evidence: Evidence) -> bool:
        """Settle on a size; prefer one that divides the global batch, if it is about as fast.

        Returns:
            Whether there is one; not if that divisor failed, and all that is larger with it.
        """
        evidence.choice = evidence.choose()
        size = find_exact_size(self._settings, evidence.choice.batch_size)
        if size is None:
            return True
        if size not in evidence.trials and not self._is_time_up():
            self._probe(evidence, size)
        if size not in evidence.fitting:
            has_failed = size in evidence.trials
            evidence.choice = evidence.choose() if evidence.has_answer else None
            return not has_failed
        log_ratio, error = evidence.rates()[0].log_ratio(size, evidence.choice.batch_size)
        if log_ratio + error >= -self._settings.tolerance_fraction:
            evidence.choice = choose_exact(self._settings, size)
        return True

    def _confirm(self, evidence: Evidence) -> bool:
        """Have run the chosen size last, longer, with the memory that there is by then."""
        assert evidence.choice is not None
        size = evidence.choice.batch_size
        if self._last_fitting is not None and self._last_fitting.is_final_for(size):
            run = self._run_again_if_close(evidence, self._last_fitting)
        else:
            self._observer.trial_started(size, Phase.CONFIRMATION)
            run = self._run(evidence, size, CONFIRMATION_PLAN)
            run = self._run_again_if_close(evidence, run)
            self._observer.trial_finished(run.trial, Phase.CONFIRMATION)
        if run.trial.outcome is Outcome.TIMED_OUT and self._is_time_up():
            return True
        if not run.trial.fits:
            evidence.trials[size] = run.trial
            return False
        is_compiled = evidence.loaded.workload.is_compiled
        told = _without_memory(run.trial) if is_compiled else run.trial
        evidence.trials[size] = evidence.trials[size].confirmed_by(told)
        evidence.confirmation = run.to_confirmation()
        return True

    def _run_again_if_close(self, evidence: Evidence, run: Run) -> Run:
        """Run a size more often if its peak comes close to the budget and that takes no time."""
        close_bytes = (1 - _CLOSE_FRACTION) * evidence.loaded.budget.budget_bytes
        for _ in range(_MAX_CONFIRMATIONS - 1):
            is_enough = self._is_time_up() or run.time_s > _CONFIRMATION_TIME_S
            if not run.trial.fits or (run.trial.peak_bytes or 0) < close_bytes or is_enough:
                break
            again = self._run(evidence, run.trial.batch_size, CONFIRM_AGAIN_PLAN)
            run = run.followed_by(again)
        return run

    def _evaluate(self, evidence: Evidence) -> None:
        """Look for the size for evaluation, if that was asked, or the training's is too large."""
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
        """Look for more than the answer, which stands whatever happens meanwhile."""
        end = self._clock() + max(_EVALUATION_TIME_S, self._clock() - self._begin)

        def is_over() -> bool:
            return phase in evidence.failures or self._is_time_up() or self._clock() > end

        def measure(batch_size: int, plan: TimingPlan) -> Trial | None:
            self._observer.trial_started(batch_size, phase)
            try:
                trial = self._prober.measure(batch_size, plan, timeout_s=self._timeout_s())
            except Exception as error:  # the user's code may raise anything
                evidence.failures[phase] = failed(batch_size, plan, error)
                return None
            self._observer.trial_finished(trial, phase)
            return trial

        search(evidence, measure, is_over)

    def _run(self, evidence: Evidence, batch_size: int, plan: TimingPlan) -> Run:
        begin = self._clock()
        trial = self._measure(evidence, batch_size, plan)
        time_s = self._clock() - begin
        run = Run(plan=plan, trial=trial, num_steps=trial.num_steps, time_s=time_s)
        if trial.fits:
            self._last_fitting = run
        return run

    def _measure(self, evidence: Evidence, batch_size: int, plan: TimingPlan) -> Trial:
        trial = self._prober.measure(batch_size, plan, timeout_s=self._timeout_s())
        is_surprise = not evidence.trials or batch_size in evidence.fitting
        if trial.outcome is Outcome.KILLED and is_surprise and not self._is_time_up():
            # Whoever killed it may have meant another: the second time counts.
            trial = self._prober.measure(batch_size, plan, timeout_s=self._timeout_s())
        return trial

    def _timeout_s(self, extra_s: float = 0.0) -> float:
        timeout_s = self._settings.trial_timeout_s + extra_s
        left_s = self._time_left_s()
        return timeout_s if left_s is None else min(timeout_s, left_s)

    def _time_left_s(self) -> float | None:
        if self._settings.time_limit_s is None:
            return None
        return max(0.0, self._settings.time_limit_s - (self._clock() - self._begin))

    def _is_time_up(self) -> bool:
        return self._time_left_s() == 0.0


def _without_memory(trial: Trial) -> Trial:
    """A compiled run as it may stand beside eager ones: on no line with their peaks."""
    return replace(
        trial, peak_bytes=None, host_peak_bytes=None, loader_bytes=None, pinned_bytes=None
    )
