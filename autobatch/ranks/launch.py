"""A worker for each rank, on this machine; the leader hosts the store that they talk through."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from autobatch.probe.protocol import Reply, Request
from autobatch.probe.worker.process import WorkerProcess, start_process
from autobatch.ranks.requests import RankLoadRequest, RankTrialRequest
from autobatch.ranks.settings import RanksSettings
from autobatch.records import Settings

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store, TCPStore

    from autobatch.ranks.control import Cause

_HOST = "127.0.0.1"
#: Python code of a worker that belongs to a search of another process.
ENTRY_BESIDE = (
    "import gc; gc.disable(); from autobatch.ranks.worker import be_rank; gc.enable(); be_rank()"
)
#: Of one that belongs to a search here: its module's name tells others that it runs.
ENTRY = f"import autobatch.probe.worker; {ENTRY_BESIDE}"
_SLICE_S = 0.02


class WorkerEnded(Exception):  # noqa: N818 - an outcome
    """The worker of a rank ended, or did not answer in time.

    Attributes:
        rank: Which one.
        why: What is known, in one line.
        exit_code: Its exit status; ``None`` if it did not answer.
        stderr_tail: The last lines that it wrote to standard error.
    """

    def __init__(self, rank: int, why: str, exit_code: int | None, stderr_tail: str) -> None:
        super().__init__(f"rank {rank}: {why}")
        self.rank, self.why = rank, why
        self.exit_code, self.stderr_tail = exit_code, stderr_tail


def make_variables(settings: Settings, place: Mapping[str, str]) -> dict[str, str]:
    """Environment variables of the worker of a rank.

    Args:
        settings: Of the search.
        place: What tells the target which rank it is.
    """
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if settings.device == "cpu" else {}
    return {**hidden, **settings.variables, **place}


class LaunchedRanks:
    """Starts a worker for each rank, and asks all of them at once.

    Args:
        target: As the user wrote it.
        settings: Settings of the search.
        asked: How many ranks, and how they train together.
        on_output: Receives each line that the user's code prints, and which rank it was.
        on_stage: Receives what loading does now, in words.
        entry: Python code of a worker.
    """

    def __init__(
        self,
        target: str,
        settings: Settings,
        asked: RanksSettings,
        *,
        on_output: Callable[[str], None] = lambda line: None,
        on_stage: Callable[[str], None] = lambda doing: None,
        entry: str = ENTRY,
    ) -> None:
        self._target, self._settings, self._asked = target, settings, asked
        self._entry = entry
        self._on_output, self._on_stage = on_output, on_stage
        self.num_ranks = asked.nproc_per_node
        self.workers: list[WorkerProcess] = []
        self._server: TCPStore | None = None
        self._generation = 0

    def start(self) -> None:
        """Start the workers, in the place of any that there are."""
        self.end()
        self._generation += 1
        for rank in range(self.num_ranks):
            process = start_process(self._make_variables(rank), self._entry)
            on_stage = self._on_stage if rank == 0 else lambda doing: None
            self.workers.append(WorkerProcess(process, partial(self._on_line, rank), on_stage))

    def load(self, number: int, timeout_s: float | None) -> list[Reply]:
        """Have every rank load the target.

        Raises:
            WorkerEnded: If a worker did not reply. All have been ended.
        """
        request = RankLoadRequest(
            target=self._target,
            settings=self._settings,
            rank=0,
            num_ranks=self.num_ranks,
            parallel=self._asked.parallel,
            host=_HOST,
            port=self._open_server().port,
            prefix=str(self._generation),
            number=number,
        )
        return self._ask([replace(request, rank=rank) for rank in range(self.num_ranks)], timeout_s)

    def measure(self, request: RankTrialRequest, timeout_s: float | None) -> list[Reply]:
        """Have every rank run a trial.

        Raises:
            WorkerEnded: If a worker did not reply. All have been ended.
        """
        return self._ask([request] * self.num_ranks, timeout_s)

    def _ask(self, requests: Sequence[Request], timeout_s: float | None) -> list[Reply]:
        for worker, request in zip(self.workers, requests, strict=True):
            worker.send(request)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        replies: dict[int, Reply] = {}
        while len(replies) < self.num_ranks:
            waits_for = [rank for rank in range(self.num_ranks) if rank not in replies]
            for rank in waits_for:
                with suppress(TimeoutError):
                    reply = self.workers[rank].receive(_SLICE_S if rank == waits_for[-1] else 0.0)
                    if reply is None:
                        raise self._ended(rank)
                    replies[rank] = reply
            if deadline is not None and time.monotonic() > deadline:
                late = min(set(range(self.num_ranks)) - set(replies))
                self.end()
                raise WorkerEnded(late, "its worker does not answer", None, "")
        return [replies[rank] for rank in range(self.num_ranks)]

    def find_first_failure(self, number: int) -> Cause | None:
        """The first failure in a request that was told by a rank."""
        from autobatch.ranks.control import find_first_failure

        return find_first_failure(self._base(), number)

    def end(self) -> None:
        """End all workers and every process that they started."""
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.end()

    def _ended(self, rank: int) -> WorkerEnded:
        worker = self.workers[rank]
        exit_code = worker.end()
        self.end()
        why = f"its worker ended with exit status {exit_code}"
        return WorkerEnded(rank, why, exit_code, worker.stderr_tail)

    def _on_line(self, rank: int, line: str) -> None:
        self._on_output(f"[rank {rank}] {line}")

    def _make_variables(self, rank: int) -> dict[str, str]:
        # As torchrun does where the user sets none.
        variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        return variables | make_variables(
            self._settings,
            {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(self.num_ranks),
                "LOCAL_WORLD_SIZE": str(self.num_ranks),
            },
        )

    def _open_server(self) -> TCPStore:
        if self._server is None:
            from torch._C._distributed_c10d import TCPStore  # while the workers do so as well

            self._server = TCPStore(_HOST, 0, None, is_master=True, wait_for_workers=False)
        return self._server

    def _base(self) -> Store:
        from torch._C._distributed_c10d import PrefixStore

        return PrefixStore(str(self._generation), self._open_server())
