"""The leader: a prober whose every request goes to all ranks, and whose trial is that of the group.

A rank's failure is an outcome of the size that names the rank and its own cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from autobatch import errors
from autobatch.probe.client import to_error
from autobatch.probe.protocol import (
    Crash,
    Failure,
    HasThreads,
    Limits,
    Loaded,
    Reply,
    TimingPlan,
    TrialReply,
)
from autobatch.probe.worker.process import find_other_searches
from autobatch.ranks.launch import ENTRY, LaunchedRanks, WorkerEnded
from autobatch.ranks.merge import (
    WAITED,
    collect_readings,
    describe_waiting,
    find_cause,
    merge_loaded,
    merge_trials,
)
from autobatch.ranks.requests import RankTrialRequest
from autobatch.ranks.settings import RanksSettings
from autobatch.records import Outcome, RankReading, Settings, Trial

if TYPE_CHECKING:
    from typing_extensions import Self

    from autobatch.ranks.control import Cause

# Beyond the time that a rank's worker gives its child.
_GRACE_S = 3.0


class Ranks(Protocol):
    """The workers of all ranks."""

    num_ranks: int
    """How many there are."""

    def start(self) -> None:
        """Have a worker for each rank."""

    def load(self, number: int, timeout_s: float | None) -> list[Reply]:
        """Have every rank load the workload.

        Args:
            number: Of the request.
            timeout_s: How long it may take.

        Raises:
            WorkerEnded: If a worker did not reply.
        """

    def measure(self, request: RankTrialRequest, timeout_s: float | None) -> list[Reply]:
        """Have every rank run a trial.

        Args:
            request: The trial.
            timeout_s: How long to wait for replies.

        Raises:
            WorkerEnded: If a worker did not reply.
        """

    def find_first_failure(self, number: int) -> Cause | None:
        """The first failure in a request that was told by a rank."""

    def end(self) -> None:
        """End all workers."""


class GroupProber:
    """Measures what all ranks train together; a context manager, so that no worker is left.

    Args:
        ranks: The workers.
        on_stage: Receives what it does now, in words, where that is not a trial.
    """

    def __init__(
        self, ranks: Ranks, *, on_stage: Callable[[str], None] = lambda doing: None
    ) -> None:
        self._ranks, self._on_stage = ranks, on_stage
        self._number = 0
        self._loaded: Loaded | None = None
        self._loading_timeout_s: float | None = None

    @classmethod
    def of_target(
        cls,
        target: str,
        settings: Settings,
        asked: RanksSettings,
        *,
        on_output: Callable[[str], None] = lambda line: None,
        on_stage: Callable[[str], None] = lambda doing: None,
        entry: str = ENTRY,
    ) -> Self:
        """A prober of a target, in processes that it starts on this machine.

        Args:
            target: As the user wrote it.
            settings: Settings of the search.
            asked: How many processes, and how they train together.
            on_output: Receives each line that the user's code prints.
            on_stage: Receives what it does now, in words, where that is not a trial.
            entry: Python code of a worker.
        """
        ranks = LaunchedRanks(
            target, settings, asked, on_output=on_output, on_stage=on_stage, entry=entry
        )
        return cls(ranks, on_stage=on_stage)

    def __enter__(self) -> Self:
        self._ranks.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Build the workload on every rank, and run one step of it on all together.

        Raises:
            WorkloadError: If the workload is not usable.
            DeviceError: If the device is not.
            WorkerError: If a worker ended without saying why, or was not done in time.
        """
        self._number += 1
        self._loading_timeout_s = timeout_s
        try:
            replies = self._ranks.load(self._number, timeout_s)
        except WorkerEnded as ended:
            raise errors.WorkerError(
                f"{ended} while the workload was loaded",
                hint="run again with -v to see what it printed",
                exit_code=ended.exit_code,
                stderr_tail=ended.stderr_tail,
            ) from None
        threads = next((each.names for each in replies if isinstance(each, HasThreads)), ())
        if threads:
            raise errors.WorkloadError(
                f"the target starts threads of its own ({', '.join(threads[:3])}), which a fork "
                "for a trial would lack",
                hint="start threads on first use, not when the file is imported",
            )
        all_loaded = [reply for reply in replies if isinstance(reply, Loaded)]
        if len(all_loaded) < len(replies):
            raise self._refused(replies)
        self._loaded = merge_loaded(all_loaded)
        return self._loaded

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size on all ranks.

        A rank's worker does not die of a trial: if it ends, all are started anew and the size runs
        once more.

        Raises:
            WorkloadError: If the user's code raised at the smallest size, other than out of memory.
        """
        return self._measure_sizes(batch_size, (), plan, timeout_s)

    def measure_each(
        self, sizes: Sequence[int], plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run a size of its own on each rank; the trial names the largest.

        Args:
            sizes: By rank.
            plan: How long to time steps.
            timeout_s: How long it may take.

        Raises:
            WorkloadError: As ``measure``.
        """
        return self._measure_sizes(max(sizes), tuple(sizes), plan, timeout_s)

    def _measure_sizes(
        self, batch_size: int, sizes: tuple[int, ...], plan: TimingPlan, timeout_s: float | None
    ) -> Trial:
        measure = partial(self._measure, batch_size, sizes, plan, timeout_s)
        try:
            return measure()
        except WorkerEnded as ended:
            self._end()
            self._on_stage(f"{ended}; starting all ranks anew")
            if ended.exit_code is None:  # the time is up
                message = f"{Crash.timed_out(timeout_s).message}; {ended}"
                return Trial(batch_size=batch_size, outcome=Outcome.TIMED_OUT, message=message)
        try:
            return measure()
        except (WorkerEnded, errors.WorkerError) as ended:
            self._end()
            return Trial(batch_size=batch_size, outcome=Outcome.KILLED, message=str(ended))

    def _measure(
        self, batch_size: int, sizes: tuple[int, ...], plan: TimingPlan, timeout_s: float | None
    ) -> Trial:
        if self._loaded is None:
            self._ranks.start()
            self.load(timeout_s=self._loading_timeout_s)
        assert self._loaded is not None
        self._number += 1
        request = RankTrialRequest(
            batch_size=batch_size,
            plan=plan,
            limits=Limits(budget_bytes=self._loaded.budget.budget_bytes, timeout_s=timeout_s),
            number=self._number,
            sizes=sizes,
        )
        patience_s = None if timeout_s is None else timeout_s + _GRACE_S
        replies = self._ranks.measure(request, patience_s)
        trials = [reply.trial for reply in replies if isinstance(reply, TrialReply)]
        if len(trials) == len(replies) and all(trial.fits for trial in trials):
            merged = replace(merge_trials(trials), batch_size=batch_size)
            return replace(merged, num_other_searches=len(find_other_searches()))
        return self._to_failed(replies, request)

    def _to_failed(self, replies: list[Reply], request: RankTrialRequest) -> Trial:
        """The trial of a size that failed on at least one rank."""
        assert self._loaded is not None
        rank = find_cause(replies, self._ranks.find_first_failure(request.number))
        assert rank is not None, "not all fitted"
        size, cause = request.batch_size, replies[rank]
        if isinstance(cause, Crash):
            cause = TrialReply.from_crash(size, cause)
        if isinstance(cause, Failure) and cause.error == WAITED:
            trial = describe_waiting(replies, request.limits.timeout_s)
            return replace(trial, batch_size=size)
        if isinstance(cause, TrialReply):
            trial = replace(cause.trial, message=f"rank {rank}: {cause.trial.message}")
            return replace(trial, ranks=_read_all(replies, size))
        if isinstance(cause, Failure) and cause.cause and size > self._loaded.smallest_batch_size:
            message = f"rank {rank}: {cause.cause}"
            return Trial(batch_size=size, outcome=Outcome.FAILED, message=message)
        raise self._to_error(replies, f"at batch size {size}")

    def _refused(self, replies: list[Reply]) -> errors.AutobatchError:
        """Why the workload could not be loaded on all ranks."""
        first = self._ranks.find_first_failure(self._number)
        if first is None or not isinstance(replies[first.rank], Loaded):
            return self._to_error(replies, "while the workload was loaded")
        # Its first step did not fit, which is no error of the workload.
        return errors.NothingFitsError(
            f"the first step does not fit: rank {first.rank}: {first.why}",
            hint="raise `memory_limit`, or use a smaller model",
        )

    def _to_error(self, replies: list[Reply], when: str) -> errors.AutobatchError:
        """The error of the rank that failed first."""
        rank = find_cause(replies, self._ranks.find_first_failure(self._number))
        assert rank is not None, "not all succeeded"
        reply = replies[rank]
        if isinstance(reply, Failure):
            # An error of the workload is the same on all ranks, as a rule.
            error = to_error(reply)
            error.args = (f"rank {rank}: {error}", *error.args[1:])
            return error
        return errors.WorkerError(
            f"rank {rank} replied with a {type(reply).__name__} {when}", hint="report it as a bug"
        )

    def _end(self) -> None:
        self._loaded = None
        self._ranks.end()


def _read_all(replies: list[Reply], batch_size: int) -> tuple[RankReading, ...]:
    trials = [
        reply.trial
        if isinstance(reply, TrialReply)
        else Trial(batch_size=batch_size, outcome=Outcome.KILLED)
        for reply in replies
    ]
    return collect_readings(trials)
