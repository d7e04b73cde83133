"""How work in a worker can end other than well, as replies that travel to the parent."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from autobatch.compare.records import RunOutcome
from autobatch.errors import (
    AutobatchError,
    DeviceLostError,
    WorkloadError,
    first_line_of,
    message_of,
)
from autobatch.noise.errors import noise_not_measured
from autobatch.probe.protocol import (
    Failure,
    NoiseRequest,
    TrainReply,
    TrainRequest,
    TrialReply,
    TrialRequest,
)
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.records import Outcome, Trial
from autobatch.units import format_seconds
from autobatch.workload.files import format_user_traceback

if TYPE_CHECKING:
    from autobatch.probe.isolation.child import ChildDied  # for Linux alone


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
    """What became of a trial whose process ended without a result."""
    outcome, message = describe_death(death, request.timeout_s)
    return Trial(
        batch_size=request.batch_size,
        outcome=outcome,
        peak_bytes=death.peak_bytes,
        message=message,
    )


def noise_failure_of_the_dead(request: NoiseRequest, death: ChildDied) -> Failure:
    """What became of a noise scale whose process ended without a result."""
    _, message = describe_death(death, request.timeout_s)
    return to_failure(noise_not_measured(message))


def training_of_the_dead(request: TrainRequest, death: ChildDied) -> TrainReply:
    """What became of training whose process ended without a result."""
    outcome, message = describe_death(death, request.timeout_s)
    is_memory = outcome is Outcome.OVER_BUDGET
    return TrainReply(
        outcome=RunOutcome.OUT_OF_MEMORY if is_memory else RunOutcome.KILLED,
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


def to_failure(error: BaseException, *, doing: str = "") -> Failure:
    """An exception, as the parent is to raise it.

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


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"
