"""Who decides how a trial goes on: its own process, or all that train together.

A process that stopped after twelve steps while another began its thirteenth would leave that one
waiting for ever. So every decision that depends on a clock or on data is asked for here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from autobatch.records import Trial


class Pace(Protocol):
    """Decides whether a trial goes on, and is told of what may fail."""

    num_final_steps: int
    """Steps that a final run has at least, where there is time: until memory has settled."""

    def go_on(self, wants: bool) -> bool:
        """Whether one more step runs; asked before each, outside of its timing.

        Args:
            wants: Whether this process would run it.
        """

    def agree(self, mine: int) -> int:
        """Take any other decision.

        Args:
            mine: What this process would decide: a number, or whether.
        """

    def training(self) -> AbstractContextManager[object]:
        """Around all training steps of a trial: what raises inside ends it for all."""

    def careful(self, part: str = "") -> AbstractContextManager[object]:
        """Around work that may fail, such as first steps.

        Args:
            part: Names work whose failure does not end the trial.
        """

    def complete(self, trial: Trial) -> Trial:
        """Add to a trial what was seen of the others."""


class Alone:
    """The pace of a process that trains by itself."""

    num_final_steps = 0

    def go_on(self, wants: bool) -> bool:
        """As it wants."""
        return wants

    def agree(self, mine: int) -> int:
        """As it wants."""
        return mine

    def training(self) -> AbstractContextManager[object]:
        """Nobody is to be told."""
        return nullcontext()

    def careful(self, part: str = "") -> AbstractContextManager[object]:
        """Nobody waits for it."""
        return nullcontext()

    def complete(self, trial: Trial) -> Trial:
        """There are no others."""
        return trial


ALONE = Alone()
