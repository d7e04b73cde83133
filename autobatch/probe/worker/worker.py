"""The process that holds the model and does the work; the parent only decides.

Requests come in on standard input, replies go out on what was standard output: pickled
records, one after the other. What the user's code prints goes to standard error.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from autobatch.devices.base import Device
from autobatch.devices.select import select_device
from autobatch.errors import WorkerError
from autobatch.probe.isolation.base import Isolation
from autobatch.probe.isolation.endings import WorkFailed, to_failure
from autobatch.probe.isolation.in_place import InPlace
from autobatch.probe.isolation.own_threads import OwnThreadsError
from autobatch.probe.protocol import HasThreads, LoadRequest, Reply, Request, Stage
from autobatch.probe.worker.load import load
from autobatch.probe.worker.loaded import LoadedWorker
from autobatch.workload.task import TrainingTask, load_task

_ON_LINUX = sys.platform == "linux"
if _ON_LINUX:
    from autobatch.devices import linux
    from autobatch.probe.isolation.forked import Forked


def load_target(request: LoadRequest, device_name: str) -> TrainingTask:
    """The task that a target makes on a device."""
    return load_task(request.target, request.settings, device_name)


def choose_isolation(device: Device, request: LoadRequest) -> Isolation:
    """Fork a child for each piece of work if the device allows it, else work in place.

    Args:
        device: Where the work runs.
        request: Says whether to keep a copy of the weights, and what the worker is for.
    """
    if _ON_LINUX and device.can_fork and not request.is_for_one:
        return Forked(refuses_threads=True)
    label = "reloaded" if request.is_for_one else "shared"
    return InPlace(keeps_weights=request.keeps_weights, label=label)


class Answerer(Protocol):
    """What answers the parent's requests."""

    tell: Callable[[str], None]
    """Receives what is done now, in words."""

    def answer(self, request: Any) -> Any:
        """Carry out a request; both can be pickled."""


class Worker:
    """Answers every request; loads one workload.

    Args:
        select: Opens a device by its name.
        make_task: Makes what is trained.
        isolate: Chooses how one piece of work is kept apart from the next.
        uses_kernel: Whether to ask the kernel for host memory, as Linux lets one; else sample.

    Attributes:
        tell: Receives what loading does now, in words.
    """

    def __init__(
        self,
        select: Callable[[str], Device] = select_device,
        *,
        make_task: Callable[[LoadRequest, str], TrainingTask] = load_target,
        isolate: Callable[[Device, LoadRequest], Isolation] = choose_isolation,
        uses_kernel: bool = _ON_LINUX,
    ) -> None:
        self._select = select
        self._make_task = make_task
        self._isolate = isolate
        self._uses_kernel = uses_kernel
        self._loaded: LoadedWorker | None = None
        self.tell: Callable[[str], None] = lambda doing: None

    def answer(self, request: Request) -> Reply:
        """Carry out a request; every exception becomes a ``Failure``."""
        try:
            if isinstance(request, LoadRequest):
                return self._load(request)
            if self._loaded is None:
                raise WorkerError("there is no workload to work on: none has been loaded")
            return self._loaded.answer(request)
        except WorkFailed as error:
            return error.failure
        except OwnThreadsError as error:
            return HasThreads(names=error.names)
        except BaseException as error:  # the user's code may raise SystemExit, too
            return to_failure(error)

    def _load(self, request: LoadRequest) -> Reply:
        device = self._select(request.settings.device)
        self._loaded, reply = load(
            lambda: self._make_task(request, device.name),
            request.settings,
            device,
            self._isolate(device, request),
            uses_kernel=self._uses_kernel,
            tell=self.tell,
        )
        return reply


def main(worker: Answerer | None = None) -> None:
    """Run a worker process from start to end.

    Args:
        worker: Answers the requests; a stand-in in tests.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    parent_pid = int(sys.argv.pop())
    if _ON_LINUX:
        linux.die_with_parent()
        if os.getppid() != parent_pid:  # it died first, while PyTorch was being imported
            return
    serve(worker or Worker(), *_take_pipes())


def serve(worker: Answerer, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until the stream ends.

    Args:
        worker: Answers them.
        requests: Pickled requests.
        replies: Receives pickled replies.
    """

    def send(reply: Any) -> None:
        pickle.dump(reply, replies)
        replies.flush()

    worker.tell = lambda doing: send(Stage(doing=doing))
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        send(worker.answer(request))


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    # Lines as they come: neither a trial's child nor a worker that is ended flushes a buffer.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return requests, replies
