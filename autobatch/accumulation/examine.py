"""When to compare accumulated gradients, and what to say of them in a finding."""

from __future__ import annotations

from dataclasses import replace

from autobatch.accumulation.job import AccumulationJob
from autobatch.errors import AutobatchError, first_line_of
from autobatch.probe.probers import JobProber
from autobatch.records import Finding, FindingWarning, WarningCode
from autobatch.records.accumulation import AccumulationCheck

_MOST_PASSES = 4
# Enough for samples to differ, and few enough to fit wherever the answer does.
_MOST_SAMPLES = 16


def examine_accumulation(prober: JobProber, finding: Finding) -> Finding:
    """Compare accumulated gradients where training will accumulate.

    Args:
        prober: Has the workload that the finding is about.
        finding: The answer.

    Returns:
        The finding with the comparison and what to warn of; as it was where a step is one pass.
    """
    if finding.gradient_accumulation_steps == 1:
        return finding
    job = plan_comparison(finding.batch_size, finding.gradient_accumulation_steps)
    try:
        check = prober.run(job, timeout_s=finding.settings.trial_timeout_s)
    except AutobatchError as error:  # the answer stands
        check = AccumulationCheck(
            batch_size=job.batch_size, num_passes=job.num_passes, reason=first_line_of(error)
        )
    warnings = (*finding.warnings, *find_warnings(check, finding.gradient_accumulation_steps))
    return replace(finding, accumulation=check, warnings=warnings)


def plan_comparison(batch_size: int, num_steps: int) -> AccumulationJob:
    """Choose a batch and its parts.

    Args:
        batch_size: The recommended size, which ran.
        num_steps: Passes of an optimizer step.
    """
    samples = max(2, min(batch_size, _MOST_SAMPLES))
    passes = min(num_steps, samples, _MOST_PASSES)
    return AccumulationJob(batch_size=samples - samples % passes, num_passes=passes)


def find_warnings(check: AccumulationCheck, num_steps: int) -> list[FindingWarning]:
    """What is not the same as in one batch.

    Args:
        check: The comparison.
        num_steps: Passes of an optimizer step.
    """
    found = []
    figures: dict[str, float] = {"batch_size": check.batch_size, "num_passes": check.num_passes}
    if check.loss_differs:
        code = WarningCode.ACCUMULATED_LOSS_DIFFERS
        difference = check.loss_difference_fraction
        found.append(
            FindingWarning(code=code, figures={**figures, "difference_fraction": difference})
        )
    if check.norm_differs:
        code = WarningCode.ACCUMULATED_BATCH_NORM
        difference = check.norm_difference_fraction or 0.0
        found.append(
            FindingWarning(code=code, figures={**figures, "difference_fraction": difference})
        )
    return found
