"""Training steps are timed with real loader workers, and their memory counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from autobatch.loading.choose import LoaderSearch
from autobatch.loading.job import LoaderJob
from autobatch.loading.measure import time_loader
from autobatch.probe.protocol import Crash
from autobatch.records import LoaderSettings, Outcome

Sample = tuple[torch.Tensor, torch.Tensor]


class Slow(Dataset[Sample]):
    """Waits for each sample, as for a disk: several workers wait at once on any machine."""

    def __init__(self, wait_s: float = 0.02, held_bytes: int = 0) -> None:
        self.wait_s, self.held_bytes, self.held = wait_s, held_bytes, b""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Sample:
        time.sleep(self.wait_s)
        if not self.held and torch.utils.data.get_worker_info():
            self.held = b"x" * self.held_bytes
        return torch.zeros(4), torch.zeros(2)


class Stream(IterableDataset[Sample]):
    def __iter__(self) -> Iterator[Sample]:
        return iter([(torch.zeros(4), torch.zeros(2))] * 64)


def seed_worker(number: int) -> None:
    torch.manual_seed(number)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatch.loading.measure._TIME_S", 0.3)


def time_with(
    make_task: Any, way: LoaderSettings | None, dataset: Any = None, **fields: Any
) -> Any:
    budget = fields.pop("budget", 2**40)
    loader = DataLoader(dataset or Slow(), batch_size=4, **fields)
    task = make_task(nn.Linear(4, 2), train_loader=loader, loss=nn.MSELoss())
    return time_loader(make_context(task, budget), 4, 1, way)


def workers(number: int) -> LoaderSettings:
    return LoaderSettings(num_workers=number, prefetch_factor=2)


# PyTorch warns of more workers than cores; these only sleep.
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.usefixtures("no_child_left")
def test_workers_that_wait_at_once_are_faster_and_their_memory_is_told(make_task: Any) -> None:
    own, several = time_with(make_task, None), time_with(make_task, workers(4))
    assert own.settings == LoaderSettings(num_workers=0)
    assert own.message == several.message == ""
    assert own.samples_per_s == pytest.approx(50, rel=0.4)
    assert several.samples_per_s > 2 * own.samples_per_s
    assert several.loader_bytes > 0
    assert several.host_peak_bytes > several.loader_bytes


# As above.
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_search_chooses_as_many_workers_as_can_wait_at_once(make_task: Any) -> None:
    # Waiting takes no core, so that this holds on a busy machine too.
    choice = LoaderSearch(
        batch_size=4, time_one=lambda way: time_with(make_task, way), num_cores=2
    ).run()
    assert choice.chosen is not None
    assert choice.chosen.num_workers == 2
    assert (choice.samples_per_s or 0) > 1.3 * (choice.own_samples_per_s or 0)


def test_starting_workers_does_not_count_as_throughput(make_task: Any) -> None:
    def wait(number: int) -> None:
        time.sleep(0.7)

    timing = time_with(make_task, workers(2), Slow(0.002), worker_init_fn=wait)
    assert timing.start_s > 0.7
    # Each of many epochs would wait as long for workers that did not live on.
    assert timing.samples_per_s > 200


def test_workers_over_the_budget_are_refused_with_the_figure(make_task: Any) -> None:
    dataset = Slow(0.005, held_bytes=150 * 2**20)
    plain = time_with(make_task, None, dataset)
    budget = plain.host_peak_bytes + 200 * 2**20
    assert time_with(make_task, workers(1), dataset, budget=budget).samples_per_s
    timing = time_with(make_task, workers(2), dataset, budget=budget)
    assert timing.samples_per_s is None
    assert timing.host_peak_bytes > budget
    assert "exceeded the budget" in timing.message
    assert "in loader workers" in timing.message


def test_what_only_workers_understand_is_left_out_without_them(make_task: Any) -> None:
    own = {"num_workers": 1, "timeout": 30, "multiprocessing_context": "fork"}
    timing = time_with(
        make_task, LoaderSettings(num_workers=0), Slow(), worker_init_fn=seed_worker, **own
    )
    assert timing.message == ""
    assert time_with(make_task, None, Slow(), **own).settings == workers(1)


def test_an_iterable_dataset_is_left_alone(make_task: Any) -> None:
    timing = time_with(make_task, None, Stream())
    assert timing.samples_per_s is None
    assert "iterable dataset" in timing.message


def test_a_function_of_the_batch_size_has_no_loader(make_task: Any) -> None:
    def batch(size: int) -> Sample:
        return torch.zeros(size, 4), torch.zeros(size, 2)

    task = make_task(nn.Linear(4, 2), batch=batch, loss=nn.MSELoss())
    timing = time_loader(make_context(task), 4, 1, None)
    assert "batch(batch_size)" in timing.message


def test_what_a_worker_raises_is_a_reason(make_task: Any) -> None:
    def refuse(number: int) -> None:
        raise OSError("one reader at a time")

    timing = time_with(make_task, workers(2), worker_init_fn=refuse)
    assert timing.samples_per_s is None
    assert "OSError" in timing.message


def test_settings_that_the_process_was_ended_with_are_refused() -> None:
    crash = Crash(outcome=Outcome.OVER_BUDGET, message="over", peak_bytes=5)
    timing = LoaderJob(batch_size=4, settings=workers(8)).from_crash(crash)
    assert (timing.settings, timing.samples_per_s, timing.message) == (workers(8), None, "over")
