"""The workers of a running job's ranks, as rank 0 sees them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from torch._C._distributed_c10d import Store

from autobatch.probe.protocol import Reply, Request
from autobatch.probe.worker.process import Process, WorkerProcess
from autobatch.ranks.control import Cause, find_first_failure, tell_gone
from autobatch.ranks.launch import WorkerEnded
from autobatch.ranks.orders import End, Ended, Load, Start, decode, encode
from autobatch.ranks.pulse import Pulse
from autobatch.ranks.requests import RankTrialRequest

_SLICE_S = 0.02
# For the children of the others to end, once a worker has.
_STOPPING_S = 5.0


class LocalWorker:
    """The worker of this process's own rank.

    Args:
        start: Starts it, for a generation.
        make_load_request: The request that has it load, for a generation and by its number.
        on_output: Receives each line that the user's code prints.
    """

    def __init__(
        self,
        start: Callable[[int], Process],
        make_load_request: Callable[[int, int], Request],
        on_output: Callable[[str], None],
    ) -> None:
        self._start, self._make_load_request = start, make_load_request
        self._on_output = on_output
        self._generation = 0
        self._worker: WorkerProcess | None = None

    def start(self, generation: int) -> None:
        """Start it, in the place of one that there may be."""
        self.end()
        self._generation = generation
        self._worker = WorkerProcess(self._start(generation), self._on_output)

    def send(self, order: Load | RankTrialRequest) -> None:
        """Have it carry out an order."""
        if isinstance(order, Load):
            request = self._make_load_request(self._generation, order.number)
        else:
            request = order
        if self._worker is not None:
            self._worker.send(request)

    def poll(self) -> Reply | Ended | None:
        """Its reply, if it comes soon; ``None`` if not."""
        if self._worker is None:
            return Ended(exit_code=0, stderr_tail="")
        with suppress(TimeoutError):
            reply = self._worker.receive(_SLICE_S)
            if reply is not None:
                return reply
            worker, self._worker = self._worker, None
            exit_code = worker.end()
            return Ended(exit_code=exit_code, stderr_tail=worker.stderr_tail)
        return None

    def end(self) -> None:
        """End it and every process that it started."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()


class JoinedRanks:
    """Asks the workers of all ranks, one of which is this process's own.

    Args:
        store: Of this search.
        base: From a generation to what its workers talk through.
        local: The worker of rank 0.
        num_ranks: How many there are.
        pulse: Looks whether the other ranks live.
    """

    def __init__(
        self,
        store: Store,
        base: Callable[[int], Store],
        local: LocalWorker,
        num_ranks: int,
        pulse: Pulse,
    ) -> None:
        self._store, self._base, self._local, self._pulse = store, base, local, pulse
        self.num_ranks = num_ranks
        self._generation = self._num_orders = 0

    def tell(self, order: Any) -> None:
        """Have all other ranks do something."""
        self._num_orders += 1
        self._store.set(f"order/{self._num_orders}", encode(order))

    def start(self) -> None:
        """Have a worker for each rank."""
        self._generation += 1
        self.tell(Start(generation=self._generation))
        self._local.start(self._generation)

    def load(self, number: int, timeout_s: float | None) -> list[Reply]:
        """Have every rank load the workload.

        Raises:
            WorkerEnded: If a worker did not reply.
            WorkerError: If the process of a rank is gone.
        """
        return self._ask(Load(number=number), timeout_s)

    def measure(self, request: RankTrialRequest, timeout_s: float | None) -> list[Reply]:
        """Have every rank run a trial.

        Raises:
            WorkerEnded: If a worker did not reply.
            WorkerError: If the process of a rank is gone.
        """
        return self._ask(request, timeout_s)

    def find_first_failure(self, number: int) -> Cause | None:
        """The first failure in a request that was told by a rank."""
        return find_first_failure(self._base(self._generation), number)

    def end(self) -> None:
        """End all workers."""
        self.tell(End())
        self._local.end()

    def _ask(self, order: Load | RankTrialRequest, timeout_s: float | None) -> list[Reply]:
        self.tell(order)
        self._local.send(order)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        replies: dict[int, Reply | Ended] = {}
        gone: int | None = None
        while len(replies) < self.num_ranks:
            self._collect(replies)
            self._pulse.require_all()
            if gone is None:
                gone = next((r for r, each in replies.items() if isinstance(each, Ended)), None)
                if gone is not None:
                    tell_gone(self._base(self._generation), gone, _explain(replies[gone]))
                    deadline = time.monotonic() + _STOPPING_S
            if deadline is not None and time.monotonic() > deadline:
                break
        if gone is not None:
            ended = replies[gone]
            assert isinstance(ended, Ended)
            raise WorkerEnded(gone, _explain(ended), ended.exit_code, ended.stderr_tail)
        if len(replies) < self.num_ranks:
            late = min(set(range(self.num_ranks)) - set(replies))
            raise WorkerEnded(late, "its worker does not answer", None, "")
        return [replies[rank] for rank in range(self.num_ranks)]  # type: ignore[misc]

    def _collect(self, replies: dict[int, Any]) -> None:
        if 0 in replies:
            time.sleep(_SLICE_S)
        elif (reply := self._local.poll()) is not None:
            replies[0] = reply
        for rank in range(1, self.num_ranks):
            key = f"reply/{self._num_orders}/{rank}"
            if rank not in replies and self._store.check([key]):
                replies[rank] = decode(self._store.get(key))


def _explain(ended: Any) -> str:
    return f"its worker ended with exit status {ended.exit_code}"
