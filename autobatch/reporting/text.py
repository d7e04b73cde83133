"""A finding as text: the verdict, the measurements, what follows, what ran, what to know."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from autobatch import units
from autobatch.errors import AutobatchError, WorkerError, WorkloadError
from autobatch.records import Axis, Confidence, Finding, FindingWarning, MemoryBudget
from autobatch.reporting.advice import recommendation_rows
from autobatch.reporting.breakdown import breakdown_blocks
from autobatch.reporting.efficiency import noise_blocks
from autobatch.reporting.ranks import rank_rows
from autobatch.reporting.screen import MAX_WIDTH, printable, show
from autobatch.reporting.tables import Note, Row, labelled, trials_table
from autobatch.reporting.verdict import compare_to_yours, find_verdict
from autobatch.reporting.warnings import advise
from autobatch.reporting.wording import lengths_sentence, reloading_sentence, stop_sentence


def render(finding: Finding, console: Console) -> None:
    """Print a finding, for a person to read.

    Args:
        finding: What to print.
        console: Where to; its width, colours and encoding are respected.
    """
    command = finding.workload.command
    if command is not None:
        show(console, Text(f"Files: {command.files}"), "")
    show(console, *_verdict(finding), "", *_trials(finding, console.width))
    show(console, "", Text("In detail", style="bold"), labelled(recommendation_rows(finding)))
    if finding.gradient_noise is not None:
        show(console, "", *noise_blocks(finding, min(console.width, MAX_WIDTH)))
    if finding.breakdown is not None:
        show(console, "", *breakdown_blocks(finding.breakdown))
    show(console, "", _headline(finding), labelled(_header_rows(finding)))
    if finding.workload.guesses:
        show(console, "", Text("Assumed", style="bold"), *_bullets(finding.workload.guesses))
    show(console, "", Text(stop_sentence(finding)))
    for warning in finding.warnings:
        show(console, "", *_warning(finding, warning))
    if command is not None and command.notes:
        show(console, "", Text("Trials of a command", style="bold"), *_bullets(command.notes))
    if command is not None and command.following:
        # A line to copy, so that the terminal wraps it, not we.
        _print_whole(console, Text(""), Text(printable(command.following, console.encoding)))


def render_error(error: AutobatchError, console: Console) -> None:
    """Print an error: the evidence there is, the message, a blank line and one hint.

    Args:
        error: What went wrong.
        console: Where to, usually standard error.
    """
    evidence = ""
    if isinstance(error, WorkloadError):
        evidence = error.user_traceback
    elif isinstance(error, WorkerError):
        evidence = error.stderr_tail
    if error.trials:
        show(console, trials_table(error.trials, width=console.width), "")
    if evidence.strip():
        _print_whole(console, Text(printable(evidence.rstrip(), console.encoding)), Text(""))
    message = printable(str(error), console.encoding)
    _print_whole(console, Text.assemble(("Error:", "bold red"), " ", message))
    if error.hint:
        hint = printable(error.hint, console.encoding)
        _print_whole(console, Text(""), Text.assemble(("Hint:", "bold cyan"), " ", hint))


def _print_whole(console: Console, *lines: Text) -> None:
    # Paths and commands are there to be copied, so the terminal wraps them, not we.
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _headline(finding: Finding) -> Text:
    environment = finding.environment
    cores = f"{environment.num_cores} {'core' if environment.num_cores == 1 else 'cores'}"
    driver = f", driver {environment.driver_version}" if environment.driver_version else ""
    return Text.assemble(
        (finding.target, "bold"),
        " on ",
        (finding.device, "bold"),
        f" ({environment.device_name}{driver}; {cores}; PyTorch {environment.torch_version})",
    )


def _header_rows(finding: Finding) -> Iterator[Row]:
    workload, budget = finding.workload, finding.budget
    size = finding.settings.dataset_size or workload.dataset_size
    samples = "dataset size unknown" if size is None else f"{units.format_count(size)} samples"
    count = units.format_count(workload.num_parameters)
    compiled = ", compiled" if workload.is_compiled else ""
    yield "model", Text(f"{workload.model}, {count} parameters{compiled}")
    is_of_batches = finding.settings.axis is Axis.BATCH_SIZE
    yield "data", Text(f"{workload.data}; {samples}" if is_of_batches else workload.data)
    if workload.lengths is not None and workload.lengths.differ:
        yield "lengths", Text(lengths_sentence(workload.lengths, finding.batch_size))
    yield "training", Text(f"{_training(finding)}, {finding.settings.precision.value}")
    if workload.own_threads:
        yield "trials", Text(reloading_sentence(workload.own_threads))
    yield from rank_rows(finding)
    yield "memory budget", Text(_budget(budget))
    if finding.host_budget is not None:
        yield "host memory", Text(_budget(finding.host_budget))
    if finding.environment.variables:
        pairs = [f"{name}={value}" for name, value in finding.environment.variables.items()]
        yield "environment", Text(" ".join(pairs))


def _budget(budget: MemoryBudget) -> str:
    return (
        f"{units.format_bytes(budget.budget_bytes)} of "
        f"{units.format_bytes(budget.capacity_bytes)} {budget.bound_by}: "
        f"{units.format_bytes(budget.used_by_others_bytes)} used by others, "
        f"{units.format_fraction(budget.headroom_fraction)} kept free"
    )


def _training(finding: Finding) -> str:
    workload = finding.workload
    return f"{workload.loss}, {workload.optimizer}" if workload.optimizer else workload.loss


def _bullets(lines: tuple[str, ...]) -> Iterator[RenderableType]:
    for line in lines:
        yield Padding(Text(line, overflow="fold"), (0, 0, 0, 2))


def _verdict(finding: Finding) -> Iterator[RenderableType]:
    verdict = find_verdict(finding)
    is_sure = finding.decision.confidence is Confidence.HIGH
    style = "bold green" if is_sure else "bold yellow"
    noun = finding.settings.along.noun.capitalize()
    yield Text.assemble((f"{noun} ", "bold"), (verdict.answer, style), f": {verdict.claim}")
    for line in verdict.lines[1:]:
        label, _, words = line.partition(" ")
        yield Text.assemble((label, "bold"), " ", words)


def _trials(finding: Finding, width: int) -> Iterator[RenderableType]:
    yield trials_table(
        finding.trials,
        width=min(width, MAX_WIDTH),
        budget_bytes=finding.budget.budget_bytes,
        decision=finding.decision,
        chosen=finding.batch_size,
        notes=describe_sizes(finding),
        along=finding.settings.along,
    )
    yield Text("Estimates from all timed steps, with intervals of 90 %.", style="dim")
    if finding.workload.is_compiled:
        yield Text(
            "Run eagerly, since each size would be compiled anew; only the final run was compiled.",
            style="dim",
        )


def describe_sizes(finding: Finding) -> dict[int, Note]:
    """What is said of the recommended size and of the user's own."""
    yours, chosen = finding.decision.your_batch_size, finding.batch_size
    notes = {chosen: Note("recommended", "recommended")}
    if yours == chosen:
        notes[chosen] = Note("recommended, and yours", "recommended")
    elif yours is not None:
        comparison = compare_to_yours(finding)
        notes[yours] = Note(f"yours: {comparison}" if comparison else "yours", "yours")
    return notes


def _warning(finding: Finding, warning: FindingWarning) -> Iterator[RenderableType]:
    advice = advise(warning, finding.loading, finding.settings.along)
    yield Text.assemble(("Warning:", "bold yellow"), " ", advice.title)
    yield Padding(Text(advice.happened), (0, 0, 0, 2))
    yield Padding(Text(advice.remedy), (0, 0, 0, 2))
