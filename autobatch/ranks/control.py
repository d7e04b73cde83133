"""What ranks tell each other through the store, about one piece of work.

REQUEST/failed             the first failure, for the leader
REQUEST/ATTEMPT/failed     the same, for the ranks: their children end
REQUEST/ATTEMPT/decision/K what rank 0 decided
REQUEST/over               a rank that cannot carry the request out, and tries nothing more
gone                       a rank whose worker has ended; nothing goes on without it
"""

from __future__ import annotations

import time
from typing import NamedTuple

from torch._C._distributed_c10d import PrefixStore, Store

from autobatch.errors import AutobatchError

_FAILED, _OVER, _GONE = "failed", "over", "gone"
# From when a collective breaks to when the worker of the rank that broke it has said why.
_HEARSAY_S = 1.0
_POLL_S = 0.02


class PeerFailed(AutobatchError):  # noqa: N818 - an outcome of another
    """Another rank failed, and this one stopped for it."""


class Cause(NamedTuple):
    """The first failure of a piece of work.

    Attributes:
        rank: Who failed.
        why: In one line.
    """

    rank: int
    why: str


class Control:
    """What is told about one piece of work.

    Args:
        base: The store of this group of workers.
        rank: Who tells.
        number: Of the leader's request.
        attempt: Of the pieces of work that the request took so far.

    Attributes:
        store: Holds all that is told about it.
    """

    def __init__(self, base: Store, rank: int, number: int, attempt: int) -> None:
        self.rank = rank
        self.store = PrefixStore(f"{number}/{attempt}", base)
        self._base, self._request = base, PrefixStore(str(number), base)
        self._num_decisions = 0
        self._told: set[str] = set()

    def fail(self, why: str, part: str = "") -> None:
        """Tell that this rank has failed, once; only the first to do so is heard.

        Args:
            why: In one line.
            part: Names work whose failure does not end the trial.
        """
        if part in self._told:
            return
        self._told.add(part)
        text = f"{self.rank} {why}"
        self.store.compare_set(part + _FAILED, "", text)
        if not part:
            self._request.compare_set(_FAILED, "", text)

    def give_up(self, why: str) -> None:
        """Tell that this rank cannot carry the request out at all.

        Args:
            why: In one line.
        """
        self.fail(why)
        self._request.compare_set(_OVER, "", f"{self.rank} {why}")

    def find_failure(self, part: str = "") -> Cause | None:
        """The first failure, if any rank has failed."""
        return (
            _read(self.store, part + _FAILED)
            or _read(self._request, _OVER)
            or _read(self._base, _GONE)
        )

    def wait_for_failure(self) -> Cause | None:
        """The first failure, which may take a moment to be told."""
        end = time.monotonic() + _HEARSAY_S
        while (cause := self.find_failure()) is None and time.monotonic() < end:
            time.sleep(_POLL_S)
        return cause

    def decide(self, mine: int) -> int:
        """Take the decision of rank 0, which must call this as often.

        Args:
            mine: What this rank would decide.
        """
        self._num_decisions += 1
        key = f"decision/{self._num_decisions}"
        if self.rank == 0:
            self.store.set(key, str(int(mine)))
            return mine
        return int(self.store.get(key))

    def gather(self, mine: str, num_ranks: int) -> list[str]:
        """Wait until every rank has said something, and hear it.

        Args:
            mine: What this rank says.
            num_ranks: How many there are.

        Raises:
            PeerFailed: If one of them is gone.
        """
        self._num_decisions += 1
        keys = [f"said/{self._num_decisions}/{rank}" for rank in range(num_ranks)]
        self.store.set(keys[self.rank], mine)
        while not self.store.check(keys):
            cause = self.find_failure()
            if cause is not None:
                raise PeerFailed(explain(cause))
            time.sleep(_POLL_S)
        return [self.store.get(key).decode() for key in keys]


def explain(cause: Cause | None) -> str:
    """Say why a rank that did not fail itself has stopped."""
    if cause is None:
        return "stopped, since another rank did"
    return f"stopped, since rank {cause.rank} did: {cause.why}"


def find_first_failure(base: Store, number: int) -> Cause | None:
    """The first failure in a request, for the leader.

    Args:
        base: The store of this group of workers.
        number: Of the request.
    """
    return _read(PrefixStore(str(number), base), _FAILED)


def tell_gone(base: Store, rank: int, why: str) -> None:
    """Tell all ranks that the worker of one has ended, for the leader.

    Args:
        base: The store of this group of workers.
        rank: Whose worker it was.
        why: In one line.
    """
    base.compare_set(_GONE, "", f"{rank} {why}")


def _read(store: Store, key: str) -> Cause | None:
    if not store.check([key]):
        return None
    rank, _, why = store.get(key).decode().partition(" ")
    return Cause(int(rank), why)
