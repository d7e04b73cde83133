"""The batch size that fits the memory budget, for each range of lengths.

From the longest range to the shortest, a fit of peak memory against batch size and length proposes
the next size. Only a size that ran and fitted is an answer.
"""

from __future__ import annotations

from autobatch.decide.lengths import fit_length_memory
from autobatch.finder.beyond import IsOver, Measure
from autobatch.finder.evidence import Evidence
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.recommend.inputs import find_dataset_size
from autobatch.records import LengthBucket

_MAX_TRIALS = 5
_MAX_JUMP = 4
_GOOD_ENOUGH = 1.1
# Aim below the budget, so that a small error of the fit wastes no trial.
_AIM_FRACTION = 0.95
_WHOLE_MULTIPLE = 8


def find_buckets(
    evidence: Evidence,
    measure: Measure,
    is_over: IsOver,
) -> None:
    """Find the size of each bucket, longest first.

    Args:
        evidence: At least one size has fitted, and lengths were scanned; receives the buckets
            for which a size ran and fitted.
        measure: Runs one size; returns ``None`` if it raised.
        is_over: Whether to stop with the buckets found so far.
    """
    lengths = evidence.loaded.workload.lengths
    assert lengths is not None
    search = _BucketSearch(evidence, measure, is_over)
    start = evidence.choose().batch_size
    for longest in lengths.steps_down:
        bucket = search.run(longest, start)
        if bucket is not None:
            evidence.buckets += (bucket,)
            start = bucket.batch_size


class _BucketSearch:
    def __init__(
        self,
        evidence: Evidence,
        measure: Measure,
        is_over: IsOver,
    ) -> None:
        self._budget_bytes = evidence.loaded.budget.budget_bytes
        caps = (evidence.settings.max_batch_size, _dataset_size(evidence))
        self._cap = min((cap for cap in caps if cap is not None), default=2**20)
        self._measure = measure
        self._is_over = is_over
        self._points: list[tuple[int, int, int]] = []

    def run(self, longest: int, start: int) -> LengthBucket | None:
        plan = TimingPlan(
            purpose=Purpose.LENGTHS,
            num_warmup_steps=2,
            min_steps=1,
            max_time_s=0.0,
            longest=longest,
        )
        best: LengthBucket | None = None
        refuted = self._cap + 1
        size: int | None = start
        for _ in range(_MAX_TRIALS):
            if size is None or self._is_over():
                break
            trial = self._measure(size, plan)
            if trial is None:
                break
            if trial.peak_bytes is not None and trial.fits:
                self._points.append((size, longest, trial.peak_bytes))
            if trial.fits:
                best = LengthBucket(longest=longest, batch_size=size, peak_bytes=trial.peak_bytes)
            else:
                refuted = size
            size = self._propose(longest, best.batch_size if best else 0, refuted)
        return best

    def _propose(self, longest: int, fitted: int, refuted: int) -> int | None:
        """A size between what fitted and what did not; ``None`` if those are close enough."""
        if refuted - 1 <= fitted * _GOOD_ENOUGH:
            return None
        curve = fit_length_memory(self._points)
        if curve is None or fitted == 0:
            wanted = 2 * fitted or refuted // 2
        else:
            limit = curve.largest_batch_size(longest, _AIM_FRACTION * self._budget_bytes)
            wanted = int(min(limit, fitted * _MAX_JUMP))
        wanted = _rounded(min(wanted, refuted - 1))
        if fitted and wanted <= fitted * _GOOD_ENOUGH:
            return None
        return wanted if 0 < wanted < refuted else None


def _rounded(size: int) -> int:
    return size - size % _WHOLE_MULTIPLE if size > _WHOLE_MULTIPLE else size


def _dataset_size(evidence: Evidence) -> int | None:
    return find_dataset_size(evidence.settings, evidence.loaded.workload)
