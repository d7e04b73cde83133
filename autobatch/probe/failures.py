"""From exceptions and deaths in a worker to replies that its parent can tell apart."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from autobatch.errors import AutobatchError, WorkloadError, message_of
from autobatch.probe.oom import is_out_of_memory
from autobatch.probe.protocol import Failure, TrialRequest
from autobatch.records import Outcome, Trial
from autobatch.units import format_seconds
from autobatch.workload.files import format_user_traceback

if TYPE_CHECKING:
    from autobatch.probe.isolate import ChildDied


def describe_death(death: ChildDied, timeout_s: float | None) -> tuple[Outcome, str]:
    """What ended a child, as an outcome and in words."""
    if death.was_too_slow:
        return Outcome.TIMED_OUT, f"no end after {format_seconds(timeout_s or 0.0)}"
    if death.was_over_budget:
        return Outcome.OVER_BUDGET, "ended when its memory exceeded the budget"
    if death.exit_code < 0:
        return Outcome.KILLED, f"ended by {_name_signal(-death.exit_code)}"
    return Outcome.KILLED, f"ended with exit status {death.exit_code}"


def trial_of_the_dead(request: TrialRequest, death: ChildDied) -> Trial:
    """The trial of a child that ended without a result."""
    outcome, message = describe_death(death, request.timeout_s)
    return Trial(
        batch_size=request.batch_size,
        outcome=outcome,
        peak_bytes=death.peak_bytes,
        message=message,
    )


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


def to_failure(error: BaseException, *, doing: str = "") -> Failure:
    """An exception as a reply.

    Args:
        error: What was raised.
        doing: What was going on, for the message.
    """
    if isinstance(error, WorkloadError):
        return Failure(
            error="WorkloadError",
            message=str(error),
            hint=error.hint,
            user_traceback=error.user_traceback,
        )
    if isinstance(error, AutobatchError):
        return Failure(error=type(error).__name__, message=str(error), hint=error.hint)
    if is_out_of_memory(error):
        return Failure(
            error="WorkloadError",
            message=f"memory ran out {doing or 'while the workload was loaded'}: "
            f"{message_of(error)}",
            hint="use a smaller model, or a machine with more memory",
        )
    where = f" {doing}" if doing else ""
    return Failure(
        error="WorkloadError",
        message=f"{type(error).__name__}{where}: {message_of(error)}",
        hint="the traceback above shows where in your code it was raised",
        user_traceback=format_user_traceback(error),
    )
