"""What is looked for after the answer may fail; the answer stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autobatch.errors import WorkerError, WorkloadError
from autobatch.finder import find
from autobatch.probe.protocol import Loaded, Purpose, TimingPlan
from autobatch.records import (
    Finding,
    FindingWarning,
    LengthScan,
    Outcome,
    Phase,
    Settings,
    SilentObserver,
    Trial,
    WarningCode,
)
from autobatch.reporting.warnings import advise
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

GIB = 2**30
LENGTHS = LengthScan(
    num_scanned=100,
    num_samples=100,
    shortest=20,
    median=40.0,
    longest=160,
    measure="elements",
    steps_down=(160, 80, 40, 20),
)


class Beyond(SimulatedProber):
    """Evaluation takes a quarter of a step's memory, and a length its share of the longest.

    Args:
        fails_from: Kind of plan (``evaluate`` or a length) and size from which on it raises.
        error: What it raises.
        lengths: What a scan found.
    """

    def __init__(
        self,
        asked: Settings,
        *,
        fails_from: tuple[Any, int] | None = None,
        error: BaseException | None = None,
        lengths: LengthScan | None = LENGTHS,
    ) -> None:
        super().__init__(SimulatedWorkload.linear(), SimulatedDevice(10 * GIB), asked)
        self._fails_from, self._error, self._lengths = fails_from, error, lengths

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        loaded = super().load(timeout_s=timeout_s)
        return replace(loaded, workload=replace(loaded.workload, lengths=self._lengths))

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        is_evaluation = plan.purpose is Purpose.EVALUATION
        kind = "evaluate" if is_evaluation else plan.longest
        if kind is None:
            trial = super().measure(batch_size, plan, timeout_s=timeout_s)
            return replace(trial, eval_fits=True) if plan.is_confirmation else trial
        self.runs.append((batch_size, plan))
        failing, size = self._fails_from or (None, 0)
        if kind == failing and batch_size >= size and self._error is not None:
            raise self._error
        share = 0.25 if is_evaluation else (plan.longest or 0) / LENGTHS.longest
        peak_bytes = 2**28 + round(share * 2**20 * batch_size)
        fits = peak_bytes <= self._budget_bytes
        outcome = Outcome.FITS if fits else Outcome.OUT_OF_MEMORY
        return Trial(batch_size=batch_size, outcome=outcome, peak_bytes=peak_bytes)


def search(prober: Beyond, asked: Settings, observer: Any = None) -> Finding:
    return find(prober, asked, target="simulated", observer=observer, clock=prober.clock)


def warning_of(finding: Finding, code: WarningCode) -> FindingWarning:
    return next(warning for warning in finding.warnings if warning.code is code)


ERRORS = pytest.mark.parametrize(
    ("error", "words"),
    [
        (WorkloadError("LookupError in a trial at batch size 1024: no"), "(LookupError in a trial"),
        (LookupError("no"), "(LookupError: no)"),
        (WorkerError("the measuring process ended"), "(the measuring process ended)"),
    ],
    ids=["fork", "shared", "worker"],
)


@ERRORS
def test_an_error_in_the_search_for_the_evaluation_size_keeps_the_answer(
    error: Exception, words: str
) -> None:
    asked = Settings(evaluation=True)
    plain = search(Beyond(asked), asked)
    finding = search(Beyond(asked, fails_from=("evaluate", 1024), error=error), asked)
    assert finding.batch_size == plain.batch_size < 1024
    assert finding.confirmation == plain.confirmation
    assert plain.eval_batch_size is not None and plain.eval_batch_size > 1024
    assert finding.eval_batch_size is not None and finding.batch_size <= finding.eval_batch_size
    assert finding.eval_batch_size in {trial.batch_size for trial in finding.eval_trials}
    assert not finding.recommendation.eval_is_largest
    failed = warning_of(finding, WarningCode.EVALUATION_FAILED)
    advice = advise(failed)
    assert f"at batch size {failed.figures['batch_size']:,} failed {words}" in advice.happened
    assert failed.figures["batch_size"] >= 1024


def test_an_evaluation_that_fails_from_once_leaves_the_size_that_was_confirmed() -> None:
    asked = Settings(evaluation=True)
    size = search(Beyond(asked), asked).batch_size
    finding = search(Beyond(asked, fails_from=("evaluate", size), error=LookupError()), asked)
    assert finding.eval_batch_size == finding.batch_size == size
    assert finding.eval_trials == ()


@ERRORS
def test_an_error_in_the_search_by_length_keeps_the_answer_and_what_ran(
    error: Exception, words: str
) -> None:
    asked = Settings(by_length=True)
    whole = search(Beyond(asked), asked)
    assert [bucket.longest for bucket in whole.buckets] == [160, 80, 40, 20]
    assert WarningCode.NO_SIZES_BY_LENGTH not in {warning.code for warning in whole.warnings}
    size = whole.buckets[1].batch_size
    prober = Beyond(asked, fails_from=(80, size), error=error)
    finding = search(prober, asked)
    assert finding.batch_size == whole.batch_size
    assert finding.buckets[0] == whole.buckets[0]
    assert all(bucket in whole.buckets[:1] or bucket.longest == 80 for bucket in finding.buckets)
    assert prober.runs[-1][0] == size, "nothing is run after it"
    advice = advise(warning_of(finding, WarningCode.LENGTHS_FAILED))
    assert f"at batch size {size:,} on samples up to 80 long failed {words}" in advice.happened


def test_an_error_in_one_search_does_not_end_the_other() -> None:
    asked = Settings(evaluation=True, by_length=True)
    finding = search(Beyond(asked, fails_from=("evaluate", 1024), error=LookupError()), asked)
    assert len(finding.buckets) == 4
    assert WarningCode.EVALUATION_FAILED in {warning.code for warning in finding.warnings}


def test_what_the_observer_raises_and_ctrl_c_are_not_taken_for_the_workloads() -> None:
    class Raising(SilentObserver):
        def trial_finished(self, trial: Trial, phase: Phase) -> None:
            if phase is Phase.EVALUATION:
                raise LookupError("the caller's own")

    asked = Settings(evaluation=True)
    with pytest.raises(LookupError, match="the caller's own"):
        search(Beyond(asked), asked, Raising())
    with pytest.raises(KeyboardInterrupt) as caught:
        search(Beyond(asked, fails_from=("evaluate", 1024), error=KeyboardInterrupt()), asked)
    assert caught.value.finding.confirmation is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        (None, "the lengths of the samples are not known"),
        (
            replace(LENGTHS, shortest=160),
            "looked at are of one length, 160 elements",
        ),
    ],
    ids=["unknown", "alike"],
)
def test_sizes_by_length_that_cannot_be_are_said(lengths: LengthScan | None, words: str) -> None:
    asked = Settings(by_length=True)
    finding = search(Beyond(asked, lengths=lengths), asked)
    assert finding.buckets == ()
    assert words in advise(warning_of(finding, WarningCode.NO_SIZES_BY_LENGTH)).happened
    quiet = search(Beyond(Settings(), lengths=lengths), Settings())
    assert WarningCode.NO_SIZES_BY_LENGTH not in {warning.code for warning in quiet.warnings}


def test_a_time_limit_that_leaves_no_time_for_sizes_by_length_is_said() -> None:
    asked = Settings(by_length=True, time_limit_s=1e-6)
    prober = Beyond(asked)
    asked = replace(asked, time_limit_s=0.3)
    finding = search(prober, asked)
    assert finding.buckets == ()
    advice = advise(warning_of(finding, WarningCode.NO_SIZES_BY_LENGTH))
    assert "none was found in the time that there was" in advice.happened
