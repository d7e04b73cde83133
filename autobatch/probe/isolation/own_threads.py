"""Threads that a target starts as it is loaded, which a forked child lacks.

A fork copies memory and one thread. Work handed to any other, such as to a ``ThreadPoolExecutor``
that a forward pass uses, is never done, and the child waits for it for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import thread as thread_pools

# By class. They only look on, and a training does not wait for them.
_HARMLESS = ("TMonitor",)  # of tqdm
# Pools of a notebook's own event loop.
_HARMLESS_PREFIX = "asyncio_"


class OwnThreadsError(Exception):
    """A target has started threads, and so cannot be forked for trials.

    Attributes:
        names: Of the threads.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(", ".join(names))
        self.names = names


def find_new_threads(known: Collection[threading.Thread]) -> tuple[str, ...]:
    """Names of the running Python threads that are not among those known."""
    return tuple(
        each.name
        for each in threading.enumerate()
        if each not in known and type(each).__name__ not in _HARMLESS
    )


def has_pools() -> bool:
    """Whether a ``ThreadPoolExecutor`` has threads in this process."""
    return any(
        worker.is_alive() and not worker.name.startswith(_HARMLESS_PREFIX)
        for worker in list(thread_pools._threads_queues)
    )
