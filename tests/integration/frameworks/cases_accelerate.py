"""Objects that ``Accelerator.prepare`` returned, against the real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

pytest.importorskip("accelerate")
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from autobatch.errors import WorkloadError
from autobatch.integrations.accelerate import find_batch_size, resize

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

loss_function = nn.CrossEntropyLoss()


@pytest.fixture(autouse=True)
def _fresh_accelerators() -> Any:
    """Accelerators of one process share their state, whatever they were made with."""
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._shared_state.clear()


class Run:
    """A network, its optimizer and its data, prepared."""

    def __init__(self, dataset: Any, batch_size: int, **options: Any) -> None:
        torch.manual_seed(0)
        accelerated = {
            name: options.pop(name)
            for name in ("mixed_precision", "gradient_accumulation_steps")
            if name in options
        }
        self.accelerator = Accelerator(cpu=True, **accelerated)
        network = nn.Sequential(
            nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3)
        )
        self.model, self.optimizer, self.loader = self.accelerator.prepare(
            network,
            torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
            DataLoader(dataset, batch_size, **{"shuffle": True, **options}),
        )

    def find(self, **options: Any) -> Any:
        return find_batch_size(
            self.accelerator, self.model, self.loader, loss_function, self.optimizer, **options
        )

    def train(self, num_epochs: int = 1) -> list[int]:
        sizes = []
        for _ in range(num_epochs):
            for inputs, labels in self.loader:
                sizes.append(len(inputs))
                with self.accelerator.accumulate(self.model):
                    self.accelerator.backward(loss_function(self.model(inputs), labels))
                    self.optimizer.step()
                    self.optimizer.zero_grad()
        return sizes

    def weights(self) -> dict[str, Any]:
        return {name: value.tolist() for name, value in self.model.state_dict().items()}


def test_the_resized_loader_gives_batches_of_the_size_that_ran(quick: Any, make_data: Any) -> None:
    run = Run(make_data(48), 4, drop_last=True)
    finding = run.find(**quick)
    assert finding.batch_size == 16
    old = run.loader
    run.loader = resize(run.accelerator, old, finding.batch_size)
    assert run.train() == [16, 16, 16]
    assert run.accelerator._dataloaders == [run.loader]
    assert type(run.loader) is type(old)


def test_nothing_is_left_behind(
    quick: Any, make_data: Any, isolation: str, random_state: Callable[[], Any]
) -> None:
    results = []
    for is_searched in (True, False):
        run = Run(make_data(48), 16)
        if is_searched:
            run.find(isolation=isolation, **quick)
            run.loader = resize(run.accelerator, run.loader, 16)
        sizes = run.train(2)
        results.append((sizes, run.weights(), random_state(), len(run.accelerator._models)))
    assert results[0] == results[1]


def test_in_the_middle_of_training_it_runs_real_steps_and_training_goes_on_the_same(
    quick: Any, make_data: Any, isolation: str
) -> None:
    results = []
    for is_searched in (True, False):
        run = Run(make_data(48), 16)
        run.train()
        if is_searched:
            finding = run.find(isolation=isolation, **quick)
            assert all(trial.step_times_s for trial in finding.trials)
        run.train()
        results.append(run.weights())
    assert results[0] == results[1]


def test_a_start_value_is_not_ignored_and_a_small_data_set_is_no_less(
    quick: Any, make_data: Any
) -> None:
    run = Run(make_data(10), 4, drop_last=True)
    finding = run.find(**quick | {"min_batch_size": 3, "max_batch_size": 1024})
    assert min(trial.batch_size for trial in finding.trials) == 3
    run.loader = resize(run.accelerator, run.loader, finding.batch_size)
    assert finding.batch_size <= 10
    assert len(run.train()) >= 1


def test_nothing_is_kept_from_one_call_to_the_next(quick: Any, make_data: Any) -> None:
    options = quick | {"max_batch_size": 1024}
    assert [Run(make_data(size), 4).find(**options).batch_size for size in (10, 20)] == [10, 20]


def test_a_global_batch_is_reached_by_the_accelerators_accumulation(
    quick: Any, make_data: Any
) -> None:
    run = Run(make_data(96), 4, gradient_accumulation_steps=2)
    finding = run.find(global_batch_size=48, **quick)
    assert finding.gradient_accumulation_steps == 3
    assert run.accelerator.gradient_accumulation_steps == 3
    assert finding.recommendation.base_batch_size == 8


def test_the_accelerators_precision_is_that_of_the_trials(quick: Any, make_data: Any) -> None:
    run = Run(make_data(48), 4, mixed_precision="bf16")
    seen = []

    def training_step(model: Any, batch: Any) -> torch.Tensor:
        inputs, labels = batch
        seen.append(torch.is_autocast_enabled("cpu"))
        return loss_function(model(inputs), labels)

    finding = find_batch_size(
        run.accelerator, run.model, run.loader, None, run.optimizer,
        training_step=training_step, isolation="shared", **quick,
    )  # fmt: skip
    assert set(seen) == {True}
    assert finding.settings.precision.value == "bf16"


def test_a_batch_sampler_of_ones_own_is_refused(quick: Any, make_data: Any) -> None:
    run = Run(make_data(8), 4)

    class Pairs:
        def __iter__(self) -> Any:
            return iter([[0, 1], [2, 3]])

        def __len__(self) -> int:
            return 2

    run.loader = DataLoader(make_data(8), batch_sampler=Pairs())
    with pytest.raises(WorkloadError, match="batch sampler of its own, a Pairs") as caught:
        run.find(**quick)
    assert caught.value.hint


TWO_PROCESSES = """
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from autobatch.integrations.accelerate import find_batch_size, resize

