"""The verdict in three lines: which size and how sure, why, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autobatch import units
from autobatch.records import (
    Axis,
    Confidence,
    Doubt,
    Finding,
    Goal,
    Outcome,
    SizeEstimate,
    StopReason,
    WarningCode,
)
from autobatch.reporting.wording import (
    OUTCOMES,
    among,
    describe_contention,
    ends_at_embedding,
    name_remedy,
    stop_reason,
)

# As many sizes are listed one by one.
_MAX_LISTED = 3
_ALIKE_FRACTION = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer as a person should read it.

    Attributes:
        answer: The recommended size.
        claim: What is claimed of it, how sure that is, and what limited the search.
        why: Why this size and no other, by the figures that the choice was made with.
        following: What to do next.
    """

    answer: str
    claim: str
    why: str
    following: str

    @property
    def lines(self) -> tuple[str, str, str]:
        """All of it, in the order of reading."""
        return f"{self.answer}: {self.claim}", f"Why: {self.why}", f"Next: {self.following}"


def find_verdict(finding: Finding) -> Verdict:
    """Put a finding's decision into words."""
    is_sure = finding.decision.confidence is Confidence.HIGH
    claims = [_standing(finding), "confidence high"] if is_sure else [*_doubts(finding)]
    return Verdict(
        answer=units.format_count(finding.batch_size),
        claim="; ".join([*claims, *_limits(finding)]),
        why="; ".join(_why(finding)),
        following=_following(finding, is_sure=is_sure),
    )


def compare_to_yours(finding: Finding, than: str = "") -> str:
    """How the recommended size compares to the user's own; empty if it is that.

    Args:
        finding: With the estimates of both.
        than: What to say after the comparison.
    """
    decision, size = finding.decision, finding.batch_size
    own = decision.your_batch_size
    yours, chosen = decision.estimate_of(own or 0), decision.estimate_of(size)
    if yours is None or chosen is None or own == size:
        return ""
    compared = _compare(chosen.samples_per_s / yours.samples_per_s)
    is_noise = yours.vs_best_high >= chosen.vs_best_low and yours.vs_best_low <= chosen.vs_best_high
    noise = ", within the noise" if is_noise else ""
    return f"{units.format_count(size)} is {compared}{than}{noise}"


def _compare(ratio: float) -> str:
    """A throughput over another in words, to be followed by ``than``."""
    far, word = (ratio - 1, "faster") if ratio >= 1 else (1 - ratio, "slower")
    return "no slower" if far < _ALIKE_FRACTION else f"{units.format_fraction(far)} {word}"


def _standing(finding: Finding) -> str:
    """Where the recommended size stands beside the others, by the figures that are shown."""
    if finding.settings.goal is Goal.MEMORY:
        is_largest = finding.batch_size == finding.recommendation.largest_batch_size
        return "the largest that fits" if is_largest else "the largest that ran"
    if not _is_about_speed(finding):
        return "predicted to learn fastest"
    estimate = finding.decision.estimate_of(finding.batch_size)
    if estimate is None:
        return "a size that fits"
    if len(finding.decision.estimates) == 1:
        return "the only size that was timed"
    if estimate.vs_best_fraction == 1:
        return "the fastest that ran"
    tolerance = finding.settings.tolerance_fraction
    if estimate.vs_best_fraction >= 1 - tolerance:
        return f"within {units.format_fraction(tolerance)} of the fastest"
    return f"{units.format_fraction(estimate.vs_best_fraction)} of the fastest"


def _doubts(finding: Finding) -> Iterator[str]:
    decision, size = finding.decision, finding.batch_size
    causes = [text for doubt in decision.doubts for text in _cause(finding, doubt)]
    yield f"confidence low: {', '.join(causes)}"
    if len(decision.candidates) > 1:
        yield f"{_sizes(decision.candidates)} may be best"
    if size == decision.your_batch_size:
        yield f"{units.format_count(size)} is yours"


