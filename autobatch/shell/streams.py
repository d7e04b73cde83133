"""Standard output for the result, standard error for everything else."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from autobatch.errors import SettingsError
from autobatch.records import Finding, Observer, SilentObserver

if TYPE_CHECKING:
    from rich.console import Console

_T = TypeVar("_T")


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
    """Write a result to standard output.

    Args:
        result: What to write.
        dumps: Turns it into JSON; ``None`` to write text for a person.
        render: Prints it for a person.

    Raises:
        SettingsError: If standard output takes no more, such as a file on a full disk.
    """
    try:
        if dumps is not None:
            sys.stdout.write(dumps(result))
        else:
            render(result, make_console(to_stderr=False))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon_stdout()
        raise SettingsError(
            f"cannot write to standard output: {(error.strerror or str(error)).lower()}",
            hint="redirect the output to another file",
        ) from error


def abandon_stdout() -> None:
    """Keep Python from flushing a closed output at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    from rich.console import Console

    return Console(stderr=to_stderr, force_jupyter=False, soft_wrap=False, highlight=False)


@contextmanager
def watch(*, quiet: bool) -> Iterator[Observer]:
    """An observer that suits standard error: live on a terminal, else a line per trial."""
    from autobatch.reporting import LineProgress, LiveProgress

    if quiet:
        yield SilentObserver()
    elif sys.stderr.isatty():
        with LiveProgress(make_console(to_stderr=True)) as progress:
            yield progress
    else:
        yield LineProgress(sys.stderr)


def say(line: str) -> None:
    """Pass on a line that the user's code printed."""
    print(line, file=sys.stderr)


def ignore(line: str) -> None:
    """Drop a line that the user's code printed."""
