"""Every error that autobatch raises on purpose.

    AutobatchError
    ├── SettingsError (also a ValueError)   a value that cannot be used
    ├── WorkloadError                       the user's model, data or loss
    ├── DeviceError
    │   ├── DeviceUnavailableError          asked for, not there
    │   └── DeviceLostError                 was there; this process can no longer use it
    ├── NothingFitsError                    measured, and the smallest size does not fit
    ├── WorkerError                         the measuring process itself failed
    ├── ResultFormatError                   a saved finding that cannot be read
    └── BaselineError                       a baseline that cannot be compared with

    KeyboardInterrupt                       Ctrl-C or SIGTERM; these carry the results so far
    ├── SearchInterrupted                   during a search that has an answer
    ├── CheckInterrupted                    during a check
    ├── ComparisonInterrupted               during a comparison that has trained something
    └── TuningInterrupted                   during a tuning that has measured its start

A message repeats the user's value; ``hint`` is the one thing to try next. Errors raised
once measuring has begun carry the trials made so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class AutobatchError(Exception):
    """Base of all errors of this package.

    Attributes:
        hint: One thing to try, without a full stop; empty if there is none.
        trials: The ``Trial`` records made before the error, in the order they ran.
    """

    def __init__(self, message: str, *, hint: str = "", trials: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.trials = trials


class SettingsError(AutobatchError, ValueError):
    """A setting has a value that cannot be used."""


class WorkloadError(AutobatchError):
    """The user's model, data, loss or optimizer cannot be trained with.

    Attributes:
        user_traceback: The traceback through the user's own frames, or an empty string.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        user_traceback: str = "",
        trials: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, trials=trials)
        self.user_traceback = user_traceback


class DeviceError(AutobatchError):
    """A device cannot be used as asked."""


class DeviceUnavailableError(DeviceError):
    """The device that was asked for is not on this machine."""


class DeviceLostError(DeviceError):
    """After a device error, this process can no longer use the device."""


class NothingFitsError(AutobatchError):
    """Even the smallest batch size was refuted; ``trials`` holds the evidence."""


class WorkerError(AutobatchError):
    """The measuring process ended or stopped answering.

    Attributes:
        exit_code: Its exit status (negative: the signal that ended it), ``None`` if alive.
        stderr_tail: The last lines that it wrote to standard error.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        exit_code: int | None = None,
        stderr_tail: str = "",
        trials: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, trials=trials)
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail


class ResultFormatError(AutobatchError):
    """A file does not hold a finding that this version can read."""


class BaselineError(AutobatchError):
    """A baseline of something else, or from other hardware."""


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C during a search that already had an answer.

    A ``KeyboardInterrupt``, so that code unaware of it stops as it should.

    Attributes:
        finding: The best ``Finding`` so far, with stop reason ``INTERRUPTED``.
    """

    def __init__(self, finding: Any) -> None:
        super().__init__(f"interrupted: best so far {finding.batch_size}, in .finding")
        self.finding = finding


class CheckInterrupted(KeyboardInterrupt):
    """Ctrl-C during a check.

    A ``KeyboardInterrupt``, so that code unaware of it stops as it should.

    Attributes:
        report: The ``CheckReport`` so far: what was decided, and the rest as inconclusive.
    """

    def __init__(self, report: Any) -> None:
        super().__init__("check interrupted")
        self.report = report


class ComparisonInterrupted(KeyboardInterrupt):
    """Ctrl-C during a comparison that had trained something already.

    Attributes:
        comparison: The ``Comparison`` so far.
    """

    def __init__(self, comparison: Any) -> None:
        super().__init__("comparison interrupted")
        self.comparison = comparison


class TuningInterrupted(KeyboardInterrupt):
    """Ctrl-C during a tuning that had measured the settings it started from.

    Attributes:
        tuning: The ``Tuning`` so far, with the best settings so far.
    """

    def __init__(self, tuning: Any) -> None:
        super().__init__("tuning interrupted: the best so far is in .tuning")
        self.tuning = tuning


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that led to it, latest first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def first_line_of(error: BaseException) -> str:
    """The first line of the message of an exception, at most 300 characters of it."""
    return message_of(error).strip().partition("\n")[0][:300]


def cause_of(error: BaseException) -> str:
    """What was raised, in one line: ``RuntimeError: CUDA error: invalid argument``."""
    line = first_line_of(error)
    if isinstance(error, AutobatchError):  # its message says it all
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def message_of(error: BaseException) -> str:
    """The message of an exception, even if its ``__str__`` fails."""
    try:
        return str(error)
    except Exception:
        return "(it has a message that cannot be shown)"
