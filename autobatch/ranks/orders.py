"""What the ranks of a running job send each other through its store, as JSON.

Never as pickled objects: a process that reaches the port of a store could have them run anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from autobatch.probe.protocol import Crash, Failure, HasThreads, Loaded, TrialReply
from autobatch.ranks.requests import RankTrialRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a worker.

    Attributes:
        generation: Of the workers.
    """

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Have the worker load the workload.

    Attributes:
        number: Of the request.
    """

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """End the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The search is over.

    Attributes:
        document: The finding; empty if there is none.
        failure: Why there is none.
    """

    document: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A rank's worker ended without a reply.

    Attributes:
        exit_code: Its exit status.
        stderr_tail: The last lines that it wrote to standard error.
    """

    exit_code: int
    stderr_tail: str


_TYPES = (
    Start, Load, End, Answer, Ended, RankTrialRequest, TrialReply, Failure, Crash, Loaded,
    HasThreads,
)  # fmt: skip
_BY_NAME: dict[str, Any] = {kind.__name__: kind for kind in _TYPES}


def encode(message: Any) -> str:
    """A message as text."""
    return json.dumps([type(message).__name__, msgspec.to_builtins(message)])


def decode(text: bytes) -> Any:
    """The message that a text holds.

    Raises:
        KeyError: If it is of no known kind.
        msgspec.ValidationError: If it is not what it says.
    """
    name, body = json.loads(text)
    return msgspec.convert(body, _BY_NAME[name])