def _cause(finding: Finding, doubt: Doubt) -> Iterator[str]:
    if doubt is Doubt.STILL_RISING:
        largest = max(trial.batch_size for trial in finding.trials if trial.fits)
        yield f"throughput was still rising at {units.format_count(largest)}"
    elif doubt is Doubt.CONTRADICTED:
        yield "the final run contradicts the search" + _final_times(finding)
    elif busy := _busy(finding):
        yield busy
    else:
        scatter = units.format_fraction(finding.decision.noise_fraction)
        yield f"timings scatter by {scatter} from run to run"


def _busy(finding: Finding) -> str:
    """What other processes used, where it was enough to slow the trials."""
    found = (each for each in finding.warnings if each.code is WarningCode.BUSY_MACHINE)
    warning = next(found, None)
    if warning is None:
        return ""
    others, cores = (warning.figures.get(each) for each in ("others_busy_cores", "num_cores"))
    return f"others used {others:.1f} of {cores:.0f} cores" if others and cores else ""


def _final_times(finding: Finding) -> str:
    final, estimate = finding.confirmation, finding.decision.estimate_of(finding.batch_size)
    if final is None or final.step_time_s is None or estimate is None:
        return ""
    took, expected = map(units.format_seconds, (final.step_time_s, estimate.step_time_s))
    return f" ({took} a step, {expected} in the table)"


def _limits(finding: Finding) -> Iterator[str]:
    if finding.rehearsal is not None and not finding.rehearsal.passes:
        yield "it did not pass its rehearsal"
    elif finding.rehearsal is not None and finding.rehearsal.refused:
        yield "larger sizes did not pass their rehearsal"
    contention = finding.contention
    if contention is not None:
        yield describe_contention(contention)
    if finding.stop_reason is StopReason.TIME_LIMIT:
        yield f"ended by the time limit{_time_limit(finding)}"
    if finding.stop_reason is StopReason.COST:
        yield "larger sizes would have taken too long"
    if finding.stop_reason is StopReason.FAILED:
        ends = "are beyond an embedding" if ends_at_embedding(finding) else "end in an error"
        yield f"larger sizes {ends}"
    if finding.stop_reason is StopReason.POSITIONS:
        yield "the model has positions for no more"
    if finding.stop_reason is StopReason.INTERRUPTED:
        yield "interrupted"


def _time_limit(finding: Finding) -> str:
    limit_s = finding.settings.time_limit_s
    return "" if limit_s is None else f" of {units.format_seconds(limit_s)}"


def _why(finding: Finding) -> Iterator[str]:
    if finding.settings.goal is Goal.MEMORY:
        yield from _bounds(finding)
        return
    decision, size = finding.decision, finding.batch_size
    estimate, name = decision.estimate_of(size), units.format_count(size)
    is_explained = (
        size in (decision.knee, decision.your_batch_size)
        and Doubt.NOISE not in decision.doubts
        and len(decision.estimates) > 1
    )
    if estimate is None or not (is_explained and _is_about_speed(finding)):
        yield finding.recommendation.reason
        return
    if len(decision.candidates) > 1 and size in decision.candidates:
        yield f"{among(decision.candidates, 'and')} cannot be told apart"
        if size == decision.your_batch_size:
            yield f"{name} is yours"
        else:
            tolerance = units.format_fraction(finding.settings.tolerance_fraction)
            yield f"{name} is the smallest that is likely within {tolerance} of the fastest"
    else:
        yield from _distances(finding, estimate)
    yours = units.format_count(decision.your_batch_size or 0)
    comparison = compare_to_yours(finding, than=f" than yours, {yours}")
    if comparison:
        yield comparison


def _bounds(finding: Finding) -> Iterator[str]:
    """How full the memory is at the largest size, and what keeps the next one out."""
    size, peak = finding.batch_size, finding.recommendation.peak_bytes
    if peak is not None:
        used, budget = map(units.format_bytes, (peak, finding.budget.budget_bytes))
        yield f"{units.format_count(size)} takes {used} of the budget of {budget}"
    beyond = {
        trial.batch_size: OUTCOMES[trial.outcome]
        for trial in finding.trials
        if trial.batch_size > size and trial.outcome not in (Outcome.FITS, Outcome.FAILED)
    }
    if beyond:
        yield f"{units.format_count(min(beyond))} did not fit ({beyond[min(beyond)]})"
    elif peak is None or not [*_limits(finding)]:
        yield stop_reason(finding)


