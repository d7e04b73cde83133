"""All ranks of a job call, with the same options, and get the same answer or error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import FileStore, Store

from autobatch.errors import SettingsError, WorkloadError
from autobatch.ranks import job as job_module
from autobatch.ranks.job import Job, Meeting, describe_search
from autobatch.records import Settings
from autobatch.records.options import options_of
from autobatch.training import ranks as training_ranks

On = Callable[..., list[Any]]


@pytest.fixture
def shared(tmp_path: Path) -> Store:
    """A store with connections of its own, as ``init_method="file://..."`` makes one."""
    return FileStore(str(tmp_path / "store"), -1)


@pytest.fixture
def jobs(shared: Store, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Both ranks of a job, at their first call."""

    class FirstCall(int):
        """A count that threads, which stand for processes, do not share."""

        def __add__(self, other: int) -> FirstCall:
            return self

    monkeypatch.setattr(job_module, "_num_calls", FirstCall(1))
    return [Job(store=shared, rank=rank, num_ranks=2) for rank in range(2)]


def test_ranks_that_ask_for_the_same_meet(jobs: list[Job], on_ranks: On) -> None:
    met = on_ranks(lambda rank: jobs[rank].meet({"goal": "memory"}))
    assert all(isinstance(each, Meeting) for each in met)


def test_another_option_is_an_error_on_every_rank(jobs: list[Job], on_ranks: On) -> None:
    raised = on_ranks(lambda rank: jobs[rank].meet({"max_batch_size": 64 + rank}))
    for error in raised:
        assert isinstance(error, SettingsError)
        assert "rank 1 asks with `max_batch_size=65`, and rank 0 with `max_batch_size=64`" in str(
            error
        )


def test_a_call_on_one_rank_names_those_that_do_not_call(jobs: list[Job]) -> None:
    with pytest.raises(WorkloadError, match="rank 0 of 2 asks for a batch size, and rank 1 does"):
        jobs[0].meet({}, timeout_s=0.2)


def test_a_launcher_without_a_process_group_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_ranks.find_job() is None
    for name, num_ranks in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        with monkeypatch.context() as patch:
            patch.setenv(num_ranks, "2")
            patch.setenv(name, "0")
            with pytest.raises(
                WorkloadError, match=rf"started 2 processes \({num_ranks}\)"
            ) as raised:
                training_ranks.find_job()
            assert "init_process_group" in raised.value.hint


def test_all_that_is_asked_for_is_compared_between_ranks() -> None:
    asked, other = (describe_search(Settings(max_batch_size=size)) for size in (8, 16))
    assert {name for name in asked if asked[name] != other[name]} == {"max_batch_size"}
    assert set(options_of(Settings)) <= set(asked)
