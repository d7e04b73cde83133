"""What is known of a command only once the search is over: completes the finding."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace

from autobatch.command.describe import with_rate
from autobatch.command.prober import CommandProber
from autobatch.records import (
    Contention,
    Finding,
    LearningRateRule,
    Recommendation,
    UneditedCommand,
)
from autobatch.reporting.wording import name_remedy
from autobatch.units import format_count, format_learning_rate

_ALIKE = 1e-6
_MOST_PATHS = 8


def complete(finding: Finding, prober: CommandProber) -> Finding:
    """Add the command to train with, and what became of files and trackers.

    Args:
        finding: Of a search with this prober.
        prober: Has run the recommended size.
    """
    recommendation = _with_own_rate(finding.recommendation, prober.passed.rates)
    command = UneditedCommand(
        template=str(prober.template),
        following=_fill(recommendation, finding.contention, prober),
        files=prober.protection.sentence,
        notes=tuple(_notes(recommendation.batch_size, prober)),
    )
    workload = replace(finding.workload, command=command)
    return replace(finding, workload=workload, recommendation=recommendation)


def _with_own_rate(recommendation: Recommendation, rates: dict[int, float]) -> Recommendation:
    """Where the script was seen to scale its learning rate by itself, leave it alone."""
    size = recommendation.batch_size
    others = [other for other in rates if other != size]
    if size not in rates or not others:
        return recommendation
    other = min(others)
    ratio, change = size / other, rates[size] / rates[other] if rates[other] else 1.0
    if abs(change - 1) <= _ALIKE:
        return recommendation
    is_linear = abs(change - ratio) <= 0.01 * ratio
    is_sqrt = abs(change - ratio**0.5) <= 0.01 * ratio**0.5
    how = "linearly" if is_linear else "by the square root" if is_sqrt else "with the batch size"
    seen = " and ".join(
        f"{format_learning_rate(rates[each])} at {format_count(each)}"
        for each in sorted((other, size))
    )
    return replace(
        recommendation,
        learning_rate=rates[size],
        learning_rate_multiplier=1.0,
        learning_rate_rule=LearningRateRule.NONE,
        learning_rate_reason=f"the script scales its own learning rate {how}: {seen}; leave it",
        base_learning_rate=rates[size],
        adam_betas=None,
        adam_epsilon_multiplier=None,
    )


def _fill(
    recommendation: Recommendation, contention: Contention | None, prober: CommandProber
) -> str:
    template, own = prober.template, prober.passed.own
    is_resized_alone = own is not None and own[0] != own[1]
    if not template.has_size or template.config_keys or is_resized_alone:
        return ""
    size, steps = recommendation.batch_size, recommendation.gradient_accumulation_steps
    arguments = template.fill(size, steps)
    base, rate = recommendation.base_learning_rate, recommendation.learning_rate
    if base is not None and rate is not None:
        arguments = with_rate(arguments, base, rate)
    variables = template.fill_variables(size, steps)
    spots = [
        f"{name}={shlex.quote(text)}"
        for name, text in variables.items()
        if text != template.variables[name]
    ]
    remedy = [] if contention is None else [name_remedy(contention)]
    return " ".join((*remedy, *spots, shlex.join(arguments)))


def _notes(batch_size: int, prober: CommandProber) -> list[str]:
    starts, notes = prober.starts, []
    if starts.trackers:
        notes.append(f"turned off: {', '.join(starts.trackers)}")
    paths = [_shorten(path) for path, kind in sorted(starts.written.items()) if kind != "remove"]
    if paths:
        more = f" and {len(paths) - _MOST_PATHS} more" if len(paths) > _MOST_PATHS else ""
        notes.append(f"written all the same: {', '.join(paths[:_MOST_PATHS])}{more}")
    template, own = prober.template, prober.passed.own
    size = format_count(batch_size)
    if not template.has_size:
        notes.append("set the batch size in the script: its command has no place for it")
    elif own is not None and own[0] != own[1]:
        notes.append(
            f"set the batch size in the script: its loader made batches of {format_count(own[0])} "
            f"when {template.place} was {format_count(own[1])}"
        )
    notes += [f"set {key.key} to {size} in {key.path}" for key in template.config_keys]
    return notes


def _shorten(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
