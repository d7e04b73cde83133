"""One run of a command, from its start to the end of everything that it started.

Nothing in the run decides when it is over. autobatch listens until it knows enough, and kills the
whole family: a script that catches exceptions, signals or the end of a child gets no say.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from autobatch.command import enter
from autobatch.command.events import Event, Listener, Speaker
from autobatch.command.family import Family, has_libtorch
from autobatch.command.launch import Launch, Protection
from autobatch.command.settings import FileProtection
from autobatch.devices.family import find_descendants
from autobatch.devices.meter import ProcessMeter, meter_process
from autobatch.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from typing_extensions import Self

_LISTEN_S = 0.05
_LOOK_INTERVAL_S = 0.05
_BLIND_LOOK_INTERVAL_S = 0.5
_BLIND_S = 5.0
# Its last words may still be on their way.
_LAST_WORDS_S = 0.3
# Ranks that do not wait for each other may begin to train one after the other.
_RANK_PATIENCE_S = 5.0


class Cause(Enum):
    """Why a run is over."""

    OUT_OF_MEMORY = "out of memory"
    OVER_BUDGET = "over budget"
    GUARDED = "a file would have been overwritten"
    BLIND = "nothing is seen of it"
    EXITED = "it ended by itself"
    TIMED_OUT = "it took too long"
    NO_STEP = "no step in time"
    NOT_STARTED = "it could not be started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a run is over, in words.

    Attributes:
        cause: Why.
        message: The same in a sentence.
        exit_code: If it ended by itself.
    """

    cause: Cause
    message: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run.

    Attributes:
        arguments: The command.
        variables: Environment variables to set.
        protection: Of the files.
        rewritten: Texts of files to be seen by the run, by path.
        budget_bytes: Host memory of all its processes together, where they train on the CPU.
        host_budget_bytes: The same, where they train on a GPU; as ``budget_bytes`` if ``None``.
        limit_bytes: The user's own limit, ``None`` without one.
        headroom_fraction: Fraction of each limit on a GPU to keep free.
        size: The size that its training loader's batches are given, ``None`` to leave them.
        timeout_s: Longest time of the run.
        first_step_timeout_s: Longest time to the first step.
        num_ranks: Processes that will train together.
    """

    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    protection: Protection
    rewritten: Mapping[str, str]
    budget_bytes: int
    size: int | None = None
    timeout_s: float | None = None
    first_step_timeout_s: float = 300.0
    num_ranks: int = 1
    host_budget_bytes: int | None = None
    limit_bytes: int | None = None
    headroom_fraction: float = 0.0


class Run:
    """A command that runs; a context manager, which ends everything that it started.

    Args:
        order: What to run.

    Attributes:
        ending: Why it is over; ``None`` while it is not.
        begin_s: When it was started, on the clock of the hooks.
        written: Files that it changed outside of what an overlay throws away, by kind.
        made: Files and folders among them that were not there before.
        trackers: Experiment trackers that were turned off.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        config: dict[str, Any] = {
            "budget_bytes": order.budget_bytes,
            "limit_bytes": order.limit_bytes,
            "headroom_fraction": order.headroom_fraction,
            "size": order.size,
        }
        self._launch = Launch(
            order.arguments, order.protection, order.variables, config, order.rewritten
        )
        self.ending: Ending | None = None
        self.begin_s = time.monotonic()
        self.written: dict[str, str] = {}
        self.made: list[str] = []
        self.trackers: tuple[str, ...] = ()
        self._trainers: list[Speaker] = []
        self._trained_since_s = 0.0
        self._meters: dict[int, ProcessMeter] = {}
        self._meter: ProcessMeter | None = None
        self._next_look_s = self._next_blind_look_s = 0.0
        self._blind_since_s: float | None = None
        self._timeout_s = order.timeout_s

    def __enter__(self) -> Self:
        self._family = Family()
        self._listener = Listener(self._launch.socket_path)
        try:
            self._launch.start()
        except BaseException:
            self._close()
            raise
        self.trackers = self._launch.trackers
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    @property
    def trainers(self) -> tuple[Speaker, ...]:
        """The processes that train, that of the first rank first."""
        return tuple(sorted(self._trainers, key=lambda each: each.rank))

    @property
    def has_all_ranks(self) -> bool:
        """Whether all processes that train together have begun to, or have had time enough."""
        if not self._trainers:
            return False
        expected = max(self._order.num_ranks, *(each.num_ranks for each in self._trainers))
        waited_s = time.monotonic() - self._trained_since_s
        return len(self._trainers) >= expected or waited_s > _RANK_PATIENCE_S

    @property
    def elapsed_s(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.begin_s

    @property
    def has_torch(self) -> bool:
        """Whether PyTorch was imported anywhere."""
        return any("importing" in each.facts for each in self._listener.speakers)

    def members(self) -> list[int]:
        """All its processes."""
        return self._family.members()

    @property
    def loader_bytes(self) -> int:
        """The most that child processes of the trainers held."""
        peaks = (each.peak_loader_bytes for each in self._meters.values())
        return sum(each for each in peaks if isinstance(each, int))

    @property
    def seen_bytes(self) -> int:
        """The most that was seen to be held by all processes together."""
        return (self._meter.peak_bytes if self._meter is not None else None) or 0

    def begin_anew(self, timeout_s: float | None) -> None:
        """Begin another trial in the same run.

        Args:
            timeout_s: Longest time of it.
        """
        self._timeout_s = None if timeout_s is None else self.elapsed_s + timeout_s
        self._meters.clear()

    def tail(self, name: str) -> str:
        """The end of what it wrote to ``out`` or ``err``."""
        return self._launch.tail(name)

    def listen(self) -> list[tuple[Speaker, Event]]:
        """Take in what has happened; find out whether the run is over."""
        heard = list(self._listener.listen(_LISTEN_S))
        for speaker, event in heard:
            self._take_in(speaker, event)
        if self.ending is None:
            self._look()
        return heard

    def _take_in(self, speaker: Speaker, event: Event) -> None:
        word = event[0]
        if word == "out_of_memory" and self.ending is None:
            name, text = event[3][0]
            message = f"{name} in {event[2]}: {text}".partition("\n")[0]
            self.ending = Ending(cause=Cause.OUT_OF_MEMORY, message=message)
        elif word == "guarded" and self.ending is None:
            verb = {"remove": "removed", "rename": "renamed"}.get(event[1], "overwritten")
            self.ending = Ending(cause=Cause.GUARDED, message=f"{event[2]} would have been {verb}")
        elif word == "failed":
            name, text = event[1][0]
            message = f"its processes cannot be watched: {name}: {text}"
            self.ending = Ending(cause=Cause.BLIND, message=message)
        elif word == "file":
            kind, path, existed = event[1:4]
            self.written.setdefault(path, kind)
            if not existed and kind in ("write", "mkdir"):
                self.made.append(path)
        if speaker not in self._trainers and speaker.has_trained:
            self._trained_since_s = self._trained_since_s or time.monotonic()
            self._trainers.append(speaker)

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._next_look_s:
            return
        self._next_look_s = now + _LOOK_INTERVAL_S
        exit_code = self._launch.poll()
        if exit_code is not None:
            self._note_exit(exit_code)
            return
        self._look_at_memory()
        if self._timeout_s is not None and self.elapsed_s > self._timeout_s:
            message = f"no end after {format_seconds(self._timeout_s)}"
            self.ending = Ending(cause=Cause.TIMED_OUT, message=message)
        elif not self._trainers and self.elapsed_s > self._order.first_step_timeout_s:
            self.ending = Ending(cause=Cause.NO_STEP, message=self._describe_wait())
        elif not self._trainers and now >= self._next_blind_look_s:
            self._next_blind_look_s = now + _BLIND_LOOK_INTERVAL_S
            self._look_whether_blind(now)

    def _look_at_memory(self) -> None:
        for trainer in self._trainers:
            if trainer.pid not in self._meters:
                self._meters[trainer.pid] = meter_process(trainer.pid)
        ranks_bytes = sum(meter.look() or 0 for meter in self._meters.values())
        if self._meter is None and (pid := self._launch.find_command()) is not None:
            self._meter = meter_process(pid)
        family_bytes = self._meter.look() if self._meter is not None else None
        held_bytes = max(family_bytes or 0, ranks_bytes)
        budget_bytes = self._order.budget_bytes
        if any("gpu" in each.facts for each in self._listener.speakers):
            budget_bytes = self._order.host_budget_bytes or budget_bytes
        if held_bytes > budget_bytes and self.ending is None:
            held, budget = format_bytes(held_bytes), format_bytes(budget_bytes)
            message = f"ended when its memory of {held} exceeded the budget of {budget}"
            self.ending = Ending(cause=Cause.OVER_BUDGET, message=message)

    def _look_whether_blind(self, now: float) -> None:
        """PyTorch in a process that no hook speaks for: its steps will never be seen."""
        heard = {each.pid for each in self._listener.speakers if "importing" in each.facts}
        children_of_heard = {pid for each in heard for pid in (each, *find_descendants(each))}
        silent = [pid for pid in self._family.members() if pid not in children_of_heard]
        if not any(has_libtorch(pid) for pid in silent):
            self._blind_since_s = None
            return
        self._blind_since_s = self._blind_since_s or now
        if now - self._blind_since_s > _BLIND_S:
            self.ending = Ending(
                cause=Cause.BLIND,
                message="its Python runs without what autobatch puts into PYTHONPATH",
            )

    def _note_exit(self, exit_code: int) -> None:
        deadline = time.monotonic() + _LAST_WORDS_S
        while time.monotonic() < deadline:
            for speaker, event in self._listener.listen(_LISTEN_S):
                self._take_in(speaker, event)
        if self.ending is not None:
            return
        is_ours = exit_code in (enter.NO_PROTECTION, enter.NO_COMMAND)
        if is_ours and not self._listener.speakers:
            self.ending = Ending(cause=Cause.NOT_STARTED, message=self.tail("err"))
            return
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit status {exit_code}"
        message = f"the command ended with {how}"
        self.ending = Ending(cause=Cause.EXITED, message=message, exit_code=exit_code)

    def _describe_wait(self) -> str:
        text = f"no step had ended after {format_seconds(self._order.first_step_timeout_s)}"
        speakers = [each for each in self._listener.speakers if not each.is_leash]
        if any("E" in each.facts for each in speakers):
            return f"{text}: it evaluates before it trains"
        if not self.has_torch:
            return f"{text}: nothing has imported PyTorch in a process that can be watched"
        return text

    def _close(self) -> None:
        process = self._launch.process
        self._family.end(spared=None if process is None else process.pid)
        self._listener.close()
        self._launch.remove()
        if self._order.protection.kind is FileProtection.GUARD:
            self._remove_made()

    def _remove_made(self) -> None:
        """Remove the files and empty folders that the run added to the tree."""
        root = self._order.protection.root + os.sep
        for path in sorted(self.made, reverse=True):
            if path.startswith(root):
                with suppress(OSError):
                    (os.rmdir if os.path.isdir(path) else os.remove)(path)
