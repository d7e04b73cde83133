"""A search in a job that runs: each rank calls, all get the same answer.

    rank 0:   find() --> GroupProber --> JoinedRanks --.--> its own worker
                                                       | order/K          ^ reply/K/RANK
    rank 1..: follow() <-------------------------------'--> its own worker

Orders and replies go through the job's own store, by a connection of their own. A rank that waits
looks at the pulse of those that it waits for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed import DistError

from autobatch import errors
from autobatch._version import __version__
from autobatch.probe.client import to_error
from autobatch.probe.isolation.endings import to_failure
from autobatch.probe.protocol import Request
from autobatch.probe.worker.process import Process
from autobatch.ranks.groups import reconnect
from autobatch.ranks.joined import JoinedRanks, LocalWorker
from autobatch.ranks.orders import Answer, End, Start, decode, encode
from autobatch.ranks.prober import GroupProber
from autobatch.ranks.pulse import Pulse
from autobatch.records import Finding, Settings
from autobatch.records.options import options_of
from autobatch.reporting.document import dumps, from_document

_MEETING_S, _LEAVING_S, _POLL_S = 60.0, 60.0, 0.05
# Rank 0 may be in a callback of the user's; the others do nothing but wait for orders.
_SILENCE_OF_LEADER_S, _SILENCE_S = 60.0, 20.0
_num_calls = 0


def describe_search(settings: Settings) -> dict[str, Any]:
    """What all ranks of a search must have in common, by names that a user knows.

    Args:
        settings: What to look for.
    """
    plain = msgspec.to_builtins(settings)
    return {
        **{name: plain[each.field] for name, each in options_of(Settings).items()},
        "autobatch": __version__,
        "torch": str(torch.__version__),
    }


@dataclass(frozen=True, kw_only=True)
class Job:
    """This process's place among those that train together.

    Attributes:
        store: The job's.
        rank: Which one this is.
        num_ranks: How many there are.
    """

    store: Store
    rank: int
    num_ranks: int

    def meet(self, said: Mapping[str, Any], *, timeout_s: float = _MEETING_S) -> Meeting:
        """Wait until every rank has called, and see that all ask for the same.

        Args:
            said: What this rank asks for, by names that a user knows; plain values.
            timeout_s: How long to wait.

        Raises:
            WorkloadError: If a rank has not called.
            SettingsError: If a rank asks for something else than rank 0.
        """
        global _num_calls
        _num_calls += 1
        prefix = f"autobatch/{_num_calls}"
        store = PrefixStore(prefix, reconnect(self.store))
        keys = [f"call/{rank}" for rank in range(self.num_ranks)]
        store.set(keys[self.rank], json.dumps(said))
        deadline = time.monotonic() + timeout_s
        while not store.check(keys):
            if time.monotonic() > deadline:
                came = [store.check([key]) for key in keys]
                missing = [rank for rank, has_come in enumerate(came) if not has_come]
                raise errors.WorkloadError(
                    f"rank {self.rank} of {self.num_ranks} asks for a batch size, and rank "
                    f"{', '.join(map(str, missing))} does not in {timeout_s:g} s",
                    hint="call it on every rank: take it out of `if rank == 0`",
                )
            time.sleep(_POLL_S)
        all_said = [json.loads(store.get(key)) for key in keys]
        for rank, theirs in enumerate(all_said):
            for name, value in theirs.items():
                if value != all_said[0].get(name):
                    raise errors.SettingsError(
                        f"rank {rank} asks with `{name}={value}`, and rank 0 with "
                        f"`{name}={all_said[0].get(name)}`",
                        hint="call it on every rank with the same options and the same model",
                    )
        return Meeting(store, prefix, self.rank, self.num_ranks)


class Meeting:
    """A search that all ranks have come to.

    Args:
        store: Of this search alone.
        prefix: Of its keys in the job's store.
        rank: Which one this is.
        num_ranks: How many there are.
    """

    def __init__(self, store: Store, prefix: str, rank: int, num_ranks: int) -> None:
        self.store, self._prefix = store, prefix
        self.rank, self.num_ranks = rank, num_ranks
        others = range(1, num_ranks) if rank == 0 else (0,)
        silence_s = _SILENCE_S if rank == 0 else _SILENCE_OF_LEADER_S
        self._pulse = Pulse(store, rank, others, silence_s)

    def base(self, generation: int, store: Store | None = None) -> Store:
        """What the workers of a generation talk through.

        Args:
            generation: Of the workers.
            store: The store of this search; another connection to it in another process.
        """
        return PrefixStore(f"workers/{generation}", store or self.store)

    def prefix(self, generation: int) -> str:
        """Of the keys of a generation of workers in the job's store."""
        return f"{self._prefix}/workers/{generation}"

    def find(
        self,
        search: Callable[[GroupProber], Finding],
        start: Callable[[int], Process],
        make_load_request: Callable[[int, int], Request],
        on_output: Callable[[str], None] = lambda line: None,
    ) -> Finding:
        """Search on rank 0, follow it on the others, and return what was found on all of them.

        Args:
            search: What rank 0 does.
            start: Starts the worker of this rank, for a generation.
            make_load_request: The request that has it load, for a generation and by its number.
            on_output: Receives each line that the user's code prints.

        Raises:
            AutobatchError: What the search raised, on every rank.
            WorkerError: If a rank is gone, or the store with rank 0.
        """
        local = LocalWorker(start, make_load_request, on_output)
        try:
            if self.rank == 0:
                return self._lead(search, local)
            return self._follow(local)
        except DistError as error:
            raise errors.WorkerError(
                f"the store of the {self.num_ranks} ranks is gone: {errors.first_line_of(error)}",
                hint="see what ended the process that kept it, rank 0 or its launcher",
            ) from None
        finally:
            local.end()

    def _lead(self, search: Callable[[GroupProber], Finding], local: LocalWorker) -> Finding:
        ranks = JoinedRanks(self.store, self.base, local, self.num_ranks, self._pulse)
        try:
            finding = search(GroupProber(ranks))
        except errors.SearchInterrupted as interrupt:
            ranks.tell(Answer(document=dumps(interrupt.finding)))
            raise  # at once: the others may have heard the same signal, and be gone
        except BaseException as error:
            ranks.tell(Answer(failure=to_failure(error)))
            if isinstance(error, Exception):
                self._let_all_leave()
            raise
        ranks.tell(Answer(document=dumps(finding)))
        self._let_all_leave()
        return finding

    def _let_all_leave(self) -> None:
        """Stay until all that live have read the answer: the store may be in this process."""
        end, waits_for = time.monotonic() + _LEAVING_S, set(range(1, self.num_ranks))
        while waits_for and time.monotonic() < end:
            waits_for.difference_update(self._pulse.beat())
            waits_for = {rank for rank in waits_for if not self.store.check([f"left/{rank}"])}
            time.sleep(_POLL_S)

    def _follow(self, local: LocalWorker) -> Finding:
        number = 0
        while True:
            number += 1
            order = self._wait_for(f"order/{number}")
            if isinstance(order, Answer):
                break
            if isinstance(order, Start):
                local.start(order.generation)
            elif isinstance(order, End):
                local.end()
            else:
                local.send(order)
                while (reply := local.poll()) is None:
                    self._pulse.require_all()
                    if self.store.check([f"order/{number + 1}"]):  # nobody waits for it any more
                        break
                if reply is not None:
                    self.store.set(f"reply/{number}/{self.rank}", encode(reply))
        self.store.set(f"left/{self.rank}", "")
        if order.failure is not None:
            raise to_error(order.failure)
        return from_document(json.loads(order.document))

    def _wait_for(self, key: str) -> Any:
        while not self.store.check([key]):  # in slices, so that Ctrl-C is heard
            self._pulse.require_all()
            time.sleep(_POLL_S)
        return decode(self.store.get(key))
