"""When to break the memory down."""

from __future__ import annotations

from dataclasses import replace

from autobatch.breakdown.job import BreakdownJob
from autobatch.errors import AutobatchError, first_line_of
from autobatch.probe.probers import JobProber
from autobatch.recommend.accumulation import count_passes
from autobatch.records import Finding
from autobatch.records.breakdown import MemoryBreakdown


def examine_memory(prober: JobProber, finding: Finding) -> Finding:
    """Break the memory of a step at the recommended size down, where that was asked for.

    Args:
        prober: Has the workload that the finding is about.
        finding: The answer.
    """
    settings = finding.settings
    if not settings.memory_breakdown:
        return finding
    size = finding.batch_size
    job = BreakdownJob(batch_size=size, num_passes=count_passes(settings, size))
    try:
        breakdown = prober.run(job, timeout_s=settings.trial_timeout_s)
    except AutobatchError as error:  # the answer stands
        breakdown = MemoryBreakdown(batch_size=size, reason=first_line_of(error))
    return replace(finding, breakdown=breakdown)
