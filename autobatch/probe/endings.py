"""How a trial can end other than well, as replies that travel to the parent."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from autobatch.errors import (
    AutobatchError,
    DeviceLostError,
    WorkloadError,
    first_line_of,
    message_of,
)
from autobatch.probe.oom import is_out_of_memory
from autobatch.probe.protocol import Failure, TrialReply, TrialRequest
from autobatch.records import Outcome, Trial
from autobatch.units import format_seconds
from autobatch.workload.files import format_user_traceback

if TYPE_CHECKING:
    from autobatch.probe.isolate import ChildDied  # for Linux alone


def trial_of_the_dead(request: TrialRequest, death: ChildDied) -> Trial:
    """What became of a trial whose process ended without a result."""
    if death.was_too_slow:
        outcome = Outcome.TIMED_OUT
        message = f"no end after {format_seconds(request.timeout_s or 0.0)}"
    elif death.was_over_budget:
        outcome, message = Outcome.OVER_BUDGET, "ended when its memory exceeded the budget"
    elif death.exit_code < 0:
        outcome = Outcome.KILLED
        message = f"ended by {_name_signal(-death.exit_code)}"
    else:
        outcome, message = Outcome.KILLED, f"ended with exit status {death.exit_code}"
    return Trial(
        batch_size=request.batch_size,
        outcome=outcome,
        peak_bytes=death.peak_bytes,
        message=message,
    )


def to_lost_device(error: DeviceLostError, batch_size: int) -> TrialReply:
    """The reply about a trial after which the worker has to be replaced."""
    cause = error.__cause__ or error
    message = f"its device was lost: {first_line_of(cause)}"
    return TrialReply(
        trial=Trial(batch_size=batch_size, outcome=Outcome.KILLED, message=message),
        lost_device=Failure(
            error="WorkloadError",
            message=str(error),
            hint=error.hint,
            user_traceback=format_user_traceback(cause),
        ),
    )


def to_failure(error: BaseException, *, batch_size: int | None = None) -> Failure:
    """An exception, as the parent is to raise it.

    Args:
        error: What was raised.
        batch_size: The trial that it came from, ``None`` if it was none.
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
            message=f"loading the workload ran out of memory: {message_of(error)}",
            hint="use a smaller model, or a machine with more memory",
        )
    where = "" if batch_size is None else f" in a trial at batch size {batch_size}"
    return Failure(
        error="WorkloadError",
        message=f"{type(error).__name__}{where}: {message_of(error)}",
        hint="the traceback above shows where in your code it was raised",
        user_traceback=format_user_traceback(error),
    )


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"
