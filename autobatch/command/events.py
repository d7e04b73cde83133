"""What the hooks of a run's processes say, read from their sockets."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Event: TypeAlias = list[Any]
#: Each event is a list: a word, and what belongs to it as the hook says.
_CHUNK_BYTES = 1 << 16


@dataclass(eq=False)
class Speaker:
    """One Python process of a run.

    Attributes:
        connection: Its socket; ``None`` once it has ended.
        pid: Its number; 0 before it said hello.
        parent_pid: The number of the process that started it.
        arguments: The first of its command line.
        python: Its version.
        ranks: ``RANK`` and the like, where they are set.
        events: What happened in its training loop, in order.
        facts: The latest event of every other kind, by its word.
        optimizers: By number, as they were introduced.
        loaders: By number, as they were last introduced.
        modules: Outermost modules that were called in training.
        num_batches: How many batches it has fetched.
    """

    connection: socket.socket | None
    pid: int = 0
    parent_pid: int = 0
    arguments: tuple[str, ...] = ()
    python: str = ""
    ranks: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    facts: dict[str, Event] = field(default_factory=dict)
    optimizers: dict[int, Event] = field(default_factory=dict)
    loaders: dict[int, Event] = field(default_factory=dict)
    modules: list[Event] = field(default_factory=list)
    num_batches: int = 0
    is_leash: bool = False
    buffer: bytes = b""

    @property
    def has_trained(self) -> bool:
        """Whether it has made a backward pass, or fetched many batches for a model in training."""
        is_fed = self.num_batches >= _BATCHES_WITHOUT_PASS and bool(self.modules)
        return "B" in self.facts or is_fed

    @property
    def rank(self) -> int:
        """Its number among the processes that train together; 0 if it is alone."""
        return int(self.facts["rank"][1]) if "rank" in self.facts else self._read("RANK") or 0

    @property
    def num_ranks(self) -> int:
        """How many processes train together on this machine, as far as it knows."""
        all_ranks = int(self.facts["rank"][2]) if "rank" in self.facts else 1
        return self._read("LOCAL_WORLD_SIZE") or all_ranks

    def _read(self, name: str) -> int | None:
        text = self.ranks.get(name, "")
        return int(text) if text.isdecimal() else None

    def order(self, **order: Any) -> None:
        """Send an order to it."""
        if self.connection is not None:
            with suppress(OSError):
                self.connection.sendall(json.dumps(order).encode() + b"\n")

    def hear(self, event: Event) -> None:
        """Take an event in."""
        word = event[0]
        self.facts[word] = event
        if word == "hello":
            self.pid, self.parent_pid, arguments, self.python, self.ranks = event[1:6]
            self.arguments = tuple(arguments)
        elif word == "leash":
            self.is_leash = True
        elif word == "optimizer":
            self.optimizers[event[1]] = event
        elif word == "module":
            self.modules.append(event)
        elif word in _OF_THE_LOOP:
            self.events.append(event)
            if word == "loader":
                self.loaders[event[1]] = event
            self.num_batches += word == "D"


_OF_THE_LOOP = frozenset(("D", "B", "O", "S", "E", "T", "loader", "held", "resumed"))
_BATCHES_WITHOUT_PASS = 12


class Listener:
    """Listens on a socket for all processes of a run.

    Args:
        path: Of the socket.
    """

    def __init__(self, path: str) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(path)
        self._server.listen(128)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self.speakers: list[Speaker] = []

    def listen(self, timeout_s: float) -> Iterator[tuple[Speaker, Event]]:
        """Yield what comes within a time, or at once if something is there."""
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._accept()
            else:
                yield from self._read(key.data)

    def close(self) -> None:
        """Close all; processes that still run are killed by that."""
        for speaker in self.speakers:
            if speaker.connection is not None:
                speaker.connection.close()
        self._selector.close()
        self._server.close()

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        speaker = Speaker(connection)
        self.speakers.append(speaker)
        self._selector.register(connection, selectors.EVENT_READ, speaker)

    def _read(self, speaker: Speaker) -> Iterator[tuple[Speaker, Event]]:
        assert speaker.connection is not None
        try:
            chunk = speaker.connection.recv(_CHUNK_BYTES)
        except OSError:
            chunk = b""
        if not chunk:
            self._selector.unregister(speaker.connection)
            speaker.connection.close()
            speaker.connection = None
            return
        *lines, speaker.buffer = (speaker.buffer + chunk).split(b"\n")
        for line in lines:
            event: Event = json.loads(line)
            speaker.hear(event)
            yield speaker, event
