"""Eight trainings that are built to die late, for late_deaths.py.

Each function is a target that says all that its training does:

    autobatch probe scripts/claims/late_trainings.py:kept_logits --rehearse

As a program this is the training, a plain loop of one epoch with its evaluation or its checkpoint.
It writes how far it came to ``result.json``. With a number it makes so many ordinary steps:

    python -m scripts.claims.late_trainings NAME BATCH_SIZE [NUM_STEPS]
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from autobatch import Workload

# Logits of a sample take a MiB, and a step about five times that. One training has few logits.
_MANY_LOGITS, _FEW_LOGITS = 2**18, 2**13
# Of a layer whose weights take 100 MiB with many logits, and of one whose weights take 8.
_MANY_INPUTS, _FEW_INPUTS = 100, 8
_EPOCH, _SHORT_EPOCH = 60 * 64, 15 * 64
_LONG_FACTOR, _LONG_STEP = 32, 900
_KEPT_SAMPLES = 192
_NUM_PASSES = 4
_EMA_STEP = 50
Batch = tuple[torch.Tensor, torch.Tensor]


class Samples(Dataset[Batch]):
    """Alike, but for one that is longer.

    Args:
        num_samples: How many.
        num_inputs: Numbers of each.
        long_index: Which is longer; none if it is not there.
    """

    def __init__(
        self, num_samples: int = _EPOCH, num_inputs: int = _FEW_INPUTS, long_index: int = -1
    ) -> None:
        self.num_samples, self.num_inputs, self.long_index = num_samples, num_inputs, long_index

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Batch:
        length = _LONG_FACTOR if index == self.long_index else 1
        return torch.full((length, self.num_inputs), index / self.num_samples), torch.zeros(1)


class Images(Dataset[Batch]):
    """Squares, and late among them a tall and a wide image of hardly more pixels."""

    def __len__(self) -> int:
        return _SHORT_EPOCH

    def __getitem__(self, index: int) -> Batch:
        rare = {_SHORT_EPOCH - 10: (96, 12), _SHORT_EPOCH - 9: (12, 96)}
        height, width = rare.get(index, (32, 32))
        return torch.ones(3, height, width), torch.zeros(1)


class Cached(Samples):
    """Each worker keeps the 40 KiB that it has decoded."""

    def __init__(self) -> None:
        super().__init__()
        self._decoded: dict[int, torch.Tensor] = {}

    def __getitem__(self, index: int) -> Batch:
        self._decoded[index] = torch.full((10 * 1024,), float(index))
        return super().__getitem__(index)


class KeepsBest(nn.Sequential):
    """Keeps a copy of the weights that were saved last."""

    def state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        """Copy the weights and keep the copy."""
        state = super().state_dict(*arguments, **keywords)
        self.best = {name: tensor.clone() for name, tensor in state.items()}
        return self.best


class Ema:
    """Averages weights from a step on."""

    def __init__(self) -> None:
        self._num_steps = 0
        self._average: nn.Module | None = None

    def __call__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Step, and average."""
        optimizer.step()
        self._num_steps += 1
        if self._num_steps == _EMA_STEP:
            self._average = copy.deepcopy(model)


class Metric:
    """Keeps 40 KiB of the outputs of each sample until the end of the epoch."""

    def __init__(self) -> None:
        self._kept: list[torch.Tensor] = []

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        output: torch.Tensor = model(batch[0])
        self._kept.append(output.detach()[..., : 10 * 1024].clone())
        return loss(output, batch[1])


def pad(samples: Sequence[Batch]) -> Batch:
    """A batch in which all samples are as long, as tall and as wide as the largest of each."""
    tensors = [sample for sample, _ in samples]
    shape = [max(extents) for extents in zip(*(each.shape for each in tensors), strict=True)]
    batch = torch.zeros(len(tensors), *shape)
    for place, tensor in enumerate(tensors):
        batch[(place, *(slice(extent) for extent in tensor.shape))] = tensor
    return batch, torch.stack([target for _, target in samples])


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Small outputs are good ones."""
    return output.square().mean() + target.sum()


def evaluate(model: nn.Module, loader: DataLoader[Any]) -> float:
    """The mean entropy of all predictions, whose logits are kept."""
    kept, entropies = [], []
    model.eval()
    with torch.no_grad():
        for inputs, _ in loader:
            kept.append(model(inputs))
            log_p = kept[-1].log_softmax(-1)
            entropies.append((log_p.exp() * log_p).mean())
    model.train()
    return float(torch.stack(entropies).mean()) + len(kept)


def make_loader(dataset: Any, batch_size: int = 32, num_workers: int = 0) -> DataLoader[Any]:
    """A loader in the dataset's order, so that each run is the same."""
    return DataLoader(dataset, batch_size, collate_fn=pad, num_workers=num_workers)


