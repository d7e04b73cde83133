"""``find_batch_size()`` in a job of several processes: all call it, and all get the same answer."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from autobatch.errors import DeviceError, WorkloadError
from autobatch.probe.isolation.put_back import plain_modes
from autobatch.probe.live import can_fork
from autobatch.ranks.launcher import find_place
from autobatch.ranks.settings import for_ranks
from autobatch.records import Finding, Settings
from autobatch.workload.contract import Workload

if sys.platform == "linux":
    from autobatch.devices import linux
    from autobatch.probe.worker.fork import ForkedProcess

if TYPE_CHECKING:
    from autobatch.ranks.job import Job
    from autobatch.ranks.prober import GroupProber


def find_job() -> Job | None:
    """The job of several processes that this one is part of; ``None`` if it is by itself.

    Raises:
        WorkloadError: If a launcher has started several, and they do not know each other yet.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        place = find_place(os.environ)
        if place is not None:
            raise WorkloadError(
                f"a launcher has started {place.num_ranks} processes ({place.variable}), and there "
                "is no process group",
                hint="call it after torch.distributed.init_process_group(), or unset "
                f"{place.variable} where each process trains by itself",
            )
        return None
    if distributed.get_world_size() == 1:
        return None
    from autobatch.ranks.job import Job

    store = distributed.distributed_c10d._get_default_store()
    return Job(store=store, rank=distributed.get_rank(), num_ranks=distributed.get_world_size())


def meet_all_ranks() -> None:
    """Wait until all ranks of the job, if there is one, have come here.

    Raises:
        WorkloadError: If one does not come.
    """
    job = find_job()
    if job is not None:
        job.meet({})


def leads() -> bool:
    """Whether this process is the one that tells what came of a search."""
    is_alone = not distributed.is_available() or not distributed.is_initialized()
    return is_alone or distributed.get_rank() == 0


def find_in_job(
    job: Job,
    workload: Workload,
    settings: Settings,
    isolation: str,
    search: Callable[[Settings, GroupProber], Finding],
) -> Finding:
    """Search on all ranks together.

    Args:
        job: The ranks.
        workload: The caller's objects, in their groups.
        settings: What to look for.
        isolation: ``auto`` or ``process``.
        search: Carried out on rank 0.

    Returns:
        The finding, the same one on every rank.

    Raises:
        DeviceError: If trials cannot run in forks of the ranks.
        SettingsError: If ranks ask for different things.
        WorkloadError: If a rank has not called.
    """
    from autobatch.ranks.forked import Member
    from autobatch.ranks.groups import reconnect
    from autobatch.ranks.requests import NumberedLoadRequest
    from autobatch.ranks.worker import make_objects_worker

    settings = for_ranks(settings, job.num_ranks)
    meeting = job.meet(_describe(workload, settings, isolation))
    _require_forks(settings.device, isolation, job.num_ranks)

    def start(generation: int) -> ForkedProcess:
        pages = linux.find_resident_file_pages()

        def make_worker() -> Any:
            base = meeting.base(generation, reconnect(meeting.store))
            member = Member(base=base, rank=job.rank, num_ranks=job.num_ranks)
            return make_objects_worker(member, workload, pages)

        with plain_modes(settings.device):  # for good in the child
            return ForkedProcess(make_worker)

    finding = meeting.find(
        lambda prober: search(settings, prober),
        start,
        lambda generation, number: NumberedLoadRequest(
            target="objects", settings=settings, number=number
        ),
    )
    _warn_without_exchange(finding)
    return finding


def _describe(workload: Workload, settings: Settings, isolation: str) -> dict[str, Any]:
    """What all ranks must have in common, by names that a user knows."""
    from autobatch.ranks.job import describe_search

    assert isinstance(workload.model, torch.nn.Module)
    parameters = [(name, *each.shape) for name, each in workload.model.named_parameters()]
    return {
        **describe_search(settings),
        "isolation": isolation,
        "model": hashlib.sha256(repr(parameters).encode()).hexdigest()[:12],
    }


def _require_forks(device: str, isolation: str, num_ranks: int) -> None:
    hint = (
        "search before the training, in processes that may fail: autobatch probe model.py "
        f"--nproc-per-node {num_ranks}"
    )
    if isolation == "shared":
        raise DeviceError(
            f"isolation='shared': a size that fails would break the groups of {num_ranks} ranks "
            "that train",
            hint=hint,
        )
    if not can_fork(device):
        raise DeviceError(
            f"trials of {num_ranks} ranks run in forks, and this process cannot be forked to train "
            f"on {device}",
            hint=hint,
        )


def _warn_without_exchange(finding: Finding) -> None:
    readings = [each for trial in finding.trials for each in trial.ranks]
    if readings and not any(each.num_exchanges for each in readings):
        warnings.warn(
            f"autobatch: no exchange between the {finding.recommendation.num_devices} ranks was "
            "seen in a step: is the model wrapped in DDP or FSDP2?",
            stacklevel=5,
        )
