"""What a search in training code says: progress where a person watches, and one line at its end."""

from __future__ import annotations

import logging
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from autobatch.records import (
    Confidence,
    Contention,
    Finding,
    MemoryBudget,
    Phase,
    Trial,
    WorkloadSummary,
)
from autobatch.shell.streams import is_watched, watch
from autobatch.training.ranks import leads
from autobatch.units import format_count, format_learning_rate

if TYPE_CHECKING:
    from autobatch.reporting import LineProgress

LOGGER = logging.getLogger("autobatch")


@contextmanager
def keep_random_state() -> Iterator[None]:
    """Give Python's generator back as it was: rich numbers its styles from it, on import too."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


class Watched:
    """Passes what happens on to the display and to the caller, whose exceptions end the search.

    Args:
        on_trial: Called with each trial; ``None`` for nothing.
    """

    def __init__(self, on_trial: Callable[[Trial], object] | None) -> None:
        self._on_trial = on_trial
        self._display: LineProgress | None = None

    @contextmanager
    def shown(self, target: str) -> Iterator[None]:
        """Show progress on standard error while it lasts, if a person sees it.

        Args:
            target: The name of what is loaded.
        """
        if not is_watched():
            yield
            return
        with keep_random_state(), watch(quiet=False) as self._display:
            self._display.loading(target)
            yield

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Show it."""
        if self._display is not None:
            self._display.loaded(workload, budget, device)

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        """Show it."""
        if self._display is not None:
            self._display.trial_started(batch_size, phase)

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        """Show it, and pass it on."""
        if self._display is not None:
            self._display.trial_finished(trial, phase)
        if self._on_trial is not None:
            self._on_trial(trial)

    def begun_anew(self, contention: Contention) -> None:
        """Show it."""
        if self._display is not None:
            self._display.begun_anew(contention)


def announce(
    finding: Finding, what: str, *, stacklevel: int, with_rate: bool = True, unset: str = ""
) -> None:
    """Say what came of a search: a line of the log, or a warning where confidence is low.

    Of several processes that train together, the first says it.

    Args:
        finding: What was found.
        what: What was done with it, such as ``recommended``.
        stacklevel: Of the warning, 1 for the caller of this function.
        with_rate: Whether the learning rate goes with it.
        unset: What is said of a low confidence besides.
    """
    if not leads():
        return
    if finding.confidence is Confidence.LOW:
        with keep_random_state():
            from autobatch.reporting.verdict import find_verdict

            verdict = find_verdict(finding)
        message = f"autobatch: batch size {verdict.answer}: {verdict.claim}{unset}"
        warnings.warn(message, stacklevel=stacklevel + 1)
    else:
        log(f"{what} {', '.join(_changes(finding, with_rate=with_rate))}; confidence high")


def log(line: str) -> None:
    """Log a line at level INFO; on standard error where the program has set up no logging.

    Args:
        line: What to say.
    """
    if LOGGER.hasHandlers():
        LOGGER.info(line)
    elif LOGGER.level <= logging.INFO:
        print(f"autobatch: {line}", file=sys.stderr)


def _changes(finding: Finding, *, with_rate: bool) -> Iterator[str]:
    own, size = finding.decision.your_batch_size, format_count(finding.batch_size)
    if own is None or own == finding.batch_size:
        yield f"batch size {size}{'' if own is None else ' as before'}"
    else:
        yield f"batch size {format_count(own)} -> {size}"
    if finding.gradient_accumulation_steps > 1:
        yield f"{format_count(finding.gradient_accumulation_steps)} accumulation steps"
    base, rate = finding.recommendation.base_learning_rate, finding.learning_rate
    if with_rate and base is not None and rate not in (None, base):
        yield f"learning rate {format_learning_rate(base)} -> {format_learning_rate(rate)}"
    if finding.iterations_per_epoch is not None:
        count = format_count(finding.iterations_per_epoch)
        yield f"{count} iteration{'' if finding.iterations_per_epoch == 1 else 's'} per epoch"
