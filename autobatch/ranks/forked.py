"""Children of a rank's worker, each in groups of its own with the children of the other ranks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from torch._C._distributed_c10d import Store

from autobatch.probe.isolation.base import Ended
from autobatch.probe.isolation.endings import WorkFailed
from autobatch.probe.isolation.forked import Forked
from autobatch.probe.protocol import Crash, Failure, JobContext
from autobatch.ranks.control import Control, explain
from autobatch.ranks.groups import reconnect, renew_backends
from autobatch.ranks.merge import STOPPED, WAITED
from autobatch.ranks.place import Stacks, Standing
from autobatch.ranks.room import Room, stopped_by_peers
from autobatch.records import Outcome

R = TypeVar("R")

# Time for a child to stop at a gate by itself, once another rank has failed.
_STOPPING_S = 0.3
_LONGEST_COLLECTIVE_S = 1800.0


@dataclass(kw_only=True)
class Member:
    """One rank's place among the others.

    Attributes:
        base: The store of this group of workers, by a connection of this process.
        rank: Which one.
        num_ranks: How many there are.
        number: Of the leader's request that is carried out.
    """

    base: Store
    rank: int
    num_ranks: int
    number: int = 0
    _num_attempts: int = field(default=0, init=False)

    def begin(self, number: int) -> None:
        """Begin to carry out a request of the leader."""
        self.number, self._num_attempts = number, 0

    def next_attempt(self) -> int:
        """Number of the next piece of work; all ranks do the same ones."""
        self._num_attempts += 1
        return self._num_attempts

    def control(self, attempt: int) -> Control:
        """What is told about a piece of work, by a connection of this process."""
        return Control(self.base, self.rank, self.number, attempt)

    def reconnected(self) -> Member:
        """The same in a forked child, which must not use its parent's connection."""
        return replace(self, base=reconnect(self.base))


class ForkedRank(Forked):
    """Does each piece of work in a child, beside those of the other ranks.

    Args:
        member: This rank.
        file_pages: As of ``Forked``.
        refuses_threads: As of ``Forked``.
    """

    def __init__(
        self, member: Member, file_pages: list[int] | None = None, *, refuses_threads: bool = True
    ) -> None:
        super().__init__(file_pages or (), refuses_threads=refuses_threads, look=self._look_at)
        self._member = member
        self._stacks = Stacks()
        self._watch: _Watch | None = None

    def run(self, work: Callable[[JobContext], R], context: JobContext) -> Ended[R]:
        """Do a piece of work in a child; one whose partners have gone is ended."""
        attempt, limits = self._member.next_attempt(), context.limits
        control = self._member.control(attempt)
        watch = self._watch = _Watch(control, self._stacks, limits.timeout_s)

        def work_with_others(context: JobContext) -> R:
            self._stacks.listen()
            mine = self._member.reconnected().control(attempt)
            with stopped_by_peers(mine):
                renew_backends(mine.store, limits.timeout_s or _LONGEST_COLLECTIVE_S)
                return work(replace(context, pace=Room(mine)))

        try:
            ended = super().run(work_with_others, context)
        except WorkFailed as error:
            failure = error.failure
            if failure.error != STOPPED:
                control.fail(failure.cause or failure.message)
            raise
        if isinstance(ended.result, Crash):
            return replace(ended, result=self._explain(ended.result, control, watch))
        return ended

    def _explain(self, crash: Crash, control: Control, watch: _Watch) -> Crash:
        """How a child ended without a result, if that was not for the sake of the others.

        Raises:
            WorkFailed: If it was.
        """
        if watch.has_ended_it:
            raise WorkFailed(Failure(error=STOPPED, message=explain(control.find_failure())))
        if crash.outcome is Outcome.TIMED_OUT and watch.standing is not None:
            if watch.standing.waits:
                raise WorkFailed(Failure(error=WAITED, message=watch.standing.text))
            crash = replace(crash, message=f"{crash.message}; {watch.standing.text}")
        control.fail(crash.message)
        return crash

    def _look_at(self, pid: int) -> None:
        if self._watch is not None:
            self._watch.look(pid)


class _Watch:
    """Looks at one child for the other ranks' sake."""

    def __init__(self, control: Control, stacks: Stacks, timeout_s: float | None) -> None:
        self._control, self._stacks = control, stacks
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._stop_at: float | None = None
        self.standing: Standing | None = None
        self.has_ended_it = False

    def look(self, pid: int) -> None:
        now = time.monotonic()
        if self._deadline is not None and now > self._deadline and self.standing is None:
            self.standing = self._stacks.find(pid)
        if self._stop_at is None and self._control.find_failure() is not None:
            self._stop_at = now + _STOPPING_S
        if self._stop_at is not None and now > self._stop_at and self.standing is None:
            self.has_ended_it = True
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
