"""The pace of a trial that runs on all ranks: rank 0 decides, and a failure is told at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from autobatch.errors import cause_of, error_chain, message_of
from autobatch.ranks.control import Control, PeerFailed, explain
from autobatch.ranks.gate import Exchanged, Gate
from autobatch.records import RankReading, Trial

# How far ahead rank 0 decides. To ask before each step would have all of them start together, and
# costs a tenth of a millisecond.
_AHEAD_S = 0.05
# What a collective raises when another rank has gone. Its own rank says why.
_HEARSAY = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Broken pipe",
    "Socket Timeout",
    "Timed out waiting",
    "Application timeout caused pair closure",
)


class Room:
    """The pace of one trial, in the process that runs it.

    Args:
        control: What ranks tell each other.
        clock: Returns seconds from any origin.
    """

    # Under FSDP2 glibc's heap grows for some ten steps, as shards are gathered and given back, and
    # not in each of them.
    num_final_steps = 12

    def __init__(self, control: Control, clock: Callable[[], float] = time.perf_counter) -> None:
        self._control, self._clock = control, clock
        self._gates: dict[str, Gate] = {}
        self._left = self._granted = 0
        self._asked_s = 0.0
        self._seen: list[tuple[float, Exchanged]] = []

    def go_on(self, wants: bool) -> bool:
        """Whether rank 0 wants to, asked for some steps at a time."""
        if self._left:
            self._left -= 1
            return True
        self._granted = self._control.decide(self._count_ahead() if wants else 0)
        self._asked_s = self._clock()
        self._left = max(0, self._granted - 1)
        return self._granted > 0

    def _count_ahead(self) -> int:
        if not self._granted:
            return 1
        per_step_s = (self._clock() - self._asked_s) / self._granted
        return min(2 * self._granted, max(1, int(_AHEAD_S / max(per_step_s, 1e-6))))

    def agree(self, mine: int) -> int:
        """As rank 0 would decide."""
        return self._control.decide(mine)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Tell of an exception before anything else is done about it."""
        with stopped_by_peers(self._control), self._telling(""):
            yield

    @contextmanager
    def careful(self, part: str = "") -> Iterator[None]:
        """Enter each collective only if all do."""
        gate = self._gates.setdefault(part, Gate(self._control, part))
        gate.exchanged = Exchanged()
        begin = self._clock()
        with stopped_by_peers(self._control), self._telling(part), gate:
            yield
        if not part:
            self._seen.append((self._clock() - begin, gate.exchanged))

    def complete(self, trial: Trial) -> Trial:
        """The trial, with what was seen in the steps that were gated.

        DDP exchanges the order of its buckets once, in the second of them.
        """
        if not trial.fits:
            self._control.fail(trial.message or trial.outcome.value)
        reading = RankReading(rank=self._control.rank, peak_bytes=trial.peak_bytes)
        if self._seen:
            time_s, last = self._seen[-1]
            fewest = min((each for _, each in self._seen), key=lambda each: each.num_calls.total())
            reading = replace(
                reading,
                wait_s=last.wait_s,
                busy_s=max(0.0, time_s - last.wait_s),
                exchanges=fewest.by_kind(),
            )
        return replace(trial, ranks=(reading,))

    @contextmanager
    def _telling(self, part: str) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not is_hearsay(error):
                self._control.fail(cause_of(error), part)
            raise


@contextmanager
def stopped_by_peers(control: Control) -> Iterator[None]:
    """Raise ``PeerFailed`` in the place of what a collective raises when another rank has gone.

    Args:
        control: Knows which rank failed.

    Raises:
        PeerFailed: Names it.
    """
    try:
        yield
    except PeerFailed:
        raise
    except Exception as error:
        if is_hearsay(error):
            raise PeerFailed(explain(control.wait_for_failure())) from None
        raise


def is_hearsay(error: BaseException) -> bool:
    """Whether an exception only says that another rank has failed."""
    return any(
        isinstance(each, PeerFailed)
        or (isinstance(each, RuntimeError) and any(text in message_of(each) for text in _HEARSAY))
        for each in error_chain(error)
    )
