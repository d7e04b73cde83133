"""The worker of one rank: holds the wrapped model, and forks a child for each trial.

One that loads a target has no live process group that could break: the model is wrapped in a group
that exchanges nothing, and each child brings a network of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, TCPStore

from autobatch.devices.base import Device
from autobatch.devices.select import select_device
from autobatch.errors import DeviceError
from autobatch.probe.isolation.base import Isolation
from autobatch.probe.protocol import Failure, HasThreads, Loaded, LoadRequest, Reply, Request
from autobatch.probe.worker.worker import Worker, load_target, main
from autobatch.ranks.forked import ForkedRank, Member
from autobatch.ranks.groups import open_stand_in
from autobatch.ranks.merge import STOPPED, WAITED
from autobatch.ranks.requests import NumberedLoadRequest, RankLoadRequest, RankTrialRequest
from autobatch.ranks.share import SharedCpu, share_samples
from autobatch.ranks.wrap import describe_wrapping, inner_name, wrap_task
from autobatch.workload.contract import Workload
from autobatch.workload.live import build_task
from autobatch.workload.task import TrainingTask

# Of what the store is asked for at once: a decision of rank 0 takes as long as its step.
_LONGEST_WAIT = timedelta(hours=1)


class RankWorker(Worker):
    """Answers requests for one rank.

    Args:
        make_task: Makes what is trained.
        make_isolation: Makes what keeps one piece of work apart from the next.
        member: This rank; ``None`` if the first request says which.
    """

    def __init__(
        self,
        make_task: Callable[[LoadRequest, str], TrainingTask],
        make_isolation: Callable[[Member], Isolation] = ForkedRank,
        member: Member | None = None,
    ) -> None:
        super().__init__(
            self._open_device,
            make_task=make_task,
            isolate=lambda device, request: make_isolation(self._here),
        )
        self._member = member

    def answer(self, request: Request) -> Reply:
        """Carry out a request beside the other ranks."""
        if isinstance(request, RankLoadRequest):
            self._member = _join(request)
        if isinstance(request, (NumberedLoadRequest, RankTrialRequest)):
            self._here.begin(request.number)
        if isinstance(request, RankTrialRequest) and request.sizes:
            request = replace(request, batch_size=request.sizes[self._here.rank])
        reply = super().answer(request)
        is_own = isinstance(reply, Failure) and reply.error not in (STOPPED, WAITED)
        if is_own or isinstance(reply, HasThreads):
            self._here.control(0).give_up(getattr(reply, "message", "it starts threads"))
        return reply

    @property
    def _here(self) -> Member:
        assert self._member is not None, "it has joined the others"
        return self._member

    def _load(self, request: LoadRequest) -> Reply:
        reply = super()._load(request)
        if not isinstance(reply, Loaded):
            return reply
        assert self._loaded is not None
        task = self._loaded.task
        workload = replace(
            reply.workload,
            model=inner_name(task.model),
            num_ranks=self._here.num_ranks,
            parallel=describe_wrapping(task.model),
        )
        return replace(reply, workload=workload)

    def _open_device(self, name: str) -> Device:
        device = select_device(name)
        if device.name != "cpu" or not device.can_fork:
            raise DeviceError(
                f"several processes are measured together on the CPU of Linux alone, and not on "
                f"{device.name}",
                hint="use `device=cpu`, or one process with `num_devices`",
            )
        member = self._here
        return SharedCpu(lambda: member.control(member.next_attempt()), member.num_ranks)


def make_target_worker(
    load: Callable[[LoadRequest, str], TrainingTask] = load_target,
    finish: Callable[[TrainingTask], TrainingTask] = lambda task: task,
) -> RankWorker:
    """The worker of a rank that loads a target.

    Args:
        load: Loads it, as for one process.
        finish: What is done to the task once its model is wrapped.
    """

    def make_task(request: LoadRequest, device_name: str) -> TrainingTask:
        assert isinstance(request, RankLoadRequest)
        open_stand_in(request.rank, request.num_ranks)
        task = load(request, device_name)
        source = share_samples(task.source, request.rank, request.num_ranks)
        return finish(wrap_task(replace(task, source=source), request.parallel))

    return RankWorker(make_task)


def be_rank() -> None:
    """Run the process of a worker that loads a target."""
    main(make_target_worker())


def make_objects_worker(member: Member, workload: Workload, file_pages: list[int]) -> RankWorker:
    """The worker of a rank, forked from the process that has the objects.

    Args:
        member: The rank.
        workload: The objects, in their groups.
        file_pages: Pages of libraries that the process had in memory.
    """

    def make_task(request: LoadRequest, device_name: str) -> TrainingTask:
        task = build_task(workload, request.settings)
        if workload.train_loader is not None:  # as its sampler says
            return task
        source = share_samples(task.source, member.rank, member.num_ranks)
        return replace(task, source=source)

    return RankWorker(
        make_task,
        lambda member: ForkedRank(member, file_pages, refuses_threads=False),
        member,
    )


def _join(request: RankLoadRequest) -> Member:
    store = TCPStore(
        request.host, request.port, None, is_master=False, wait_for_workers=False,
        timeout=_LONGEST_WAIT,
    )  # fmt: skip
    base = PrefixStore(request.prefix, store)
    return Member(base=base, rank=request.rank, num_ranks=request.num_ranks)
