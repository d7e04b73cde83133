"""When to look for loader settings."""

from __future__ import annotations

from dataclasses import replace

from autobatch.errors import AutobatchError, first_line_of
from autobatch.loading.choose import RACE_RATIO, LoaderSearch
from autobatch.loading.job import LoaderJob
from autobatch.probe.probers import JobProber
from autobatch.recommend.accumulation import count_passes
from autobatch.records import Bottleneck, Finding
from autobatch.records.loading import LoaderChoice, LoaderSettings, LoaderTiming

_MOST_TIME_S = 20.0
# Two ways, of about two seconds each.
_LEAST_TIME_S = 4.0


def examine_loading(prober: JobProber, finding: Finding) -> Finding:
    """Look for loader settings where loading bounds the throughput.

    Args:
        prober: Has the workload that the finding is about.
        finding: The answer.

    Returns:
        The finding with the choice, or with why there is none; as it was where something else is
        the bound.
    """
    if finding.recommendation.bottleneck is not Bottleneck.DATA_LOADING:
        return finding
    size, time_s = finding.batch_size, _time_left_s(finding)
    if time_s < _LEAST_TIME_S:
        late = LoaderChoice(
            batch_size=size,
            reason="the time limit left no time for it",
            remedy="raise --time-limit, so that loader settings are compared",
        )
        return replace(finding, loading=late)
    settings = finding.settings
    num_passes = count_passes(settings, size)

    def time_one(way: LoaderSettings | None) -> LoaderTiming:
        job = LoaderJob(batch_size=size, num_passes=num_passes, settings=way)
        return prober.run(job, timeout_s=settings.trial_timeout_s)

    search = LoaderSearch(
        batch_size=size,
        time_one=time_one,
        num_cores=finding.environment.num_cores,
        may_pin=finding.device.startswith(("cuda", "xpu")),
        num_batches=count_batches(finding),
        max_time_s=time_s,
    )
    try:
        choice = search.run()
    except AutobatchError as error:  # the answer stands
        choice = LoaderChoice(
            batch_size=size, timings=tuple(search.timings), reason=first_line_of(error)
        )
    return replace(finding, loading=choice)


def _time_left_s(finding: Finding) -> float:
    limit_s = finding.settings.time_limit_s
    if limit_s is None:
        return _MOST_TIME_S
    return min(_MOST_TIME_S, (limit_s - finding.search_time_s) / (1 + RACE_RATIO))


def count_batches(finding: Finding) -> int | None:
    """Batches of an epoch; ``None`` if unknown."""
    iterations = finding.iterations_per_epoch
    return None if iterations is None else iterations * finding.gradient_accumulation_steps
