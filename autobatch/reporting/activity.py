"""What goes on right now, on standard error.

on a terminal    one line that moves, with the time that it has taken, below what was written
in a notebook    one line, each replacing the one before
elsewhere        a line for each phase
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from autobatch import units
from autobatch.reporting.screen import printable

if TYPE_CHECKING:
    from typing_extensions import Self

# The display is drawn beside the measurement, on cores that it may need.
_REFRESHES_PER_S = 2


class Activity(Protocol):
    """Says what goes on. A stream that fails does not end the work."""

    def begin(self, phase: str) -> None:
        """A phase begins that may take long.

        Args:
            phase: What it does, such as ``loading model.py``.
        """

    def detail(self, what: str) -> None:
        """Say how far the phase is, where that can be replaced later; empty for nothing."""

    def write(self, line: str) -> None:
        """Write a line that stays, where more than one can."""


class SilentActivity:
    """Says nothing."""

    def begin(self, phase: str) -> None:
        """Say nothing."""

    def detail(self, what: str) -> None:
        """Say nothing."""

    def write(self, line: str) -> None:
        """Say nothing."""


class PlainActivity:
    """Writes a line for each phase, and each line that stays.

    Args:
        stream: Where to, usually standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    def begin(self, phase: str) -> None:
        """Write it."""
        self.write(phase)

    def detail(self, what: str) -> None:
        """Write nothing: it could not be replaced."""

    def write(self, line: str) -> None:
        """Write it."""
        self._put(f"{printable(line, self._encoding)}\n")

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # it may be closed
            self._stream.write(text)
            self._stream.flush()


class PassingActivity(PlainActivity):
    """Shows one line at a time, for streams that know a carriage return and nothing else.

    Use it as a context manager: at the end the last line is wiped.

    Args:
        stream: Where to, usually standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._phase = ""
        self._num_shown = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.write("")
        self._put("\r")

    def begin(self, phase: str) -> None:
        """Show it."""
        self._phase = phase
        self.write(phase)

    def detail(self, what: str) -> None:
        """Show it behind the phase."""
        self.write(_joined(self._phase, what))

    def write(self, line: str) -> None:
        """Show it until the next one comes."""
        text = printable(line, self._encoding)
        self._put(f"\r{text.ljust(self._num_shown)}")
        self._num_shown = len(text)


class LiveActivity:
    """Shows a line that moves, with the time since its phase began and since the beginning.

    Use it as a context manager: at the end the line is gone.

    Args:
        console: A console on standard error, on a terminal.
        clock: Returns seconds from any origin.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.show_above: Callable[[], Sequence[RenderableType]] = tuple
        self._spinner = Spinner("line")
        self._phase = self._detail = ""
        self._clock = clock
        self._began_s = self._since_s = clock()
        self._live = Live(
            get_renderable=self._picture,
            console=console,
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def begin(self, phase: str) -> None:
        """Show it from now on."""
        self._phase, self._detail, self._since_s = phase, "", self._clock()
        self.refresh()

    def detail(self, what: str) -> None:
        """Show it behind the phase."""
        self._detail = what
        self.refresh()

    def write(self, line: str) -> None:
        """Write it above the line that moves."""
        with contextlib.suppress(OSError, ValueError):
            self.console.print(Text(printable(line, self.console.encoding)))

    def refresh(self) -> None:
        """Show at once what has changed."""
        with contextlib.suppress(OSError, ValueError):
            self._live.refresh()

    def _picture(self) -> Group:
        now_s = self._clock()
        here, whole = (_whole_seconds(now_s - since) for since in (self._since_s, self._began_s))
        is_first = self._since_s - self._began_s < 1
        took = here if is_first else f"{here}; {whole} in all"
        what = printable(_joined(self._phase, self._detail), self.console.encoding)
        self._spinner.update(text=Text(f"{what} ({took})"))
        return Group(*self.show_above(), self._spinner)


def _joined(phase: str, detail: str) -> str:
    return f"{phase}: {detail}" if detail else phase


def _whole_seconds(elapsed_s: float) -> str:
    return units.format_seconds(max(1, round(elapsed_s)))