def describe(model: nn.Module, dataset: Any, num_workers: int = 0, **said: Any) -> Workload:
    """A workload of plain SGD."""
    loader = make_loader(dataset, num_workers=num_workers)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    fields = {"loss": None if "training_step" in said else loss, **said}
    return Workload(model=model, train_loader=loader, optimizer=optimizer, **fields)


def make_model(num_inputs: int = _FEW_INPUTS, num_logits: int = _MANY_LOGITS) -> nn.Sequential:
    """A layer with many outputs."""
    return nn.Sequential(nn.Linear(num_inputs, num_logits))


def longest_sample() -> Workload:
    """One sample of many is 32 times as long; batches of 64 come to it in step 900."""
    samples = Samples((_LONG_STEP + 10) * 64, long_index=(_LONG_STEP - 1) * 64 + 30)
    return describe(make_model(num_logits=_FEW_LOGITS), samples)


def kept_logits() -> Workload:
    """The evaluation keeps the logits of its whole set."""
    loader = make_loader(Samples(_KEPT_SAMPLES))
    return describe(make_model(), Samples(_SHORT_EPOCH), evaluate=evaluate, eval_loader=loader)


def copying_checkpoint() -> Workload:
    """Saving leaves a copy of 100 MiB of weights."""
    model = KeepsBest(nn.Linear(_MANY_INPUTS, _MANY_LOGITS))
    return describe(model, Samples(_SHORT_EPOCH, _MANY_INPUTS))


def accumulation() -> Workload:
    """Gradients of 100 MiB are held through backward passes."""
    return describe(make_model(_MANY_INPUTS), Samples(_SHORT_EPOCH, _MANY_INPUTS))


def ema() -> Workload:
    """A copy of 100 MiB of weights is made at step 50."""
    samples = Samples(num_inputs=_MANY_INPUTS)
    return describe(make_model(_MANY_INPUTS), samples, optimizer_step=Ema())


def growing_metric() -> Workload:
    """A metric keeps something of each sample."""
    return describe(make_model(), Samples(), training_step=Metric())


def multi_scale() -> Workload:
    """A tall and a wide image meet in one batch, late in the epoch."""
    return describe(nn.Sequential(nn.Conv2d(3, 48, 3, padding=1)), Images())


def loader_workers() -> Workload:
    """Each of two workers keeps the samples that it has decoded."""
    return describe(make_model(), Cached(), num_workers=2)


def train(name: str, batch_size: int, num_steps: int | None, note: Callable[[], None]) -> None:
    """Train an epoch as the user's own script does.

    Args:
        name: Of the training.
        batch_size: Samples of a pass.
        num_steps: Ordinary steps, ``None`` for the whole training.
        note: Is called after each step.
    """
    workload: Any = globals()[name]()
    model, optimizer, source = workload.model, workload.optimizer, workload.train_loader
    loader = make_loader(source.dataset, batch_size, source.num_workers)
    is_whole = num_steps is None
    num_passes = _NUM_PASSES if name == "accumulation" and is_whole else 1
    step = workload.optimizer_step or (lambda model, optimizer: optimizer.step())
    find_loss = workload.training_step or (lambda model, batch: loss(model(batch[0]), batch[1]))
    for number, batch in enumerate(loader):
        if number == num_steps:
            return
        value = find_loss(model, batch) / num_passes
        if number % num_passes == 0:
            optimizer.zero_grad()
        value.backward()
        if (number + 1) % num_passes == 0:
            step(model, optimizer)
            note()
        if name == "copying_checkpoint" and is_whole and number == len(loader) // 2:
            torch.save(model.state_dict(), "checkpoint.pt")
    if workload.evaluate is not None:
        evaluate(model, make_loader(workload.eval_loader.dataset, batch_size))


def main() -> None:
    """Train, and write how many steps were made and whether the end was reached."""
    name, batch_size, *rest = sys.argv[1:]
    result: dict[str, Any] = {"steps": 0, "ended": False}

    def write() -> None:
        Path("result.json").write_text(json.dumps(result))

    def note() -> None:
        result["steps"] += 1
        if result["steps"] % 10 == 0:
            write()

    torch.manual_seed(0)
    try:
        train(name, int(batch_size), int(rest[0]) if rest else None, note)
        result["ended"] = True
    finally:
        write()


if __name__ == "__main__":
    main()