accelerator, loss = Accelerator(cpu=True), nn.CrossEntropyLoss()

def train(size=None):
    torch.manual_seed(1)
    data = TensorDataset(torch.randn(96, 8), torch.arange(96) % 3)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(
        model, optimizer, DataLoader(data, 4, shuffle=True)
    )
    base = None
    if size is None:
        finding = find_batch_size(
            accelerator, model, loader, loss, optimizer, goal="memory", max_batch_size=8
        )
        size, base = finding.batch_size, finding.recommendation.base_batch_size
        assert finding.recommendation.global_batch_size == 2 * size
    loader = resize(accelerator, loader, size)
    for inputs, labels in loader:
        assert len(inputs) == size
        accelerator.backward(loss(model(inputs), labels))
        optimizer.step()
        optimizer.zero_grad()
    return size, base, [each.tolist() for each in model.parameters()]

size, base, weights = train()
tell(size=size, base=base, is_same=weights == train(size)[2], first=weights[0])
"""


@pytest.mark.timeout(240)
def test_two_processes_find_one_size_and_train_to_the_same_bits(in_two_processes: Any) -> None:
    told, errors = in_two_processes(TWO_PROCESSES)
    for each in told:
        assert (each["size"], each["base"]) == (8, 8)
        assert each["is_same"], "as the training at that size without the search"
    assert told[0] == told[1]
    assert errors.count("recommended batch size") == 1


def test_trials_accumulate_as_the_accelerator_does_and_step_as_the_user_does(
    quick: Any, make_data: Any, isolation: str
) -> None:
    average = torch.optim.swa_utils.AveragedModel(nn.Linear(8, 3))

    def optimizer_step(model: Any, optimizer: Any) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.n_averaged += 1

    run = Run(make_data(96), 4, gradient_accumulation_steps=4)
    finding = run.find(isolation=isolation, optimizer_step=optimizer_step, **quick)
    assert finding.gradient_accumulation_steps == 4
    assert {trial.num_passes for trial in finding.trials} == {2}
    assert finding.recommendation.base_batch_size == 16
    assert run.accelerator.gradient_accumulation_steps == 4
    assert average.n_averaged == 0, "what the user's step changed is put back"
