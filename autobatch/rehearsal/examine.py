"""A search whose answer has passed its rehearsal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autobatch.errors import AutobatchError, first_line_of
from autobatch.probe.probers import JobProber, Prober
from autobatch.recommend.accumulation import count_passes
from autobatch.records import Finding, Settings
from autobatch.records.rehearsal import Rehearsal, RehearsedStage
from autobatch.rehearsal.job import RehearsalJob


def find_rehearsed(
    prober: Prober, settings: Settings, search: Callable[[Settings], Finding]
) -> Finding:
    """Search, rehearse the answer, and search below it where that did not pass.

    Args:
        prober: Has the workload after a search.
        settings: Say whether to rehearse at all.
        search: Searches with the same prober.

    Returns:
        The finding with its rehearsal. Where no smaller size has fitted, or none could pass, it is
        the one that did not pass, and its rehearsal says so.
    """
    asked, refused = settings, list[str]()
    while True:
        finding = search(asked)
        if not settings.rehearse or not isinstance(prober, JobProber):
            return finding
        try:
            rehearsal = _rehearse(prober, finding, settings)
        except AutobatchError as error:  # the user's own, which a smaller size would raise as well
            stage = RehearsedStage(name="the rehearsal", fits=False, message=first_line_of(error))
            rehearsal = Rehearsal(batch_size=finding.batch_size, stages=(stage,))
            return replace(finding, settings=settings, rehearsal=rehearsal)
        size = finding.batch_size
        smaller = [
            each.batch_size for each in finding.trials if each.fits and each.batch_size < size
        ]
        is_hopeless = any(stage.at_any_size for stage in rehearsal.stages if not stage.fits)
        if rehearsal.passes or is_hopeless or not smaller:
            rehearsal = replace(rehearsal, refused=tuple(refused))
            return replace(finding, settings=settings, rehearsal=rehearsal)
        refused.append(f"{size}: {rehearsal.reason}")
        asked = replace(settings, max_batch_size=max(smaller))


def _rehearse(prober: JobProber, finding: Finding, settings: Settings) -> Rehearsal:
    size = finding.batch_size
    job = RehearsalJob(
        batch_size=size,
        num_passes=count_passes(settings, size),
        eval_batch_size=finding.eval_batch_size if settings.evaluation else None,
    )
    return prober.run(job, timeout_s=settings.trial_timeout_s)
