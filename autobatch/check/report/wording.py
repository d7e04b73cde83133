"""Requirements and verdicts in words and numbers, for every form of report."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from autobatch import units
from autobatch.check.records import NO_REFERENCE, CheckReport, Verdict
from autobatch.records import RequirementName, Status
from autobatch.shell.flags import to_flags

STATUSES = {
    Status.MET: "met",
    Status.NOT_MET: "NOT MET",
    Status.INCONCLUSIVE: "inconclusive",
}
_BYTES = (RequirementName.MAX_MEMORY, RequirementName.MIN_CAPACITY, RequirementName.MIN_FREE)
_CHANGES = (RequirementName.BASELINE_STEP_TIME, RequirementName.BASELINE_MEMORY)
_TIMED = (
    RequirementName.MIN_THROUGHPUT,
    RequirementName.MAX_STEP_TIME,
    RequirementName.BASELINE_STEP_TIME,
)
_NOTHING = "-"


def limit_text(verdict: Verdict) -> str:
    """Where the line is: ``10.0 GiB``, ``+10 %``."""
    if verdict.requirement is RequirementName.FITS:
        return _NOTHING if verdict.limit is None else f"batch size {verdict.limit:,}"
    return _format(verdict, verdict.limit)


def figure_text(verdict: Verdict) -> str:
    """What was measured, with its interval: ``+1.2 % (-2.0 % to +4.4 %)``."""
    if verdict.requirement is RequirementName.FITS and verdict.status is not Status.INCONCLUSIVE:
        is_met = verdict.status is Status.MET
        if verdict.is_predicted:
            return "to fit" if is_met else "not to fit"
        return "ran" if is_met else "did not"
    text = _format(verdict, verdict.value)
    if verdict.low is None or verdict.high is None or verdict.low == verdict.high:
        return text
    interval = f"{text} ({_format(verdict, verdict.low)} to {_format(verdict, verdict.high)})"
    # Said once, with the limit: three times would not fit into a line.
    return interval.replace(" samples/s", "")


def sentence(verdict: Verdict) -> str:
    """A verdict in a line of its own."""
    reason = f": {verdict.reason}" if verdict.reason else ""
    how = "predicted" if verdict.is_predicted else "measured"
    return (
        f"{verdict.name} {STATUSES[verdict.status]}: {how} {figure_text(verdict)}, "
        f"required {limit_text(verdict)}{reason}"
    )


def conclusion(report: CheckReport) -> str:
    """The whole check in a line."""
    num_met, total = report.count(Status.MET), len(report.verdicts)
    parts = [f"{num_met} of {total} met"]
    for status in (Status.NOT_MET, Status.INCONCLUSIVE):
        names = [each.name for each in report.verdicts if each.status is status]
        if names:
            parts.append(f"{STATUSES[status].lower()}: {', '.join(names)}")
    strictly = " (`strict`)" if report.settings.strict and report.count(Status.INCONCLUSIVE) else ""
    verdict = "Passed" if report.is_met else f"Failed{strictly}"
    return f"{verdict if report.is_complete else 'Interrupted'}: {'; '.join(parts)}."


def effort(report: CheckReport) -> str:
    """How much was measured for it, or an empty string."""
    if report.measurement is None:
        return ""
    count = len(report.measurement.rounds)
    rounds = f"{count} {'round' if count == 1 else 'rounds'}"
    reference = report.measurement.reference
    beside = "" if reference == NO_REFERENCE else f", in turn with {reference},"
    return (
        f"Measured {rounds}{beside} in {units.format_seconds(report.elapsed_s)}, loading included."
    )


def typed_notes(report: CheckReport) -> list[str]:
    """What else to know, with options as they are typed."""
    return [to_flags(note) for note in report.notes]


def last_lines(report: CheckReport) -> list[str]:
    """What stands below the table, with options as they are typed: notes, conclusion, advice."""
    advice = " ".join(_advise(report)) if report.is_complete else ""
    ends = (conclusion(report), effort(report), advice)
    return [*typed_notes(report), *(to_flags(each) for each in ends if each)]


def _advise(report: CheckReport) -> Iterator[str]:
    verdicts, measurement = report.verdicts, report.measurement
    in_doubt = {each.requirement for each in verdicts if each.status is not Status.MET}
    is_alone = measurement is not None and measurement.reference == NO_REFERENCE
    if is_alone and RequirementName.BASELINE_STEP_TIME in in_doubt:
        yield (
            "The machine may be slower than it was for the baseline, a shared CPU often by 15 %: "
            "a baseline made with `reference`, of the code that a change is made to, takes that "
            "off, and far smaller changes are decided."
        )
    open_ones = {each.requirement for each in verdicts if each.status is Status.INCONCLUSIVE}
    if not open_ones or report.settings.strict:
        return
    if open_ones & {*_TIMED} and measurement is not None:
        yield (
            "A longer `time_limit` or a quieter machine narrows the interval; `strict` makes "
            "inconclusive a failure."
        )
    else:
        yield "`strict` makes inconclusive a failure."


def _format(verdict: Verdict, value: float | str | None) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, str):
        return value
    return _formatter(verdict.requirement)(value)


def _formatter(requirement: RequirementName) -> Callable[[float], str]:
    if requirement in _BYTES:
        return units.format_bytes
    if requirement in _CHANGES:
        return units.format_change
    if requirement is RequirementName.ALL_REDUCE_MIN:
        return lambda value: f"{units.format_bytes(value)}/s"
    if requirement is RequirementName.MIN_HEADROOM:
        return units.format_fraction
    if requirement is RequirementName.MIN_THROUGHPUT:
        return units.format_rate
    if requirement is RequirementName.MAX_STEP_TIME:
        return units.format_seconds
    return lambda value: f"{value:g}"
