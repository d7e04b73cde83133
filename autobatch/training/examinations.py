"""A closer look at an answer, by products that ask the prober once more."""

from __future__ import annotations

from autobatch.accumulation.examine import examine_accumulation
from autobatch.breakdown.examine import examine_memory
from autobatch.loading.examine import examine_loading
from autobatch.probe.probers import JobProber, Prober
from autobatch.ranks.cost import describe_group
from autobatch.records import Axis, Finding


def examine(prober: Prober, finding: Finding) -> Finding:
    """Look closer at an answer, as its settings ask for.

    Args:
        prober: Still has the workload that the finding is about.
        finding: The answer.

    Returns:
        The finding with what was seen; the answer in it is the same.
    """
    finding = describe_group(finding)
    if isinstance(prober, JobProber) and finding.settings.axis is Axis.BATCH_SIZE:
        for look in (examine_accumulation, examine_loading, examine_memory):
            finding = look(prober, finding)
    return finding
