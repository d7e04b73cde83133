"""The ways in which work can fail in a worker, as replies to the parent."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from autobatch.errors import (
    AutobatchError,
    DeviceLostError,
    WorkloadError,
    cause_of,
    first_line_of,
    message_of,
)
from autobatch.probe.protocol import Crash, Failure
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.records import Outcome
from autobatch.workload.user_code import UserCall, find_call, format_user_traceback

if TYPE_CHECKING:
    from autobatch.probe.isolation.child import ChildDied  # for Linux alone

R = TypeVar("R")
_NO_FRAME_HINT = "run one step of it in plain PyTorch: a library raised it, outside of your code"
_HALF_PRECISIONS = ("BFloat16", "Half")


class WorkFailed(Exception):  # noqa: N818 - it carries the error
    """A piece of work raised, where its exception cannot be raised again.

    Attributes:
        failure: The reply to the parent.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def attempt(work: Callable[[], R], *, doing: str) -> R | Crash | Failure:
    """Do a piece of work, whatever the user's code raises.

    Args:
        work: The work.
        doing: What it is, such as ``in a trial at batch size 8``.
    """
    try:
        return work()
    except DeviceLostError as error:
        return crash_from_lost_device(error)
    except BaseException as error:  # the user's code may raise SystemExit, too
        return to_failure(error, doing=doing)


def crash_from_death(death: ChildDied, timeout_s: float | None) -> Crash:
    """Describe how a child ended without a result.

    Args:
        death: What the parent saw.
        timeout_s: Seconds that the work had, ``None`` without a limit.
    """
    if death.was_too_slow:
        return Crash.timed_out(timeout_s, death.peak_bytes)
    outcome = Outcome.KILLED
    if death.was_over_budget:
        outcome, message = Outcome.OVER_BUDGET, "ended when its memory exceeded the budget"
    elif death.exit_code < 0:
        message = f"ended by {_name_signal(-death.exit_code)}"
    else:
        message = f"ended with exit status {death.exit_code}"
    return Crash(outcome=outcome, message=message, peak_bytes=death.peak_bytes)


def crash_from_lost_device(error: DeviceLostError) -> Crash:
    """Describe work after which the worker must be replaced."""
    cause = error.__cause__ or error
    return Crash(
        outcome=Outcome.KILLED,
        message=f"its device was lost: {first_line_of(cause)}",
        lost_device=Failure(
            error="WorkloadError",
            message=str(error),
            hint=error.hint,
            user_traceback=format_user_traceback(cause),
        ),
    )


def to_failure(error: BaseException, *, doing: str = "") -> Failure:
    """Turn an exception into the reply that makes the parent raise it.

    Args:
        error: What was raised.
        doing: What was going on, such as ``in a trial at batch size 8``.
    """
    if isinstance(error, WorkloadError):
        return Failure(
            error="WorkloadError",
            message=str(error),
            hint=error.hint,
            user_traceback=error.user_traceback,
            cause=cause_of(error),
        )
    if isinstance(error, AutobatchError):
        return Failure(error=type(error).__name__, message=str(error), hint=error.hint)
    if is_out_of_memory(error):
        return Failure(
            error="WorkloadError",
            message=f"memory ran out {doing or 'while the workload was loaded'}: "
            f"{message_of(error)}",
            hint="use a smaller model, or a machine with more memory",
            cause=cause_of(error),
        )
    where = f" {doing}" if doing else ""
    message = f"{type(error).__name__}{where}: {message_of(error)}"
    user_traceback, call = format_user_traceback(error), find_call(error)
    hint = _NO_FRAME_HINT
    if user_traceback:
        hint = "the traceback above shows where in your code it was raised"
    elif call is not None:  # in a library, which they called for us
        message += f"; raised by {call.text}"
        hint = _find_hint(call, message_of(error))
    return Failure(
        error="WorkloadError",
        message=message,
        hint=hint,
        user_traceback=user_traceback,
        cause=cause_of(error),
    )


def _find_hint(call: UserCall, message: str) -> str:
    """The one thing to change after an exception in a call without code of the user's."""
    if "dtype" in message and any(each in message for each in _HALF_PRECISIONS):
        return "leave the model in float32 and use `precision=bf16`"
    if call.name == "model":
        return "make the model and the data fit: this is how autobatch calls it"
    return "define loss(output, target) for what they are, or training_step(model, batch)"


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"
