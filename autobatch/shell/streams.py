"""Standard output for the result, standard error for everything else."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, TypeVar

from autobatch.errors import SettingsError
from autobatch.records import Finding

if TYPE_CHECKING:
    from rich.console import Console

    from autobatch.reporting import LineProgress
    from autobatch.reporting.activity import Activity

_T = TypeVar("_T")
# Terminals that cannot replace a line.
_DUMB = ("dumb", "unknown")


def print_finding(finding: Finding, *, as_json: bool) -> None:
    """Write a finding to standard output.

    Args:
        finding: What to write.
        as_json: Write JSON instead of text for a person.
    """
    from autobatch.reporting import dumps, render

    print_result(finding, dumps if as_json else None, render)


def print_result(
    result: _T, dumps: Callable[[_T], str] | None, render: Callable[[_T, Console], None]
) -> None:
    """Write a result to standard output; a reader that leaves early, such as ``head``, is no error.

    Args:
        result: What to write.
        dumps: Turns it into JSON; ``None`` to write text for a person.
        render: Prints it for a person.

    Raises:
        SettingsError: If standard output takes no more, such as a file on a full disk.
    """
    try:
        with until_its_reader_leaves(sys.stdout):
            if dumps is not None:
                sys.stdout.write(dumps(result))
            else:
                render(result, make_console(to_stderr=False))
            sys.stdout.flush()
    except OSError as error:
        abandon(sys.stdout)
        raise SettingsError(
            f"cannot write to standard output: {(error.strerror or str(error)).lower()}",
            hint="redirect the output to another file",
        ) from error


def print_unfinished(result: _T, render: Callable[[_T, Console], None]) -> None:
    """Write what was done before Ctrl-C to standard error.

    Args:
        result: What to write.
        render: Prints it for a person.
    """
    console = make_console(to_stderr=True)
    with until_its_reader_leaves(sys.stderr):
        console.print("\nInterrupted; what was done so far:\n")
        render(result, console)


@contextmanager
def until_its_reader_leaves(stream: TextIO) -> Iterator[None]:
    """Write to a pipe; where nobody reads it any more, drop what is left.

    Args:
        stream: One of the standard streams.
    """
    try:
        yield
    except BrokenPipeError:
        abandon(stream)


def abandon(stream: TextIO) -> None:
    """Keep Python from flushing a closed output at exit.

    Args:
        stream: One of the standard streams.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no signal end the moment that it takes to write what a long search has found."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            if handler is not None:  # one that Python knows of
                signal.signal(number, handler)


def make_console(*, to_stderr: bool) -> Console:
    """A console on one of the standard streams, plain where it is not a terminal."""
    from autobatch.reporting.screen import PipeConsole

    return PipeConsole(stderr=to_stderr, force_jupyter=False, soft_wrap=False, highlight=False)


@contextmanager
def show_activity(*, quiet: bool) -> Iterator[Activity]:
    """What suits standard error: a line that moves, or a line for each phase.

    Args:
        quiet: Whether to say nothing.
    """
    from autobatch.reporting.activity import (
        LiveActivity,
        PassingActivity,
        PlainActivity,
        SilentActivity,
    )

    if quiet:
        yield SilentActivity()
    elif sys.stderr.isatty() and os.environ.get("TERM") not in _DUMB:
        with LiveActivity(make_console(to_stderr=True)) as live:
            yield live
    elif is_in_notebook():
        with PassingActivity(sys.stderr) as passing:
            yield passing
    else:
        yield PlainActivity(sys.stderr)


def is_in_notebook() -> bool:
    """Whether what is written to standard error appears below a notebook's cell."""
    return type(sys.stderr).__module__.startswith("ipykernel.")


def is_watched() -> bool:
    """Whether a person sees what is written to standard error as it is written."""
    is_terminal = getattr(sys.stderr, "isatty", bool)()
    return is_terminal or is_in_notebook()


@contextmanager
def watch(*, quiet: bool) -> Iterator[LineProgress]:
    """An observer of a search that suits standard error.

    Args:
        quiet: Whether to say nothing.
    """
    from autobatch.reporting import LineProgress, LiveProgress
    from autobatch.reporting.activity import LiveActivity

    with show_activity(quiet=quiet) as activity:
        if isinstance(activity, LiveActivity):
            yield LiveProgress(activity)
        else:
            yield LineProgress(activity)


def say(line: str) -> None:
    """Write a line to standard error, such as one that the user's code printed."""
    with until_its_reader_leaves(sys.stderr):
        print(line, file=sys.stderr)


def ignore(line: str) -> None:
    """Drop a line that the user's code printed."""
