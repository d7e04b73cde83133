"""What every isolation does with a piece of work, and what each does in its own way."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn

from autobatch.devices.cpu import CpuDevice
from autobatch.errors import DeviceLostError
from autobatch.probe.isolation.endings import WorkFailed
from autobatch.probe.isolation.in_place import InPlace
from autobatch.probe.isolation.put_back import PutBack
from autobatch.probe.protocol import Crash, JobContext, Limits
from autobatch.records import Outcome, Settings
from autobatch.workload.contract import Workload
from autobatch.workload.live import build_task

ON_LINUX = sys.platform == "linux"
if ON_LINUX:
    from autobatch.probe.isolation.forked import Forked

WORKLOAD = Workload(model=nn.Linear(4, 3), batch=lambda size: (torch.ones(size, 4),) * 2)
SETTINGS = Settings(device="cpu")
KINDS = ["forked", "in place", "put back"] if ON_LINUX else ["in place", "put back"]

Run = Callable[..., Any]


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Do a piece of work in an isolation of a kind."""
    put_back = PutBack(WORKLOAD, SETTINGS)
    made = {
        "forked": Forked if ON_LINUX else InPlace,
        "in place": InPlace,
        "put back": lambda: put_back,
    }
    isolation: Any = made[request.param]()
    with put_back if request.param == "put back" else nullcontext():
        task, _ = isolation.load(lambda: build_task(WORKLOAD, SETTINGS), CpuDevice())

        def run_work(work: Any, timeout_s: float | None = None, **options: Any) -> Any:
            limits = Limits(budget_bytes=2**40, timeout_s=timeout_s)
            context = make_context(task, limits=limits, doing="in a test", **options)
            return isolation.run(work, context).result

        yield run_work
    gc.unfreeze()


of_every_kind = pytest.mark.parametrize("run", KINDS, indirect=True)


@of_every_kind
def test_work_finds_the_workload_and_brings_its_result_back(run: Run) -> None:
    assert run(lambda context: type(context.task.model).__name__) == "Linear"


def _step(context: JobContext) -> int:
    """Have the optimizer make its state; how much it had before."""
    optimizer = context.task.built.optimizer
    num_before = len(optimizer.state)
    context.task.model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    assert len(optimizer.state) == 2
    return num_before


@of_every_kind
def test_each_piece_of_work_finds_the_optimizer_as_a_training_does(run: Run) -> None:
    assert [run(_step) for _ in range(3)] == [0, 0, 0]


def test_state_that_an_optimizer_had_when_it_was_made_stays() -> None:
    given = Workload(
        model=WORKLOAD.model, batch=WORKLOAD.batch, optimizer=torch.optim.Adagrad, lr=0.1
    )
    isolation = InPlace()
    task, _ = isolation.load(lambda: build_task(given, SETTINGS), CpuDevice())
    context = make_context(task)

    def count(context: JobContext) -> int:
        state = context.task.built.optimizer.state
        num_before = sum(len(each) for each in state.values())
        state[task.model.weight]["further"] = torch.ones(3)
        return num_before

    assert [isolation.run(count, context).result for _ in range(2)] == [4, 4]


@of_every_kind
def test_work_has_the_threads_that_are_asked_for_and_the_next_the_usual_number(run: Run) -> None:
    before = torch.get_num_threads()
    asked = before + 1
    assert run(lambda context: torch.get_num_threads(), num_threads=asked) == asked
    assert run(lambda context: torch.get_num_threads()) == before
    assert torch.get_num_threads() == before


@of_every_kind
def test_a_device_that_is_lost_is_an_end_without_a_result(run: Run) -> None:
    def lose(context: JobContext) -> None:
        raise DeviceLostError("no more of it", hint="restart") from RuntimeError("bad address")

    crash = run(lose)
    assert isinstance(crash, Crash)
    assert crash.outcome is Outcome.KILLED
    assert crash.message == "its device was lost: bad address"
    assert crash.lost_device is not None
    assert (crash.lost_device.message, crash.lost_device.hint) == ("no more of it", "restart")


@pytest.mark.parametrize("run", KINDS[:-1], indirect=True)
@pytest.mark.parametrize("kind", [LookupError, SystemExit])
def test_what_the_users_code_raises_becomes_a_failure(run: Run, kind: type[BaseException]) -> None:
    def fail(context: JobContext) -> None:
        raise kind("none of that")

    with pytest.raises(WorkFailed) as caught:
        run(fail)
    failure = caught.value.failure
    assert failure.error == "WorkloadError"
    assert failure.message == f"{kind.__name__} in a test: none of that"


@pytest.mark.parametrize("run", ["put back"], indirect=True)
def test_or_passes_through_to_a_caller_whose_objects_they_are(run: Run) -> None:
    error = LookupError("none of that")

    def fail(context: JobContext) -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        run(fail)
    assert caught.value is error
    assert getattr(error, "__notes__", ["in a test"]) == ["in a test"]


@pytest.mark.parametrize("run", ["put back"], indirect=True)
def test_out_of_memory_is_a_failure_even_there(run: Run) -> None:
    def fail(context: JobContext) -> None:
        raise MemoryError("enough")

    with pytest.raises(WorkFailed, match="memory ran out in a test: enough"):
        run(fail)


@pytest.mark.parametrize("run", [kind for kind in KINDS if kind != "in place"], indirect=True)
def test_work_that_takes_too_long_is_given_up(run: Run) -> None:
    def go_on(context: JobContext) -> None:
        for _ in context.task.source.batches(2):
            pass

    crash = run(go_on, timeout_s=0.2)
    assert (crash.outcome, crash.message) == (Outcome.TIMED_OUT, "no end after 200 ms")


@pytest.mark.parametrize("run", ["in place"], indirect=True)
def test_what_is_loaded_is_left_out_of_the_collection_before_each_trial(run: Run) -> None:
    assert gc.get_freeze_count() > 100_000  # PyTorch alone
    assert run(lambda context: len(gc.get_objects())) < 50_000