def _distances(finding: Finding, chosen: SizeEstimate) -> Iterator[str]:
    """How far the chosen size is from the fastest, and the next smaller one behind."""
    name, estimates = units.format_count(chosen.batch_size), finding.decision.estimates
    best = max(estimates, key=lambda each: each.samples_per_s)
    if chosen is best:
        yield f"{name} is the fastest of {len(estimates)} sizes"
    else:
        behind = _compare(chosen.vs_best_fraction)
        most = units.format_fraction(max(0.0, 1 - chosen.vs_best_low))
        fastest = units.format_count(best.batch_size)
        yield f"{name} is {behind} than {fastest}, the fastest ({most} at most)"
    smaller = [each for each in estimates if each.batch_size < chosen.batch_size]
    if smaller and smaller[-1].samples_per_s < chosen.samples_per_s:
        behind = _compare(smaller[-1].samples_per_s / chosen.samples_per_s)
        yield f"{units.format_count(smaller[-1].batch_size)} is {behind} than {name}"


def _following(finding: Finding, *, is_sure: bool) -> str:
    codes = {warning.code for warning in finding.warnings}
    if finding.rehearsal is not None and not finding.rehearsal.passes:
        if any(stage.at_any_size for stage in finding.rehearsal.stages if not stage.fits):
            return "have the evaluation keep less, or on the host: no smaller size passes either"
        return "find what the rehearsal says in your training, or search below this size"
    if is_sure and finding.contention is not None:
        times = units.format_count(round(finding.contention.speedup))
        return (
            f"while others use the cores, train with {name_remedy(finding.contention)} too: it was "
            f"{times} times faster beside them"
        )
    if not is_sure and WarningCode.BUSY_MACHINE in codes:
        return "search again while the machine is quiet"
    if not is_sure and finding.stop_reason is StopReason.TIME_LIMIT:
        return "search again with a longer --time-limit"
    if not is_sure:
        return "search again when the machine is quiet; until then this size is a safe guess"
    workload = finding.workload
    can_weigh = workload.command is None and workload.num_ranks == 1
    if WarningCode.FEW_UPDATES in codes and can_weigh:
        number = finding.iterations_per_epoch or 0
        updates = f"{number} update" if number == 1 else f"{units.format_count(number)} updates"
        return f"search with --goal efficiency: an epoch has only {updates} at this size"
    return _training(finding)


def _training(finding: Finding) -> str:
    settings, size = finding.settings, units.format_count(finding.batch_size)
    parts = [f"train with {settings.along.noun} {size}"]
    if settings.axis is Axis.TOKENS:
        return f"pack up to {size} tokens into a batch"
    if settings.batch_size is not None:
        return f"{parts[0]} at batch size {units.format_count(settings.batch_size)}"
    if finding.gradient_accumulation_steps > 1:
        steps = units.format_count(finding.gradient_accumulation_steps)
        parts.append(f"{steps} accumulation steps")
    if finding.loading is not None and finding.loading.chosen and not finding.loading.is_own:
        parts.append(f"num_workers={finding.loading.chosen.num_workers} in its loader")
    if finding.learning_rate is not None:
        parts.append(f"learning rate {units.format_learning_rate(finding.learning_rate)}")
    *first, last = parts
    text = f"{', '.join(first)} and {last}" if first else last
    iterations, epoch_time_s = finding.iterations_per_epoch, finding.recommendation.epoch_time_s
    if not iterations or epoch_time_s is None:
        return text
    steps, takes = units.format_count(iterations), units.format_seconds(epoch_time_s)
    return (
        f"{text}; an epoch is {steps} {'iteration' if iterations == 1 else 'iterations'}, {takes}"
    )


def _is_about_speed(finding: Finding) -> bool:
    """Whether the size was chosen for its throughput alone."""
    goal = finding.settings.goal
    return goal is not Goal.MEMORY and not (goal is Goal.EFFICIENCY and finding.efficiency)


def _sizes(sizes: tuple[int, ...]) -> str:
    if len(sizes) <= _MAX_LISTED:
        return among(sizes, "or")
    return f"any of {units.format_count(sizes[0])} to {units.format_count(sizes[-1])}"
